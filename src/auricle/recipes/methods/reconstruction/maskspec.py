"""MaskSpec: masked spectrogram prediction at 32 kHz (arXiv 2204.12768, ICASSP 2023)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.views import PlainViewsConfig
from auricle.encoders.spectrogram_layouts import layout
from auricle.objectives.masks.samplers import RandomMask
from auricle.objectives.predictive.decoder import TransformerDecoderConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.methods.reconstruction.audio_mae import audio_mae_paper, audio_mae_tiny
from auricle.recipes.notes import PADDED

MASKSPEC = Method(
    name="maskspec",
    paradigm="reconstruction",
    summary="MaskSpec: encode a quarter of the patches of a 32 kHz spectrogram; a plain decoder reconstructs the rest.",
)
NOTES = Notes(
    method="maskspec",
    reference=Reference(
        title="Masked Spectrogram Prediction for Self-Supervised Audio Pre-Training",
        authors="Dading Chong, Helin Wang, Peilin Zhou, Qingcheng Zeng",
        arxiv="2204.12768",
        section="2 (method), 3.1, and numbers of the released code",
    ),
    faithful=(
        "32 kHz, 128 mel bins of 25 ms every 10 ms; 75 % of the patches of 16 x 16 masked, dropped before the encoder",
        "plain transformer decoder over all patches; squared error of standardised masked patches",
        "normalisation (x + 4.5) / 5 (paper size)",
    ),
    deviations=(
        "front end: mel bins from 0 to 16 kHz; released code: pre-emphasis of 0.97, Kaldi's mel bins to a jittered "
        "15 kHz, floor 1e-5, symmetric Hann window, mean and deviation per bin",
        "learning rate, weight decay and number of epochs are Audio-MAE's; released code: 2e-3, 0.05 and 400",
    ),
    not_specified=("the last patch of 10 s is completed with padding (chosen); released code: 992 frames",),
    cost="a quarter of the patches in the encoder, all of them in the decoder with global attention",
    when_to_use="sounds with content above 8 kHz; otherwise Audio-MAE, whose decoder is cheaper on long windows",
)


@MASKSPEC.size("paper")
def maskspec_paper() -> Recipe:
    """ViT-B on 10 s at 32 kHz, with Audio-MAE's optimiser."""
    base = audio_mae_paper()
    return base.replace(
        name="maskspec",
        notes=NOTES.with_deviations(PADDED),
        frontend=preset("maskspec128"),
        augment=PlainViewsConfig(),
        encoder=layout("maskspec", "base", frames=1008),
        objective=base.objective.replace(
            mask=RandomMask(ratio=0.75), decoder=TransformerDecoderConfig(init="xavier_uniform")
        ),
        window=base.window.replace(seconds=10.0),
    )


@MASKSPEC.size("tiny")
def maskspec_tiny() -> Recipe:
    """Small scale: width 192 on 2.56 s, 1500 steps."""
    base = audio_mae_tiny()
    return base.replace(
        name="maskspec",
        notes=NOTES.with_deviations(
            "encoder of width 192 on 2.56 s, decoder of 2 blocks of width 128; published: width 768 on 10 s, 8 blocks "
            "of 512",
            "batch 64 for 1500 steps; published: batch 512",
            *small_scale.DEVIATIONS,
        ),
        frontend=preset("maskspec128"),
        augment=PlainViewsConfig(),
        encoder=layout("maskspec", "tiny", frames=272),
        objective=base.objective.replace(
            mask=RandomMask(ratio=0.75),
            decoder=TransformerDecoderConfig(width=128, depth=2, heads=4, init="xavier_uniform"),
        ),
    )
