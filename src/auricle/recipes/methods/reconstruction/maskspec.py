"""MaskSpec: masked spectrogram prediction at 32 kHz (arXiv 2204.12768, ICASSP 2023)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.views import PlainViewsConfig
from auricle.encoders.spectrogram_layouts import layout
from auricle.objectives.masks.samplers import RandomMask
from auricle.objectives.predictive.decoder import TransformerDecoderConfig
from auricle.recipes import small_scale
from auricle.recipes.methods.reconstruction.audio_mae import PADDED, audio_mae
from auricle.recipes.recipe import Recipe, Reference, recipe


@recipe("maskspec", sizes=("tiny", "paper"), paradigm="reconstruction")
def maskspec(size: str = "tiny") -> Recipe:
    """MaskSpec: a quarter of the patches of a 32 kHz spectrogram is seen, a plain decoder reconstructs the others.

    Args:
        size: `paper` has the published constants; `tiny` is for hours of audio and two cores.
    """
    paper, base = size == "paper", audio_mae(size)
    decoder = TransformerDecoderConfig() if paper else TransformerDecoderConfig(width=128, depth=2, heads=4)
    return base.replace(
        name="maskspec",
        reference=Reference(
            title="Masked Spectrogram Prediction for Self-Supervised Audio Pre-Training",
            authors="Dading Chong, Helin Wang, Peilin Zhou, Qingcheng Zeng",
            arxiv="2204.12768",
            section="2 (method), 3.1, and numbers of the released code",
        ),
        deviations=(PADDED,)
        if paper
        else (
            "encoder of width 192 on 2.56 s, decoder of 2 blocks of width 128; published: width 768 on 10 s, 8 blocks "
            "of 512",
            "batch 64 for 1500 steps; published: batch 512",
            *small_scale.DEVIATIONS,
        ),
        kept=(
            "32 kHz, 128 mel bins of 25 ms every 10 ms; 75 % of the patches of 16 x 16 hidden, dropped before the "
            "encoder",
            "plain transformer decoder over all patches; squared error of standardised hidden patches",
            "normalisation (x + 4.5) / 5 (paper size)",
        ),
        unknown=(
            "epochs and learning rate: those of Audio-MAE (chosen)",
            "range of the mel bins: 0 to 16 kHz (chosen); the last patch of 10 s is filled up with padding (chosen)",
        ),
        cost="a quarter of the patches in the encoder, all of them in the decoder with global attention",
        choose="sounds with content above 8 kHz; otherwise Audio-MAE, whose decoder is cheaper on long windows",
        frontend=preset("maskspec128"),
        augment=PlainViewsConfig(),
        encoder=layout("maskspec", "base" if paper else "tiny", frames=1008 if paper else 272),
        objective=base.objective.replace(mask=RandomMask(ratio=0.75), decoder=decoder),
        window=base.window.replace(seconds=10.0 if paper else 2.56),
    )
