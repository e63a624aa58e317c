"""Dasheng: masked autoencoding of frames at scale (arXiv 2406.06992, Interspeech 2024)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.views import PlainViewsConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.spectrogram_layouts import layout
from auricle.objectives.masks.samplers import GroupMask
from auricle.objectives.predictive.placed_decoder import PlacedDecoderConfig
from auricle.objectives.predictive.terms import RegressionConfig
from auricle.objectives.targets.inputs import PatchTargetConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.methods.reconstruction.audio_mae import audio_mae_paper, audio_mae_tiny
from auricle.training.train_config import TrainConfig

DASHENG = Method(
    name="dasheng",
    paradigm="reconstruction",
    summary="Dasheng: mask tokens of 40 ms over all frequencies in pairs; a plain decoder reconstructs three quarters.",
)
NOTES = Notes(
    method="dasheng",
    reference=Reference(
        title="Scaling up masked audio encoder learning for general audio classification",
        authors="Heinrich Dinkel, Zhiyong Yan, Yongqing Wang, Junbo Zhang, Yujun Wang, Bin Wang",
        arxiv="2406.06992",
        section="2 (method), 3, and numbers of the released code",
    ),
    faithful=(
        "64 mel bins, tokens of 4 frames over all bins, 25 a second; 75 % masked in groups of two neighbours",
        "batch normalisation of each mel bin as the encoder's first layer; times and frequencies learned apart",
        "squared error of tokens, taken before the batch normalisation and standardised one by one; plain decoder "
        "over all tokens, its positions learned from zero",
        "a cosine from 3e-4 to a tenth of it, betas of 0.9 and 0.999, weight decay 0.01 (paper)",
    ),
    deviations=("natural logarithms instead of decibels; the encoder's batch normalisation makes them alike",),
    cost="a quarter of 25 tokens a second in the encoder: little for the length of audio",
    when_to_use="one sequence of tokens in time is wanted (speech, events) from much audio of any kind; the published "
    "large encoders are layout('dasheng', '0.6B') and '1.2B'",
)

_EPOCH = 15_000
_TERMS = (RegressionConfig(PatchTargetConfig(norm="patch"), measure="l2", name="patch_mse"),)


@DASHENG.size("paper")
def dasheng_paper() -> Recipe:
    """The base model: 10.08 s, 1.5 million steps."""
    base = audio_mae_paper()
    return base.replace(
        name="dasheng",
        notes=NOTES.with_deviations(
            "AdamW in 32 bits; published: its 8-bit variant",
        ),
        frontend=preset("dasheng64"),
        augment=PlainViewsConfig(),
        encoder=layout("dasheng", "base", frames=1008),
        objective=base.objective.replace(
            mask=GroupMask(group=2, keep=0.25), decoder=PlacedDecoderConfig(), terms=_TERMS
        ),
        # 1008 frames that are centred on multiples of the hop.
        window=WindowConfig(seconds=10.07, short="repeat"),
        loader=LoaderConfig(batch=256, workers=-1),
        train=TrainConfig(
            steps=100 * _EPOCH,
            warmup_steps=3 * _EPOCH,
            lr=3e-4,
            min_lr=3e-5,
            weight_decay=0.01,
            save_every=_EPOCH,
        ),
    )


@DASHENG.size("tiny")
def dasheng_tiny() -> Recipe:
    """Small scale: width 192 on 2.56 s, 1500 steps."""
    base = audio_mae_tiny()
    return base.replace(
        name="dasheng",
        notes=NOTES.with_deviations(
            "encoder of width 192 on 2.56 s, decoder of 2 blocks of width 128; published: width 768 on 10.08 s, 8 "
            "blocks of 512",
            "batch 64 for 1500 steps; published: batch 256 for 1.5 million steps on 272 000 hours",
            "betas of 0.9 and 0.95, a cosine to 1e-6; published: 0.9 and 0.999, to a tenth of the highest rate",
            *small_scale.DEVIATIONS,
        ),
        measure_statistics=False,
        frontend=preset("dasheng64"),
        augment=PlainViewsConfig(),
        encoder=layout("dasheng", "tiny", frames=260),
        objective=base.objective.replace(
            mask=GroupMask(group=2, keep=0.25),
            decoder=PlacedDecoderConfig(width=128, depth=2, heads=4),
            terms=_TERMS,
        ),
        train=base.train.replace(weight_decay=0.01),
    )
