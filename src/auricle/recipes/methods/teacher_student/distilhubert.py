"""DistilHuBERT: a student of two layers predicts three layers of a frozen HuBERT (arXiv 2110.01900, ICASSP 2022)."""

from __future__ import annotations

from auricle.corpus.loader import LoaderConfig
from auricle.encoders.waveform_transformer import WaveformTransformerConfig
from auricle.objectives.predictive.decoder import NoDecoderConfig
from auricle.objectives.predictive.heads import MlpHeadConfig
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.objectives.targets.frozen import LayerDistillationConfig
from auricle.objectives.targets.previous_encoder import PreviousEncoderConfig
from auricle.recipes import small_scale
from auricle.recipes.methods.discrete_tokens.hubert import SMALL, first_iteration, hubert
from auricle.recipes.recipe import Recipe, Reference, recipe
from auricle.training.train_config import TrainConfig


@recipe("distilhubert", sizes=("tiny", "paper"), paradigm="teacher-student")
def distilhubert(size: str = "tiny") -> Recipe:
    """DistilHuBERT: HuBERT's stem and first two layers learn to predict its 4th, 8th and 12th.

    Args:
        size: `paper` has the published constants; `tiny` is for hours of audio and two cores.
    """
    paper = size == "paper"
    previous = hubert(size) if paper else first_iteration(size)
    term = LayerDistillationConfig(
        previous=PreviousEncoderConfig(previous.encoder, previous.frontend),
        layers=(4, 8, 12) if paper else (2, 4, 6),
        head=MlpHeadConfig(hidden=(768 if paper else 192,)),
        measure="l1_cosine",
    )
    small = WaveformTransformerConfig.size("tiny", depth=2, stem_gradient=1.0)
    return previous.replace(
        name="distilhubert",
        previous=previous,
        reference=Reference(
            title="DistilHuBERT: Speech Representation Learning by Layer-wise Distillation of Hidden-unit BERT",
            authors="Chang, Yang, Lee",
            arxiv="2110.01900",
            section="2, 3.1, and the released model (its heads predict layers 4, 8 and 12)",
        ),
        deviations=(
            "AdamW's decay 0.01; of utterances longer than 15.6 s a part is heard",
            *(() if paper else (
                *SMALL, "windows of 2.56 s",
                "the teacher is HuBERT's first iteration, whose layers 2, 4 and 6 are predicted; published: the "
                "second iteration, layers 4, 8 and 12",
            )),
        ),
        kept=(
            "the student begins with the teacher's stem and first two layers, and keeps two layers",
            "one head for each predicted layer; mean absolute difference minus log sigmoid of the cosine, added over "
            "the layers; every token counts, nothing is hidden",
        ),
        unknown=(
            "what is between the student's output and a head's: a hidden layer of the student's width with GELU",
            "after a warm-up of 7 % the rate falls linearly to 0; weight decay and betas: AdamW's defaults",
            "the student's dropout: that of the teacher's own training",
        ),
        cost="A step runs the teacher once without gradient and a small student with it. The teacher's training comes "
        "first unless a run of it is given (--previous).",
        choose="Where a trained encoder is too large to deploy: a quarter of HuBERT's parameters (23.5 M of 94.4 M at "
        "the published size). Watch layer*/cosine against layer*/cosine_constant.",
        loader=LoaderConfig(batch=24, workers=-1, buckets=16) if paper else previous.loader,
        encoder=WaveformTransformerConfig.size("distilhubert") if paper else small,
        objective=MaskedPredictionConfig(mask=None, hide="none", decoder=NoDecoderConfig(), terms=(term,)),
        train=TrainConfig(
            steps=200_000, warmup_steps=14_000, lr=2e-4, min_lr=0.0, schedule="linear", weight_decay=0.01,
            precision="bf16", save_every=5000,
        ) if paper else small_scale.train(450, 5e-4, weight_decay=0.01),
    )  # fmt: skip
