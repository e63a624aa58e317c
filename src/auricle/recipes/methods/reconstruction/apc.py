"""APC and VQ-APC: predicting frames some steps ahead (arXiv 1904.03240; arXiv 2005.08392)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.views import PlainViewsConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.frame_recurrent import FrameRecurrentConfig
from auricle.encoders.parts.quantisers.gumbel import GumbelLayerConfig
from auricle.objectives.predictive.future_prediction import FuturePredictionConfig
from auricle.recipes import small_scale
from auricle.recipes.recipe import Recipe, Reference, recipe

# LibriSpeech-360 has about 104,000 utterances: steps of an epoch at a batch of 32.
_EPOCH_STEPS = 3250
_UNKNOWN = (
    "steps: the publications count epochs of LibriSpeech-360; about 104,000 utterances, 3250 steps an epoch assumed",
    "the longest utterance: 16 s chosen, longer ones are cropped",
    "warm-up and schedule: none, a constant learning rate in the paper size",
)


@recipe("apc", sizes=("tiny", "paper"), paradigm="reconstruction")
def apc(size: str = "tiny") -> Recipe:
    """APC: recurrent layers read log-mel frames from left to right and predict the one some steps ahead.

    Args:
        size: `paper` has the published constants; `tiny` is for hours of audio and two cores.
    """
    paper = size == "paper"
    return Recipe(
        name="apc",
        size=size,
        reference=Reference(
            title="An Unsupervised Autoregressive Model for Speech Representation Learning",
            authors="Chung et al.",
            arxiv="1904.03240",
            section="2, 3.1, the released code, and the GRU of the toolkit s3prl",
        ),
        deviations=("GRU with residual sums as s3prl has it; the first paper's layers are LSTM (encoder.cell)",)
        if paper
        else (
            *small_scale.DEVIATIONS,
            "three GRU of 256 on windows of 2.56 s for 2500 steps; published: 512, whole utterances, 100 epochs",
        ),
        kept=(
            "80 log-mel bins, each standardised over the utterance; three one-way recurrent layers; one linear "
            "layer to the frame three steps ahead; mean absolute difference over all frames with a future",
        ),
        unknown=_UNKNOWN,
        cost="the cheapest method here: a recurrence over frames; it is serial in time, so that long windows cost more "
        "than wide batches",
        choose="a baseline for speech, streaming, very little compute; features at 100 Hz",
        window=WindowConfig(seconds=16.0, variable=True) if paper else small_scale.window(2.56),
        loader=small_scale.loader(32).replace(sampling="clip", buckets=16) if paper else small_scale.loader(32),
        frontend=preset("s3prl80"),
        augment=PlainViewsConfig(),
        encoder=FrameRecurrentConfig.size("base" if paper else "tiny"),
        objective=FuturePredictionConfig(ahead=3),
        train=small_scale.train(
            100 * _EPOCH_STEPS, 1e-4, schedule="constant", weight_decay=0.0, warmup_steps=0, clip_norm=1.0
        )
        if paper
        else small_scale.train(2500, 1e-3, clip_norm=1.0),
    )


@recipe("vq-apc", sizes=("tiny", "paper"), paradigm="reconstruction")
def vq_apc(size: str = "tiny") -> Recipe:
    """VQ-APC: APC through a codebook after the last recurrent layer, so that its features must be few.

    Args:
        size: see `apc`.
    """
    base, paper = apc(size), size == "paper"
    return base.replace(
        name="vq-apc",
        reference=Reference(
            title="Vector-Quantized Autoregressive Predictive Coding",
            authors="Chung et al.",
            arxiv="2005.08392",
            section="2, 3, the released code, and the toolkit s3prl",
        ),
        deviations=base.deviations
        if paper
        else (*base.deviations, "128 codes, as the released code's own example; 512 in the paper size"),
        kept=(
            "APC with a codebook after the last layer: one group, Gumbel-softmax at temperature 0.5, straight-through; "
            "the output layer reads the codes; the frame five steps ahead; no other loss. The hidden states before the "
            "codebook are the features",
        ),
        unknown=(
            *_UNKNOWN,
            "size of the codebook: 128 in the authors' own example, 512 in s3prl; no diversity term is published, so "
            "that codes can collapse: watch codes/perplexity, and give objective.diversity a weight if it falls",
        ),
        cost="as APC, with scores of all codes for every frame",
        choose="as APC, where discrete units are wanted (encoder.codes)",
        encoder=FrameRecurrentConfig.size(
            "base" if paper else "tiny",
            quantised_after=(3,),
            quantiser=GumbelLayerConfig(entries=512 if paper else 128, temperature=0.5),
        ),
        objective=FuturePredictionConfig(ahead=5),
        train=base.train.replace(steps=10 * _EPOCH_STEPS) if paper else base.train,
    )
