"""wav2vec and vq-wav2vec: binary decisions about what follows, from causal convolutions (1904.05862; 1910.05453)."""

from __future__ import annotations

from auricle.encoders.waveform_recurrent import (
    CAUSAL_VQ_WAV2VEC,
    VQ_WAV2VEC_QUANTISER,
    WaveformConvolutionConfig,
)
from auricle.objectives.contrastive.future_contrast import FutureContrastConfig
from auricle.objectives.targets.learned_codes import TemperatureConfig
from auricle.recipes import small_scale
from auricle.recipes.methods.contrastive.cpc import cpc
from auricle.recipes.recipe import Recipe, Reference, recipe

_NORM = (
    "norms are over the channels of each step; the published ones are over channels and time together, through which "
    "every step hears the whole clip, what it is to predict included (encoder.norm, encoder.stem.norm group)",
)
_UNKNOWN = (
    "samples in a batch on 16 devices: 160 crops of 9.4 s chosen",
    "learning rate of the last step: 0 by the cosine; weight decay: none",
)


@recipe("wav2vec", sizes=("tiny", "paper"), paradigm="contrastive")
def wav2vec(size: str = "tiny") -> Recipe:
    """wav2vec: causal convolutions decide for each candidate whether it follows; 12 steps, from the third on.

    Args:
        size: `paper` is the published large model; `tiny` is for hours of audio and two cores.
    """
    paper, base = size == "paper", cpc("tiny")
    return base.replace(
        name="wav2vec",
        size=size,
        reference=Reference(
            title="wav2vec: Unsupervised Pre-training for Speech Recognition",
            authors="Schneider et al.",
            arxiv="1904.05862",
            section="3, 4.2, and the released code in fairseq (large model)",
        ),
        deviations=_NORM
        if paper
        else (
            *_NORM,
            *small_scale.DEVIATIONS,
            "128 channels and a stem of five convolutions (published large: 512, seven), windows of 2.56 s (9.4 s), "
            "batch 16 for 1000 steps at 3e-3",
            "negatives weigh 1/10 and scores are means over channels. With sums and full weight, short trainings fall "
            "into features that hardly vary, whose loss is that of knowing only how many candidates are wrong "
            "(future/chance): seen after 100 steps at 1e-3 and at 3e-3",
        ),
        kept=(
            "features log(1 + |x|) of hop 160, causal convolutions with residual sums scaled by sqrt 0.5; 12 steps, "
            "the first 3 ahead, which shares no sample with what was heard; one linear map a step and one common bias; "
            "10 negatives of the same clip; binary cross-entropy summed over candidates, divided by the number of "
            "predictions",
        ),
        unknown=_UNKNOWN,
        cost="as CPC's stem; convolutions in the place of the recurrence run in parallel over time",
        choose="as CPC with negatives of the same clip: what happens in a clip, not which clip it is",
        window=small_scale.window(9.375 if paper else 2.56),
        loader=small_scale.loader(160 if paper else 16),
        encoder=WaveformConvolutionConfig.size("large" if paper else "tiny"),
        objective=FutureContrastConfig(
            steps=12,
            first=3,
            negatives=10,
            pool="clip",
            loss="binary",
            negative_weight=1.0 if paper else 0.1,
            scale="sum" if paper else "mean",
            bias=True,
            anchors="all",
        ),
        train=small_scale.train(400_000, 5e-3, warmup_steps=500, min_lr=0.0, weight_decay=0.0)
        if paper
        else small_scale.train(1000, 3e-3),
    )


@recipe("vq-wav2vec", sizes=("tiny", "paper"), paradigm="contrastive")
def vq_wav2vec(size: str = "tiny") -> Recipe:
    """vq-wav2vec: wav2vec with a quantiser between stem and context; candidates are codes.

    Args:
        size: see `wav2vec`. For k-means instead of Gumbel-softmax replace `encoder.quantiser` by a `KMeansLayerConfig`.
    """
    paper, base = size == "paper", wav2vec(size)
    quantiser = VQ_WAV2VEC_QUANTISER if paper else VQ_WAV2VEC_QUANTISER.replace(entries=64)
    stem = CAUSAL_VQ_WAV2VEC if paper else CAUSAL_VQ_WAV2VEC.narrow(128)
    return base.replace(
        name="vq-wav2vec",
        reference=Reference(
            title="vq-wav2vec: Self-Supervised Learning of Discrete Speech Representations",
            authors="Baevski et al.",
            arxiv="1910.05453",
            section="3, 4.2, and the released code in fairseq",
        ),
        deviations=(
            *base.deviations,
            "the second stage, a BERT on the codes, is not part of it: `encoder.codes` gives them",
            *(() if paper else ("two groups of 64 entries; published: 320", "temperature from 2 by 0.999 a step")),
        ),
        kept=(
            *base.kept,
            "eight convolutions with GELU; two groups that share one codebook; two layers to the logits; temperature "
            "2 to 0.5 by 0.999995 an update; true candidates and negatives are codes, the context reads codes",
        ),
        unknown=(
            *base.unknown,
            "the weight of the pull towards all entries, published as G V minus the perplexity: here its share of G V, "
            "with weight 1",
            "warm-up: 500 steps as in wav2vec; where k-means begins: entries near zero",
        ),
        choose="as wav2vec, where discrete units are wanted: for language models on sound, for retrieval",
        encoder=WaveformConvolutionConfig.size(
            "vq" if paper else "tiny", stem=stem, activation="gelu", quantiser=quantiser
        ),
        objective=base.objective.replace(
            source="codes",
            temperature=TemperatureConfig() if paper else TemperatureConfig(factor=0.999),
            diversity=1.0,
        ),
        train=base.train.replace(lr=1e-5) if paper else base.train,
    )
