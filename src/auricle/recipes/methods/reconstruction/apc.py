"""APC and VQ-APC: predicting frames some steps ahead (arXiv 1904.03240; arXiv 2005.08392)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.views import PlainViewsConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.frame_recurrent import FrameRecurrentConfig
from auricle.encoders.parts.quantisers.gumbel import GumbelLayerConfig
from auricle.objectives.predictive.future_prediction import FuturePredictionConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.notes import searched

APC = Method(
    name="apc",
    paradigm="reconstruction",
    summary="APC: recurrent layers read log-mel frames from left to right and predict the one some steps ahead.",
    learns="tests/learning/test_learn_apc.py",
)
VQ_APC = Method(
    name="vq-apc",
    paradigm="reconstruction",
    summary="VQ-APC: APC through a codebook after the last recurrent layer, a bottleneck of few codes.",
    learns="tests/learning/test_learn_apc.py",
)
_SOURCES = "papers, released code, s3prl"
_NOT_SPECIFIED = searched(
    _SOURCES,
    "steps: the publications count epochs of LibriSpeech-360; about 104,000 utterances, 3250 steps an epoch assumed",
)
_CELL = "GRU with residual sums as in s3prl; the first paper's layers are LSTM (encoder.cell)"
NOTES = Notes(
    method="apc",
    reference=Reference(
        title="An Unsupervised Autoregressive Model for Speech Representation Learning",
        authors="Chung et al.",
        arxiv="1904.03240",
        section="2, 3.1, the released code, and the GRU of the toolkit s3prl",
    ),
    faithful=(
        "80 log-mel bins, each standardised over the utterance; three one-way recurrent layers; one linear layer to "
        "the frame three steps ahead; mean absolute difference over all frames with a future",
        "crops of up to 1500 frames, a constant learning rate of 1e-4 (as in s3prl; paper)",
    ),
    not_specified=_NOT_SPECIFIED,
    deviations=(_CELL,),
    cost="the cheapest method here: a recurrence over frames; it is serial in time, so that long windows cost more "
    "than wide batches",
    when_to_use="a baseline for speech, streaming, very little compute; features at 100 Hz",
)
VQ_NOTES = Notes(
    method="vq-apc",
    reference=Reference(
        title="Vector-Quantized Autoregressive Predictive Coding",
        authors="Chung et al.",
        arxiv="2005.08392",
        section="2, 3, the released code, and the toolkit s3prl",
    ),
    faithful=(
        "APC with a codebook after the last layer: one group, Gumbel-softmax at temperature 0.5, straight-through; the "
        "output layer reads the codes; the frame five steps ahead; no other loss",
        "crops of up to 1500 frames, a constant learning rate of 1e-4 (as in s3prl; paper)",
        "features are the last layer's hidden states; codes are read by the encoder's method `codes`",
    ),
    deviations=(_CELL,),
    not_specified=(
        *_NOT_SPECIFIED,
        *searched(
            _SOURCES,
            "size of the codebook: 512, as in s3prl; 128 in the authors' own example. No diversity term is published, "
            "so that codes can collapse: watch codes/perplexity, and give objective.diversity a weight if it falls",
        ),
    ),
    cost="as APC, with scores of all codes for every frame",
    when_to_use="as APC, where discrete units are wanted",
)
_TINY = "three GRU of 256 on windows of 2.56 s for 2500 steps; published: 512, whole utterances"

# LibriSpeech-360 has about 104,000 utterances: steps of an epoch at a batch of 32.
_EPOCH = 3250


@APC.size("paper")
def apc_paper() -> Recipe:
    """Three GRU of 512, 100 epochs of LibriSpeech-360."""
    return Recipe(
        name="apc",
        size="paper",
        notes=NOTES,
        window=WindowConfig(seconds=15.0, variable=True),
        loader=small_scale.loader(32).replace(sampling="clip", buckets=16),
        frontend=preset("s3prl80"),
        augment=PlainViewsConfig(),
        encoder=FrameRecurrentConfig.size("base"),
        objective=FuturePredictionConfig(ahead=3),
        train=small_scale.train(
            100 * _EPOCH, 1e-4, schedule="constant", weight_decay=0.0, warmup_steps=0, clip_norm=1.0
        ),
    )


@APC.size("tiny")
def apc_tiny() -> Recipe:
    """Small scale: three GRU of 256, 2500 steps."""
    return apc_paper().replace(
        size="tiny",
        notes=NOTES.with_deviations(*small_scale.LAYERS_DEVIATIONS, f"{_TINY}, 100 epochs"),
        window=small_scale.window(2.56),
        loader=small_scale.loader(32),
        features=small_scale.FEATURES,
        encoder=FrameRecurrentConfig.size("tiny"),
        train=small_scale.train(2500, 1e-3, clip_norm=1.0),
    )


@VQ_APC.size("paper")
def vq_apc_paper() -> Recipe:
    """512 codes, 10 epochs of LibriSpeech-360."""
    base = apc_paper()
    return base.replace(
        name="vq-apc",
        notes=VQ_NOTES,
        encoder=FrameRecurrentConfig.size(
            "base", quantised_after=(3,), quantiser=GumbelLayerConfig(entries=512, temperature=0.5)
        ),
        objective=FuturePredictionConfig(ahead=5),
        train=base.train.replace(steps=10 * _EPOCH),
    )


@VQ_APC.size("tiny")
def vq_apc_tiny() -> Recipe:
    """Small scale: 128 codes, 2500 steps."""
    return apc_tiny().replace(
        name="vq-apc",
        notes=VQ_NOTES.with_deviations(
            *small_scale.LAYERS_DEVIATIONS,
            f"{_TINY}, 10 epochs",
            "128 codes, as in the released code's own example; 512 in the paper size",
        ),
        encoder=FrameRecurrentConfig.size(
            "tiny", quantised_after=(3,), quantiser=GumbelLayerConfig(entries=128, temperature=0.5)
        ),
        objective=FuturePredictionConfig(ahead=5),
    )
