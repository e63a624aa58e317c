"""HuBERT: cluster numbers of hidden steps, first of cepstral coefficients, then of its own layer (arXiv 2106.07447)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.views import PlainViewsConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
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
from auricle.recipes import small_scale
from auricle.recipes.recipe import Recipe, Reference, recipe
from auricle.training.train_config import TrainConfig

_ALWAYS = (
    "clusters are looked up for the crop of each step, not written to disk for whole files before; the second "
    "iteration runs the first one's encoder in every step for that",
    "clusters come from a streaming k-means with a reservoir; published: scikit-learn's mini-batch k-means, up to "
    "100 passes",
    "the mask vector starts from N(0, 0.577²), the published one from a uniform draw in [0, 1): the same mean square",
    "AdamW; published: Adam",
    "clips keep their own length up to 15.6 s, in batches of about one length; what padding remains takes part in the "
    "statistics of the stem's first norm, and has no hidden steps; published: batches cropped to their shortest clip",
    "these numbers are made equal over the whole batch; published: over each device's few clips, which hides more "
    "(base: 0.53 of the steps; here 0.51)",
)
SMALL = (
    *small_scale.DEVIATIONS,
    "encoder: 64 channels in the stem with a norm over channels, 192 wide, 6 layers, no dropout of attention or layers "
    "(published: 512 channels, a norm in the first convolution, 768 wide, 12 layers)",
)
_TINY = (
    *SMALL,
    "windows of 2.56 s in batches of 32; published: crops of up to 15.6 s, 2800 s in a batch",
    "100 clusters in both iterations, on layer 3 of 6 in the second; published: 100, then 500 on layer 6 of 12",
    "the stem's gradient counts fully (a norm in every layer keeps it small), so a penalty of 1 instead of 10",
)  # fmt: skip


def iteration(size: str, source: ClusteredConfig, clusters: int, steps: int) -> Recipe:
    """Return one iteration of HuBERT, without documentation.

    Args:
        size: `paper` or `tiny`.
        source: what its targets are clusters of.
        clusters: how many.
        steps: of training.
    """
    paper = size == "paper"
    codes = CodeConfig(
        KMeansTargetConfig(clusters=clusters, source=source),
        head=CosineHeadConfig(dim=256 if paper else 128, temperature=0.1),
        name="codes",
    )
    small = WaveformTransformerConfig.size("tiny", depth=6, stem_gradient=1.0)
    return Recipe(
        size=size,
        measure_statistics=False,
        frontend=preset("wave16"),
        augment=PlainViewsConfig(),
        window=WindowConfig(seconds=15.625, variable=True) if paper else small_scale.window(2.56),
        loader=LoaderConfig(batch_seconds=2800.0, workers=-1, buckets=16) if paper else small_scale.loader(32),
        encoder=WaveformTransformerConfig.size("base") if paper else small,
        objective=MaskedPredictionConfig(
            mask=SpanMask(p=0.8, length=10),
            hide="token",
            fill="learned",
            fill_std=0.577,
            decoder=NoDecoderConfig(),
            terms=(codes, StemPenaltyConfig(weight=10.0 if paper else 1.0)),
        ),
        train=TrainConfig(
            steps=steps, warmup_steps=32_000, lr=5e-4, min_lr=0.0, schedule="linear", betas=(0.9, 0.98), eps=1e-6,
            weight_decay=0.01, precision="bf16", save_every=5000,
        ) if paper else small_scale.train(steps, 5e-4, betas=(0.9, 0.98), weight_decay=0.01),
    )  # fmt: skip


def first_iteration(size: str) -> Recipe:
    """Return the first iteration: clusters of cepstral coefficients. Its name is `hubert-1`."""
    made = iteration(size, ClusteredFeaturesConfig(), 100, 250_000 if size == "paper" else 450)
    return made.replace(name="hubert-1")


def layer_of(stage: Recipe, layer: int) -> ClusteredLayerConfig:
    """Return a layer of what a stage trains, as something to cluster."""
    return ClusteredLayerConfig(layer, PreviousEncoderConfig(stage.encoder, stage.frontend))


@recipe("hubert", sizes=("tiny", "paper"), paradigm="discrete tokens")
def hubert(size: str = "tiny") -> Recipe:
    """HuBERT: behind a span mask, predict the clusters that hidden steps belong to; twice, the second time its own.

    Args:
        size: `paper` has the constants of the base model, both iterations; `tiny` is for hours of audio and two cores.
    """
    paper = size == "paper"
    previous = first_iteration(size)
    source = layer_of(previous, 6 if paper else 3)
    return iteration(size, source, 500 if paper else 100, 400_000 if paper else 450).replace(
        name="hubert",
        previous=previous,
        reference=Reference(
            title="HuBERT: Self-Supervised Speech Representation Learning by Masked Prediction of Hidden Units",
            authors="Hsu, Bolte, Tsai, Lakhotia, Salakhutdinov, Mohamed",
            arxiv="2106.07447",
            section="III, IV, and the settings of the base model released with its code",
        ),
        deviations=_ALWAYS if paper else (*_ALWAYS, *_TINY),
        kept=(
            "two iterations: clusters of 39 cepstral values (100 per second, every second one taken), then of a middle "
            "layer of the encoder that these taught; the second begins with fresh weights",
            "spans of 10 steps, a nominal 80 % of them, equally many in clips of equal length; a learned mask vector",
            "a projection and the cosine to learned vectors, over 0.1; cross-entropy on hidden steps only; a penalty "
            "on the stem's mean square",
            "clusters from a tenth of the clips, in mini-batches of 10,000 vectors, begun by k-means++",
        ),
        unknown=(
            "weight decay 0.01 and Adam's epsilon 1e-6 (those of wav2vec 2.0's released settings)",
            "batches are given as 87.5 s on each of 32 devices: here 179 crops of 15.6 s, short clips padded (paper)",
        ),
        cost="A step encodes each clip once; in the second iteration the encoder of the first runs beside it, without "
        "gradient. Clusters are found once, in a pass over a tenth of the clips (at least 1000).",
        choose="For speech first of all, and where units of sound are wanted. Its loss means something: codes/"
        "code_accuracy must rise above codes/majority and the loss fall below codes/unigram.",
    )
