"""DistilHuBERT: a student of two layers predicts three layers of a frozen HuBERT (arXiv 2110.01900, ICASSP 2022)."""

from __future__ import annotations

from auricle.corpus.loader import LoaderConfig
from auricle.encoders.waveform_transformer import WaveformTransformerConfig
from auricle.objectives.predictive.decoder import NoDecoderConfig
from auricle.objectives.predictive.heads import MlpHeadConfig
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.objectives.targets.frozen import LayerDistillationConfig
from auricle.objectives.targets.previous_encoder import PreviousEncoderConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.methods.discrete_tokens.hubert import TINY_ENCODER, hubert_paper, hubert_tiny
from auricle.training.train_config import TrainConfig

DISTILHUBERT = Method(
    name="distilhubert",
    paradigm="teacher-student",
    summary="DistilHuBERT: HuBERT's stem and first two layers learn to predict its 4th, 8th and 12th.",
)
NOTES = Notes(
    method="distilhubert",
    reference=Reference(
        title="DistilHuBERT: Speech Representation Learning by Layer-wise Distillation of Hidden-unit BERT",
        authors="Chang, Yang, Lee",
        arxiv="2110.01900",
        section="2, 3.1, and the released model (its heads predict layers 4, 8 and 12)",
    ),
    faithful=(
        "the student begins with the teacher's stem and first two layers, and keeps two layers",
        "one head for each predicted layer, with a hidden layer of the student's width and GELU; mean absolute "
        "difference minus log sigmoid of the cosine, added over the layers; every token counts, nothing is masked",
        "crops of up to 15.6 s; dropout 0.1 also within the feed-forward branches, no layer drop (paper)",
        "betas of 0.9 and 0.98, epsilon 1e-6, decay 1e-6, a linear fall after a warm-up of 7 %, clipping at 5 (paper)",
    ),
    deviations=("a norm before the projection of the stem's output, as in the teacher; released code: none",),
    cost="A step runs the teacher once without gradient and a small student with it. The teacher is trained first "
    "unless a run of it is given (--previous).",
    when_to_use="Where a trained encoder is too large to deploy: a quarter of HuBERT's parameters (23.5 M of 94.4 M at "
    "the published size). Watch layer*/cosine against layer*/cosine_constant.",
)


def _from(teacher: Recipe, layers: tuple[int, ...], hidden: int) -> Recipe:
    """Return the distillation of some layers of a teacher, with the teacher's input."""
    term = LayerDistillationConfig(
        previous=PreviousEncoderConfig(teacher.encoder, teacher.frontend),
        layers=layers,
        head=MlpHeadConfig(hidden=(hidden,)),
        measure="l1_cosine",
    )
    return teacher.replace(
        name="distilhubert",
        notes=NOTES,
        previous=teacher,
        objective=MaskedPredictionConfig(mask=None, hide="none", decoder=NoDecoderConfig(), terms=(term,)),
    )


@DISTILHUBERT.size("paper")
def distilhubert_paper() -> Recipe:
    """23.5 M parameters, 200,000 steps; the teacher is HuBERT's second iteration."""
    return _from(hubert_paper(), layers=(4, 8, 12), hidden=768).replace(
        loader=LoaderConfig(batch=24, workers=-1, buckets=16),
        encoder=WaveformTransformerConfig.size("distilhubert", layer_drop=0.0, activation_dropout=0.1),
        train=TrainConfig(
            steps=200_000, warmup_steps=14_000, lr=2e-4, min_lr=0.0, schedule="linear", betas=(0.9, 0.98), eps=1e-6,
            weight_decay=1e-6, clip_norm=5.0, precision="bf16", save_every=5000,
        ),
    )  # fmt: skip


@DISTILHUBERT.size("tiny")
def distilhubert_tiny() -> Recipe:
    """Small scale: two layers of width 192; the teacher is HuBERT's first iteration."""
    return _from(hubert_tiny(), layers=(2, 4, 6), hidden=192).replace(
        notes=NOTES.with_deviations(
            *small_scale.LAYERS_DEVIATIONS,
            "student: 64 channels in the stem, 192 wide, two layers; published: 512 channels, 768 wide",
            "windows of 1.28 s in batches of 32 for 450 steps at decay 0.01, not clipped; published: batch 24 for "
            "200,000 steps at decay 1e-6, clipped at 5",
            "the teacher is HuBERT's first iteration, whose layers 2, 4 and 6 are predicted; published: the second "
            "iteration, layers 4, 8 and 12",
        ),
        encoder=WaveformTransformerConfig.size("tiny", **{**TINY_ENCODER, "depth": 2}),
        train=small_scale.train(450, 5e-4, weight_decay=0.01),
    )
