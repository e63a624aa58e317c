"""MSM-MAE: masked spectrogram modelling with masked autoencoders (arXiv 2204.12260)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.views import PlainViewsConfig
from auricle.encoders.spectrogram_layouts import layout
from auricle.objectives.masks.samplers import RandomMask
from auricle.objectives.predictive.decoder import TransformerDecoderConfig
from auricle.recipes import small_scale
from auricle.recipes.methods.reconstruction.audio_mae import audio_mae
from auricle.recipes.recipe import Recipe, Reference, recipe

# Steps of an epoch of AudioSet (2 M clips) at a batch of 512.
_EPOCH = 3906


@recipe("msm-mae", sizes=("tiny", "paper"), paradigm="reconstruction")
def msm_mae(size: str = "tiny") -> Recipe:
    """MSM-MAE: two seconds of 80 mel bins, a quarter seen, a small plain decoder; vectors keep their frequencies apart.

    Args:
        size: `paper` has the published constants; `tiny` is for hours of audio and two cores.
    """
    paper, base = size == "paper", audio_mae(size)
    decoder = TransformerDecoderConfig(width=384, depth=4, heads=6)
    train = base.train.replace(lr=6e-4)
    return base.replace(
        name="msm-mae",
        reference=Reference(
            title="Masked Spectrogram Modeling using Masked Autoencoders for Learning General-purpose Audio "
            "Representation",
            authors="Daisuke Niizumi, Daiki Takeuchi, Yasunori Ohishi, Noboru Harada, Kunio Kashino",
            arxiv="2204.12260",
            section="3 (method), 4.1, and numbers of the released code",
        ),
        deviations=()
        if paper
        else (
            "encoder of width 192, decoder of 2 blocks of width 128; published: 768, and 4 blocks of 384",
            "batch 64 for 1500 steps; published: 100 epochs of AudioSet",
            *small_scale.DEVIATIONS,
        ),
        kept=(
            "80 mel bins on 208 frames, patches of 16 x 16, 75 % hidden at random and dropped before the encoder",
            "squared error of standardised hidden patches; statistics of the corpus",
            "clip vector: the 5 frequency tokens of a time step side by side, averaged over time",
            "learning rate 1.5e-4 for every 128 clips of a batch (paper size)",
        ),
        unknown=(
            "batch: 512, so the learning rate is 6e-4 (chosen); betas and decay as in Audio-MAE (chosen)",
            "the epoch is counted as 2 million clips (chosen)",
        ),
        cost="a quarter of 65 patches in the encoder: among the cheapest steps of all methods",
        choose="general sounds in short windows when a linear probe, not fine-tuning, reads the vectors",
        measure_statistics=True,
        frontend=preset("ntt80"),
        augment=PlainViewsConfig(),
        encoder=layout("msm_mae", "base" if paper else "tiny"),
        objective=base.objective.replace(
            mask=RandomMask(ratio=0.75),
            decoder=decoder if paper else TransformerDecoderConfig(width=128, depth=2, heads=4),
        ),
        # 208 frames that are centred on multiples of the hop.
        window=base.window.replace(seconds=2.07, short="repeat"),
        train=train.replace(steps=100 * _EPOCH, warmup_steps=10 * _EPOCH) if paper else train,
    )
