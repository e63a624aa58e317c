"""Mockingjay: a bidirectional transformer over frames that reconstructs masked ones (arXiv 1910.12638, ICASSP 2020)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.views import PlainViewsConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.spectrogram_layouts import layout
from auricle.objectives.masks.corruption import DiceSpansConfig
from auricle.objectives.predictive.altered_regression import AlteredRegressionConfig
from auricle.objectives.predictive.decoder import NoDecoderConfig
from auricle.objectives.predictive.heads import MlpHeadConfig
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.notes import searched
from auricle.training.train_config import TrainConfig

MOCKINGJAY = Method(
    name="mockingjay",
    paradigm="reconstruction",
    summary="Mockingjay: zero or swap spans of frames; a BERT-like encoder reconstructs them.",
    learns="tests/learning/test_learn_mockingjay.py",
)
# Of Mockingjay and the methods that change its input or its layers only.
TRAINING = (
    "crops of up to 1500 frames, AdamW with decay 0.01 and a linear fall after a warm-up of 7 %, gradients clipped at "
    "5 (the released configuration; paper)"
)
TINY = (
    "encoder of width 192 on 2.56 s; published: width 768 on crops of up to 15 s",
    "batch 32 for 1500 steps at 5e-4, not clipped; published: a million steps at 2e-4, clipped at 5",
    *small_scale.LAYERS_DEVIATIONS,
)
NOT_SPECIFIED = searched(
    "paper, s3prl's configuration",
    "transform of 400 samples, mel bins from 0 to 8 kHz (chosen)",
)
NOTES = Notes(
    method="mockingjay",
    reference=Reference(
        title="Mockingjay: Unsupervised Speech Representation Learning with Deep Bidirectional Transformer Encoders",
        authors="Andy T. Liu, Shu-wen Yang, Po-Han Chi, Po-chun Hsu, Hung-yi Lee",
        arxiv="1910.12638",
        section="2.2, 2.3, and numbers of s3prl's code",
    ),
    faithful=(
        "15 % of the frames in spans of 7; one dice per clip: 80 % zeroed, 10 % replaced by others, 10 % kept",
        "three post-norm layers with dropout 0.1 on frames, sinusoid positions; head of two layers with LayerNorm",
        "absolute error on the chosen frames; each utterance's bins normalised by their own mean and variance",
        TRAINING,
    ),
    deviations=(
        "input and target are 80 log-mel bins, as in s3prl; the paper has 160 values (mel and differences), three "
        "frames stacked, and its large size predicts a linear spectrogram",
    ),
    not_specified=NOT_SPECIFIED,
    cost="all frames in every layer: attention over 100 tokens a second; few layers",
    when_to_use="speech, small encoders, a vector for every frame; simple to change, because it alters the input only",
)


@MOCKINGJAY.size("paper")
def mockingjay_paper() -> Recipe:
    """Three layers of width 768, a million steps."""
    return Recipe(
        name="mockingjay",
        size="paper",
        notes=NOTES,
        measure_statistics=False,
        frontend=preset("s3prl80"),
        augment=PlainViewsConfig(),
        encoder=layout("mockingjay", "base"),
        objective=MaskedPredictionConfig(
            mask=None,
            hide="none",
            corruption=DiceSpansConfig(share=0.15, span=7, zero=0.8, swap=0.1),
            decoder=NoDecoderConfig(),
            terms=(AlteredRegressionConfig(head=MlpHeadConfig((768,), norm="after")),),
        ),
        window=WindowConfig(seconds=15.0, variable=True),
        loader=LoaderConfig(batch=32, workers=-1, buckets=8),
        train=TrainConfig(
            steps=1_000_000, warmup_steps=70_000, lr=2e-4, min_lr=0.0, schedule="linear", weight_decay=0.01,
            clip_norm=5.0, save_every=5000,
        ),
    )  # fmt: skip


@MOCKINGJAY.size("tiny")
def mockingjay_tiny() -> Recipe:
    """Small scale: width 192, 1500 steps."""
    paper = mockingjay_paper()
    return paper.replace(
        size="tiny",
        notes=NOTES.with_deviations(*TINY),
        features=small_scale.FEATURES,
        encoder=layout("mockingjay", "tiny", frames=320, heads=4),
        objective=paper.objective.replace(terms=(AlteredRegressionConfig(head=MlpHeadConfig((192,), norm="after")),)),
        window=small_scale.window(2.56),
        loader=small_scale.loader(32),
        train=small_scale.train(1500, 5e-4, schedule="linear", weight_decay=0.01),
    )
