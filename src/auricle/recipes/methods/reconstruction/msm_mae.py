"""MSM-MAE: masked spectrogram modelling with masked autoencoders (arXiv 2204.12260)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.views import PlainViewsConfig
from auricle.encoders.spectrogram_layouts import layout
from auricle.objectives.masks.samplers import RandomMask
from auricle.objectives.predictive.placed_decoder import PlacedDecoderConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.methods.reconstruction.audio_mae import audio_mae_paper, audio_mae_tiny
from auricle.recipes.notes import searched

MSM_MAE = Method(
    name="msm-mae",
    paradigm="reconstruction",
    summary="MSM-MAE: encode a quarter of two seconds of 80 mel bins; a small plain decoder reconstructs the rest.",
)
NOTES = Notes(
    method="msm-mae",
    reference=Reference(
        title="Masked Spectrogram Modeling using Masked Autoencoders for Learning General-purpose Audio Representation",
        authors="Daisuke Niizumi, Daiki Takeuchi, Yasunori Ohishi, Noboru Harada, Kunio Kashino",
        arxiv="2204.12260",
        section="3 (method), 4.1, and numbers of the released code",
    ),
    faithful=(
        "80 mel bins on 208 frames, patches of 16 x 16, 75 % masked at random and dropped before the encoder",
        "squared error of standardised masked patches; statistics of the corpus",
        "clip vector: the 5 frequency tokens of a time step side by side, averaged over time",
        "positions of the decoder on one axis, band after band",
        "learning rate 1.5e-4 for every 128 clips of a batch, down to 0, betas of 0.9 and 0.95, weight decay 0.05, "
        "10 of 100 epochs of warm-up (paper size)",
    ),
    deviations=("keys have a bias; released code: none (the softmax over keys does not see it)",),
    not_specified=searched(
        "paper, released code",
        "batch: 512, so the learning rate is 6e-4 (chosen)",
        "the epoch is counted as 2 million clips (chosen)",
    ),
    cost="a quarter of 65 patches in the encoder: among the cheapest steps of all methods",
    when_to_use="general sounds in short windows when the vectors feed a linear probe, not fine-tuning",
)

# Steps of an epoch of AudioSet (2 M clips) at a batch of 512.
_EPOCH = 3906
# 208 frames that are centred on multiples of the hop.
_SECONDS = 2.07


@MSM_MAE.size("paper")
def msm_mae_paper() -> Recipe:
    """ViT-B on two seconds, 100 epochs of AudioSet."""
    base = audio_mae_paper()
    return base.replace(
        name="msm-mae",
        notes=NOTES,
        measure_statistics=True,
        frontend=preset("ntt80"),
        augment=PlainViewsConfig(),
        encoder=layout("msm_mae", "base"),
        objective=base.objective.replace(
            mask=RandomMask(ratio=0.75),
            decoder=PlacedDecoderConfig(width=384, depth=4, heads=6, init="xavier_uniform", positions="sinusoid_bands"),
        ),
        window=base.window.replace(seconds=_SECONDS, short="repeat"),
        train=base.train.replace(steps=100 * _EPOCH, warmup_steps=10 * _EPOCH, lr=6e-4, min_lr=0.0, weight_decay=0.05),
    )


@MSM_MAE.size("tiny")
def msm_mae_tiny() -> Recipe:
    """Small scale: width 192, 1500 steps."""
    base = audio_mae_tiny()
    return base.replace(
        name="msm-mae",
        notes=NOTES.with_deviations(
            "encoder of width 192, decoder of 2 blocks of width 128; published: 768, and 4 blocks of 384",
            "batch 64 for 1500 steps at weight decay 1e-4; published: 100 epochs of AudioSet at 0.05",
            *small_scale.DEVIATIONS,
        ),
        frontend=preset("ntt80"),
        augment=PlainViewsConfig(),
        encoder=layout("msm_mae", "tiny"),
        objective=base.objective.replace(
            mask=RandomMask(ratio=0.75),
            decoder=PlacedDecoderConfig(width=128, depth=2, heads=4, init="xavier_uniform", positions="sinusoid_bands"),
        ),
        window=base.window.replace(seconds=_SECONDS),
        train=base.train.replace(lr=6e-4),
    )
