"""BEATs, first iteration: codes of patches from a random projection (arXiv 2212.09058, ICML 2023)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.views import PlainViewsConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.beats import BEATsConfig
from auricle.objectives.masks.samplers import RandomMask
from auricle.objectives.predictive.decoder import TransformerDecoderConfig
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.objectives.predictive.terms import CodeConfig
from auricle.objectives.targets.projections import RandomProjectionTargetConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.notes import searched
from auricle.training.train_config import TrainConfig

ITER1 = Method(
    name="beats-iter1",
    paradigm="discrete tokens",
    summary="BEATs, first iteration: predict codes that a random projection assigns to masked patches.",
    learns="tests/learning/test_learn_beats.py",
)
# Of all stages, or of the two that predict codes.
MASKED = "75 % of the 16 x 16 patches masked at random, only the others encoded; a predictor with mask tokens"
INPUT = "Kaldi's 128 log-mel bins of the waveform times 2^15; gated relative bias, DeepNorm"
_POSITIONS = (
    "positions: visible patches enter the position convolution with zeros in the gaps, and relative distances are "
    "those of the original places"
)
OPTIMISER = (
    "optimiser and warm-up: AdamW with weight decay 0.01 here, 32,000 steps of warm-up, then a linear fall (paper)"
)
PREDICTOR = "depth of the predictor: 3 blocks, like the estimator (paper)"
TINY = (
    *small_scale.DEVIATIONS,
    "encoder: 8 blocks of width 192; published: 12 of width 768",
    "windows of 2.56 s in batches of 32; published: 10 s, 5.6 hours in a batch",
)
TINY_PREDICTOR = "predictor of one block of width 192; three of width 768 in the paper size"

NOTES = Notes(
    method="beats-iter1",
    reference=Reference(
        title="BEATs: Audio Pre-Training with Acoustic Tokenizers",
        authors="Chen, Wu, Wang, Liu, Tompkins, Chen, Che, Yu, Wei",
        arxiv="2212.09058",
        section="3, 4.1; encoder, quantiser and front end as in the released code (which does not pre-train)",
    ),
    faithful=(
        MASKED,
        "a random projection to 256 dimensions and 1024 random codes, never trained; cross-entropy on masked patches",
        INPUT,
    ),
    deviations=(_POSITIONS,),
    not_specified=searched(
        "paper, released code, which does not pre-train",
        OPTIMISER,
        PREDICTOR,
        "normalisation of patches for the random projection: none here, which makes a perplexity of 42 of 1024 codes "
        "on 16,000 real patches. Each of the 256 values standardised over the clip makes 98, each patch by itself 310, "
        "but short runs learned nothing of such codes but the row of a patch",
    ),
    cost="A step encodes a quarter of the patches; the random projection costs a matrix product.",
    when_to_use="As a first stage; by itself it is BEST-RQ on patches, the cheapest way to predict codes of any sound.",
)


@ITER1.size("paper")
def beats_iter1_paper() -> Recipe:
    """12 blocks of width 768, 400,000 steps."""
    return Recipe(
        name="beats-iter1",
        size="paper",
        notes=NOTES,
        measure_statistics=False,
        frontend=preset("beats128"),
        augment=PlainViewsConfig(),
        encoder=BEATsConfig.size("base"),
        objective=MaskedPredictionConfig(
            mask=RandomMask(ratio=0.75),
            hide="drop",
            decoder=TransformerDecoderConfig(768, 3, 12),
            terms=(CodeConfig(RandomProjectionTargetConfig(codes=1024, dim=256, norm="none", seeds=1)),),
        ),
        window=WindowConfig(seconds=10.0, short="pad"),
        loader=LoaderConfig(batch_seconds=20_160.0),
        train=TrainConfig(
            steps=400_000, warmup_steps=32_000, lr=5e-4, min_lr=0.0, schedule="linear", betas=(0.9, 0.98),
            weight_decay=0.01, precision="bf16", save_every=5000,
        ),
    )  # fmt: skip


@ITER1.size("tiny")
def beats_iter1_tiny() -> Recipe:
    """Small scale: 8 blocks of width 192, 800 steps."""
    paper = beats_iter1_paper()
    return paper.replace(
        size="tiny",
        notes=NOTES.with_deviations(
            *TINY, TINY_PREDICTOR, "of 4 random projections the one whose codes are used most evenly"
        ),
        measure_statistics=True,
        encoder=BEATsConfig.size("tiny"),
        objective=paper.objective.replace(
            decoder=TransformerDecoderConfig(192, 1, 3),
            terms=(CodeConfig(RandomProjectionTargetConfig(codes=1024, dim=256, norm="none", seeds=4)),),
        ),
        window=small_scale.window(2.56),
        loader=small_scale.loader(32),
        train=small_scale.train(800, 1e-3, betas=(0.9, 0.98), weight_decay=0.01),
    )
