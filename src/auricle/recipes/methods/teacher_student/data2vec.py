"""data2vec on samples: a slow teacher's latents (arXiv 2202.03555)."""

from __future__ import annotations

from typing import Any

from auricle.audio.frontends.presets import preset
from auricle.audio.ops.wave_ops import WaveNoiseConfig
from auricle.audio.view_plan import ViewPlanConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.parts.conv_position import ConvPositionConfig
from auricle.encoders.waveform_transformer import WaveformTransformerConfig
from auricle.objectives.masks.spans import SpanMask
from auricle.objectives.predictive.decoder import NoDecoderConfig
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.objectives.predictive.teacher import TeacherConfig
from auricle.objectives.predictive.terms import RegressionConfig
from auricle.objectives.targets.teachers import TeacherTargetConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.training.train_config import TrainConfig

DATA2VEC = Method(
    name="data2vec",
    paradigm="teacher-student",
    summary="data2vec: behind a span mask, predict a slow teacher's latents of the whole clip.",
    learns="tests/learning/test_learn_data2vec.py",
)
# Of data2vec and of the methods on its encoder.
ADAM = "biases and norms have no weight decay; released code: all parameters have"
DITHERED = "noise at -80 dB of full scale is added, against digital silence, where the stem's norms have no gradient"
SPANS = (
    "padded clips keep their own number of masked frames; published: batches cropped to their shortest clip",
    "these numbers are made equal over the whole batch; published: over each device's few clips, which masks a little "
    "more",
)
SMALL = (
    "encoder of 6 layers and width 192 behind a stem of 64 channels, no dropout; published: 12 of 768, 512",
    "positions from three convolutions of kernel 5: in short windows wider ones reveal every token's place by the "
    "edges, and a short run learns places alone; published: five of kernel 19",
)
SMALL_VECTOR = "the mask vector starts from N(0, 0.02²); released code: uniform in [0, 1)"
TOP_LAYERS = "the top 4 layers; published: the top 8 of 12"
TARGET = "target: feed-forward outputs before the residual of the teacher's top layers, instance-normalised, averaged"
NOTES = Notes(
    method="data2vec",
    reference=Reference(
        title="data2vec: A General Framework for Self-supervised Learning in Speech, Vision and Language",
        authors="Baevski et al.",
        arxiv="2202.03555",
        section="3.1, 3.3, 4.2 and the released configuration for audio",
    ),
    faithful=(
        TARGET,
        "the teacher averages the layers behind the stem; stem and position convolutions are the student's own",
        "squared error summed over channels, times 1 / sqrt(D), on masked tokens; one linear layer as head",
        "spans of 10 tokens, p 0.65, equally many masked ones in clips of equal length",
        "positions from five convolutions, which no masked token leaks through (paper)",
        "each clip normalised to mean 0 and variance 1, clips of up to 20 s (paper)",
        "betas of 0.9 and 0.98, epsilon 1e-6, decay 0.01; three stages of 0.03, 0.9 and 0.07, the last one falling to "
        "a hundredth (paper)",
    ),
    deviations=(DITHERED,),
    cost="a step runs the whole encoder twice, once without gradient; no token is dropped",
    when_to_use="speech, and as the plain form of latent prediction; it learns slowly, and a small run mostly learns "
    "places: watch position_ratio",
)
# Samples on each of 16 devices, at 16 kHz.
_BATCH_SECONDS = 16 * 3_800_000 / 16_000
SMALL_ENCODER: dict[str, Any] = {
    "depth": 6,
    "position": ConvPositionConfig(kernel=5, groups=8, depth=3),
    "stem_gradient": 1.0,
    "input_dropout": 0.0,
    "dropout": 0.0,
}


def _term(layers: int) -> RegressionConfig:
    """Return the regression of the teacher's top layers."""
    return RegressionConfig(TeacherTargetConfig(layers=layers), dims="sum/sqrt", name="latent")


def three_stages(rise: float, hold: float, steps: int = 400_000) -> TrainConfig:
    """Return the released optimiser: a linear rise and a plateau, shares of the steps, then a fall to a hundredth."""
    return TrainConfig(
        steps=steps, lr=5e-4, min_lr=5e-6, schedule="exponential", warmup_steps=round(rise * steps),
        hold_steps=round(hold * steps), weight_decay=0.01, betas=(0.9, 0.98), eps=1e-6,
    )  # fmt: skip


@DATA2VEC.size("paper")
def data2vec_paper() -> Recipe:
    """12 layers of width 768, 400,000 steps."""
    return Recipe(
        name="data2vec",
        size="paper",
        notes=NOTES.with_deviations(
            ADAM,
            *SPANS,
        ),
        measure_statistics=False,
        window=WindowConfig(seconds=20.0, variable=True),
        loader=LoaderConfig(batch_seconds=_BATCH_SECONDS, buckets=16),
        frontend=preset("wave16_norm"),
        # Digital silence is a singular point of a stem with a norm after each convolution: gradients overflow there.
        augment=ViewPlanConfig(wave=(WaveNoiseConfig(sigma=(1e-4, 1e-4)),)),
        encoder=WaveformTransformerConfig.size("data2vec_base"),
        objective=MaskedPredictionConfig(
            mask=SpanMask(p=0.65, length=10),
            hide="token",
            fill_init="uniform",
            decoder=NoDecoderConfig(),
            teacher=TeacherConfig(0.999, 0.9999, steps=30_000, scope="context", positions="copied"),
            terms=(_term(layers=8),),
        ),
        train=three_stages(0.03, 0.9),
    )


@DATA2VEC.size("tiny")
def data2vec_tiny() -> Recipe:
    """Small scale: 6 layers of width 192, 1000 steps."""
    paper = data2vec_paper()
    return paper.replace(
        size="tiny",
        notes=NOTES.with_deviations(
            *small_scale.LAYERS_DEVIATIONS,
            *SMALL,
            TOP_LAYERS,
            "the teacher's decay rises from 0.99 to 0.999 in a shorter run; published: 0.999 to 0.9999",
            SMALL_VECTOR,
        ),
        window=small_scale.window(2.56),
        loader=small_scale.loader(32),
        features=small_scale.FEATURES,
        encoder=WaveformTransformerConfig.size("tiny", **SMALL_ENCODER),
        objective=paper.objective.replace(
            fill_init="normal",
            teacher=TeacherConfig(0.99, 0.999, scope="context", positions="copied"),
            terms=(_term(layers=4),),
        ),
        train=small_scale.train(1000, 5e-4),
    )
