"""HuBERT: clusters of masked frames, first of cepstral coefficients, then of its own layer (arXiv 2106.07447)."""

from __future__ import annotations

from typing import Any

from auricle.audio.frontends.presets import preset
from auricle.audio.views import PlainViewsConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.parts.waveform_stem import WAV2VEC2 as STEM
from auricle.encoders.waveform_transformer import WaveformTransformerConfig
from auricle.objectives.masks.spans import SpanMask
from auricle.objectives.predictive.decoder import NoDecoderConfig
from auricle.objectives.predictive.heads import CosineHeadConfig
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.objectives.predictive.stem_penalty import StemPenaltyConfig
from auricle.objectives.predictive.terms import CodeConfig
from auricle.objectives.targets.clusters import (
    ClusteredConfig,
    ClusteredFeaturesConfig,
    ClusteredLayerConfig,
    KMeansTargetConfig,
)
from auricle.objectives.targets.previous_encoder import PreviousEncoderConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.notes import searched
from auricle.training.train_config import TrainConfig

HUBERT = Method(
    name="hubert",
    paradigm="discrete tokens",
    summary="HuBERT: behind a span mask, predict the clusters of masked frames; the second time its own clusters.",
    learns="tests/learning/test_learn_hubert.py",
)
# Of HuBERT and of the methods that change its input or its corpus.
FAITHFUL = (
    "two iterations: clusters of 39 cepstral values (100 per second, every second one taken), then of a middle layer "
    "of the encoder trained on these; the second begins with fresh weights",
    "spans of 10 steps, a nominal 80 % of them, equally many in clips of equal length; a learned mask vector",
    "a projection and the cosine to learned vectors, over 0.1; cross-entropy on masked frames only; a penalty on the "
    "stem's mean square",
    "clusters from a tenth of the clips, in mini-batches of 10,000 vectors, begun by k-means++",
    "betas of 0.9 and 0.98, epsilon 1e-6, decay 0.01, gradients clipped at 10 (paper)",
)
DEVIATIONS = (
    "clusters are looked up for the crop of each step, not written to disk for whole files; the second iteration runs "
    "the first one's encoder in every step for that",
    "clusters come from a streaming k-means with a reservoir; published: scikit-learn's mini-batch k-means, up to 100 "
    "passes",
    "biases and norms have no weight decay; released code: all parameters have",
    "clips keep their own length up to 15.6 s, in batches of about one length; the remaining padding takes part in the "
    "statistics of the stem's first norm, and has no masked frames; published: batches cropped to their shortest clip",
    "the number of masked frames is equalised over the whole batch; published: over each device's few clips, which "
    "masks more (base: 0.53 of the frames; here 0.51)",
)
TINY = (
    *small_scale.LAYERS_DEVIATIONS,
    "encoder: 64 channels in the stem, 192 wide, 6 layers, no dropout of attention or layers (published: 512 channels, "
    "768 wide, 12 layers)",
    "windows of 1.28 s in batches of 32; published: crops of up to 15.6 s, 2800 s in a batch",
    "one iteration, on 100 clusters of cepstral values: some hundred steps on clusters of its own keep less than as "
    "many more on these (published: two)",
    "the stem's gradient counts fully, as a short run moves the stem little, so a penalty of 1 instead of 10",
    "gradients are not clipped; released: at a norm of 10",
)
# Of HuBERT and of the methods on its encoder: one norm, in the first convolution, and samples as they are.
TINY_ENCODER: dict[str, Any] = {"stem": STEM.narrow(64), "depth": 6, "stem_gradient": 1.0}
BATCHES = "batches are given as 87.5 s on each of 32 devices: here 179 crops of 15.6 s, short clips padded (paper)"
NOTES = Notes(
    method="hubert",
    reference=Reference(
        title="HuBERT: Self-Supervised Speech Representation Learning by Masked Prediction of Hidden Units",
        authors="Hsu, Bolte, Tsai, Lakhotia, Salakhutdinov, Mohamed",
        arxiv="2106.07447",
        section="III, IV, and the settings of the base model released with its code",
    ),
    faithful=FAITHFUL,
    deviations=DEVIATIONS,
    not_specified=searched(
        "paper, released configuration",
        BATCHES,
    ),
    cost="A step encodes each clip once; in the second iteration the encoder of the first runs as well, without "
    "gradient. Clusters are found once, in a pass over a tenth of the clips (at least 1000).",
    when_to_use="For speech first of all, and where units of sound are wanted. Its loss has a meaning: codes/"
    "code_accuracy must rise above codes/majority and the loss fall below codes/unigram.",
)


def _iteration(source: ClusteredConfig, clusters: int, dim: int, penalty: float) -> Recipe:
    """Return what both iterations have in common at any size, without notes.

    Args:
        source: of the vectors that are clustered.
        clusters: number of clusters.
        dim: of the projection whose cosine to the learned vectors is taken.
        penalty: weight of the stem's mean square.
    """
    target = KMeansTargetConfig(clusters=clusters, source=source)
    codes = CodeConfig(target, head=CosineHeadConfig(dim=dim, temperature=0.1), name="codes")
    return Recipe(
        measure_statistics=False,
        frontend=preset("wave16"),
        augment=PlainViewsConfig(),
        objective=MaskedPredictionConfig(
            mask=SpanMask(p=0.8, length=10),
            hide="token",
            fill="learned",
            fill_init="uniform",
            decoder=NoDecoderConfig(),
            terms=(codes, StemPenaltyConfig(weight=penalty)),
        ),
    )


def _paper(source: ClusteredConfig, clusters: int, steps: int) -> Recipe:
    return _iteration(source, clusters, dim=256, penalty=10.0).replace(
        size="paper",
        window=WindowConfig(seconds=15.625, variable=True),
        loader=LoaderConfig(batch_seconds=2800.0, workers=-1, buckets=16),
        encoder=WaveformTransformerConfig.size("base"),
        train=TrainConfig(
            steps=steps, warmup_steps=32_000, lr=5e-4, min_lr=0.0, schedule="linear", betas=(0.9, 0.98), eps=1e-6,
            weight_decay=0.01, clip_norm=10.0, precision="bf16", save_every=5000,
        ),
    )  # fmt: skip


def _layer_of(stage: Recipe, layer: int) -> ClusteredLayerConfig:
    """Return a layer of the encoder that a stage trains, as vectors to cluster."""
    return ClusteredLayerConfig(layer, PreviousEncoderConfig(stage.encoder, stage.frontend))


@HUBERT.size("paper")
def hubert_paper() -> Recipe:
    """The base model, both iterations."""
    first = _paper(ClusteredFeaturesConfig(), clusters=100, steps=250_000).replace(name="hubert-1")
    second = _paper(_layer_of(first, 6), clusters=500, steps=400_000)
    return second.replace(name="hubert", notes=NOTES, previous=first)


@HUBERT.size("tiny")
def hubert_tiny() -> Recipe:
    """Small scale: 6 layers of width 192, 900 steps."""
    return _iteration(ClusteredFeaturesConfig(), clusters=100, dim=128, penalty=1.0).replace(
        name="hubert",
        size="tiny",
        notes=NOTES.with_deviations(*TINY),
        window=small_scale.window(1.28),
        loader=small_scale.loader(32),
        features=small_scale.FEATURES,
        encoder=WaveformTransformerConfig.size("tiny", **TINY_ENCODER),
        train=small_scale.train(900, 5e-4, betas=(0.9, 0.98), weight_decay=0.01),
    )
