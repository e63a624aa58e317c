"""data2vec and data2vec 2.0 on samples: a slow teacher's latents (arXiv 2202.03555, 2212.07525)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.ops.wave_ops import WaveNoiseConfig
from auricle.audio.view_plan import ViewPlanConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.parts.conv_position import ConvPositionConfig
from auricle.encoders.waveform_transformer import WaveformTransformerConfig
from auricle.objectives.masks.blocks import InverseBlockMask
from auricle.objectives.masks.spans import SpanMask
from auricle.objectives.predictive.conv_decoder import Conv1dDecoderConfig
from auricle.objectives.predictive.decoder import NoDecoderConfig
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.objectives.predictive.teacher import TeacherConfig
from auricle.objectives.predictive.terms import RegressionConfig
from auricle.objectives.targets.teachers import TeacherTargetConfig
from auricle.recipes import small_scale
from auricle.recipes.recipe import Recipe, Reference, recipe
from auricle.training.train_config import TrainConfig

# Samples on each of 16 devices, at 16 kHz.
_BATCH_SECONDS = 16 * 3_800_000 / 16_000
_SMALL = {
    "depth": 6,
    "position": ConvPositionConfig(kernel=5, groups=8, depth=3),
    "stem_gradient": 1.0,
    "input_dropout": 0.0,
    "dropout": 0.0,
}  # fmt: skip
# Digital silence is a singular point of a stem with a norm after each convolution: gradients overflow there.
_DITHER = WaveNoiseConfig(sigma=(1e-4, 1e-4))
_DITHERED = "noise at -80 dB of full scale is added, against digital silence, where the stem's norms have no gradient"
_TARGET = "target: feed-forward outputs before the residual of the teacher's top layers, instance-normalised, averaged"


@recipe("data2vec", sizes=("tiny", "paper"), paradigm="teacher-student")
def data2vec(size: str = "tiny") -> Recipe:
    """data2vec: behind a span mask, predict what a slow teacher makes of the whole clip.

    Args:
        size: `paper` has the published constants; `tiny` is for hours of audio and two cores.
    """
    paper = size == "paper"
    return Recipe(
        name="data2vec",
        size=size,
        reference=Reference(
            title="data2vec: A General Framework for Self-supervised Learning in Speech, Vision and Language",
            authors="Baevski et al.",
            arxiv="2202.03555",
            section="3.1, 3.3, 4.2 and the released configuration for audio",
        ),
        kept=(
            _TARGET,
            "the teacher averages what follows the stem; the stem is the student's own",
            "squared error summed over channels, times 1 / sqrt(D), on hidden tokens; one linear layer as head",
            "spans of 10 tokens, p 0.65, equally many hidden ones in clips of equal length",
            "positions from five convolutions, which no hidden token leaks through",
        ),
        deviations=(
            "after the warm-up the rate is constant; published: three stages, the last tenth decaying",
            "AdamW with decay 0.01; published: Adam",
            "padded clips keep their own number of hidden steps; published: batches cropped to their shortest clip",
            "these numbers are made equal over the whole batch; published: over each device's few clips: a little more "
            "of them is hidden there",
            _DITHERED,
        )
        if paper
        else (
            *small_scale.DEVIATIONS,
            _DITHERED,
            "encoder of 6 layers and width 192 behind a stem of 64 channels, no dropout; published: 12 of 768, 512",
            "positions from three convolutions of kernel 5: in short windows wider ones tell every token its place by "
            "the edges, and a short run learns places alone; published: five of kernel 19",
            "the top 4 layers; published: the top 8 of 12",
            "the teacher's decay rises from 0.99 to 0.999 in a shorter run; published: 0.999 to 0.9999",
        ),
        unknown=(
            "normalisation of the waveform: each clip to mean 0 and variance 1",
            "longest clip: 20 s",
        ),
        cost="a step runs the whole encoder twice, once without gradient; nothing is dropped",
        choose="speech, and as the plain form of latent prediction; it learns slowly, and a small run mostly learns "
        "places: watch position_ratio",
        measure_statistics=False,
        window=WindowConfig(seconds=20.0, variable=True) if paper else small_scale.window(2.56),
        loader=LoaderConfig(batch_seconds=_BATCH_SECONDS, buckets=16) if paper else small_scale.loader(32),
        frontend=preset("wave16_norm"),
        augment=ViewPlanConfig(wave=(_DITHER,)),
        encoder=WaveformTransformerConfig.size("data2vec_base")
        if paper
        else WaveformTransformerConfig.size("tiny", **_SMALL),
        objective=MaskedPredictionConfig(
            mask=SpanMask(p=0.65, length=10),
            hide="token",
            decoder=NoDecoderConfig(),
            teacher=TeacherConfig(0.999, 0.9999, steps=30_000, scope="context")
            if paper
            else TeacherConfig(0.99, 0.999, scope="context"),
            terms=(RegressionConfig(TeacherTargetConfig(layers=8 if paper else 4), dims="sum/sqrt", name="latent"),),
        ),
        train=TrainConfig(
            steps=400_000, lr=5e-4, schedule="constant", warmup_steps=12_000, weight_decay=0.01, betas=(0.9, 0.98)
        )
        if paper
        else small_scale.train(1000, 5e-4),
    )


@recipe("data2vec2", sizes=("tiny", "paper"), paradigm="teacher-student")
def data2vec2(size: str = "tiny") -> Recipe:
    """data2vec 2.0: eight clones of a clip show their visible tokens only, a small decoder predicts the others.

    Args:
        size: `paper` has the published constants; `tiny` is for hours of audio and two cores.
    """
    base, paper = data2vec(size), size == "paper"
    return base.replace(
        name="data2vec2",
        reference=Reference(
            title="Efficient Self-supervised Learning with Contextualized Target Representations",
            authors="Baevski et al.",
            arxiv="2212.07525",
            section="3 and the released configuration for audio",
        ),
        kept=(
            _TARGET,
            "inverse spans: blocks of 5 tokens stay visible, half of all; 8 clones of a clip and one teacher's pass",
            "noise of 0.01 in hidden places, four convolutions of kernel 7 as decoder; ALiBi with a learned scale",
        ),
        deviations=("AdamW with decay 0.01; published: Adam", _DITHERED)
        if paper
        else (
            *base.deviations,
            "4 clones, a decoder of 2 layers and width 192; published: 8, and 4 of 384",
        ),
        unknown=(
            *base.unknown,
            "batch and decay: those of data2vec",
            "norm, nonlinearity and residuals of the decoder's layers (see `objectives.conv_decoder`)",
        ),
        cost="a step encodes each clip once whole, without gradient, and its clones at half of their tokens each",
        choose="as data2vec, with a fraction of its steps; needs an encoder that can drop tokens",
        encoder=WaveformTransformerConfig.size("data2vec2_base")
        if paper
        else WaveformTransformerConfig.size("tiny", **_SMALL, bias="alibi"),
        objective=base.objective.replace(
            mask=InverseBlockMask(ratio=0.5, size=5, adjust=0.05),
            hide="drop",
            clones=8 if paper else 4,
            decoder=Conv1dDecoderConfig() if paper else Conv1dDecoderConfig(width=192, depth=2),
            teacher=TeacherConfig(0.999, 0.99999, steps=75_000, scope="context")
            if paper
            else TeacherConfig(0.99, 0.9995, scope="context"),
        ),
        train=base.train.replace(lr=7.5e-4, warmup_steps=8_000, schedule="cosine")
        if paper
        else base.train.replace(steps=700),
    )
