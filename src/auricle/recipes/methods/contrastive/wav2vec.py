"""wav2vec and vq-wav2vec: binary decisions about future steps, from causal convolutions (1904.05862; 1910.05453)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.views import PlainViewsConfig
from auricle.encoders.waveform_recurrent import (
    CAUSAL_VQ_WAV2VEC,
    VQ_WAV2VEC_QUANTISER,
    WaveformConvolutionConfig,
)
from auricle.objectives.contrastive.future_contrast import FutureContrastConfig
from auricle.objectives.targets.learned_codes import TemperatureConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.notes import searched

WAV2VEC = Method(
    name="wav2vec",
    paradigm="contrastive",
    summary="wav2vec: with causal convolutions, decide for each candidate whether it follows; 12 steps from the third.",
)
VQ_WAV2VEC = Method(
    name="vq-wav2vec",
    paradigm="contrastive",
    summary="vq-wav2vec: wav2vec with a quantiser between stem and context; candidates are codes.",
)
_DEVIATIONS = (
    "norms are over the channels of each step; the published ones are over channels and time together, which shows "
    "every step the whole clip, including what it is to predict (encoder.norm, encoder.stem.norm group)",
)
_NOT_SPECIFIED = searched(
    "paper, released code in fairseq",
    "samples in a batch on 16 devices: 160 crops of 9.4 s chosen",
    "learning rate of the last step: 0 by the cosine; weight decay: none",
)
_TINY = (
    "negatives weigh 1/10 and scores are means over channels. With sums and full weight, short runs settle on features "
    "that hardly vary, whose loss is that of knowing only how many candidates are wrong (future/chance): seen after "
    "100 steps at 1e-3 and at 3e-3"
)
NOTES = Notes(
    method="wav2vec",
    reference=Reference(
        title="wav2vec: Unsupervised Pre-training for Speech Recognition",
        authors="Schneider et al.",
        arxiv="1904.05862",
        section="3, 4.2, and the released code in fairseq (large model)",
    ),
    faithful=(
        "features log(1 + |x|) of hop 160, causal convolutions with residual sums scaled by sqrt 0.5; 12 steps, the "
        "first 3 ahead, which shares no sample with the context; one linear map a step and one common bias; 10 "
        "negatives of the same clip; binary cross-entropy summed over candidates, divided by the number of predictions",
    ),
    deviations=_DEVIATIONS,
    not_specified=_NOT_SPECIFIED,
    cost="as CPC's stem; convolutions instead of the recurrence run in parallel over time",
    when_to_use="as CPC with negatives of the same clip: the content of a clip, not its identity",
)
VQ_NOTES = Notes(
    method="vq-wav2vec",
    reference=Reference(
        title="vq-wav2vec: Self-Supervised Learning of Discrete Speech Representations",
        authors="Baevski et al.",
        arxiv="1910.05453",
        section="3, 4.2, and the released code in fairseq",
    ),
    faithful=(
        "as wav2vec: features log(1 + |x|) of hop 160, causal convolutions, 12 steps from the third on, 10 negatives "
        "of the same clip, binary cross-entropy",
        "eight convolutions with GELU; two groups that share one codebook; two layers to the logits; temperature 2 to "
        "0.5 by 0.999995 an update; true candidates and negatives are codes, the context reads codes",
    ),
    deviations=(
        *_DEVIATIONS,
        "the second stage, a BERT on the codes, is not part of the recipe: `encoder.codes` gives them",
    ),
    not_specified=searched(
        "paper, released code in fairseq",
        *_NOT_SPECIFIED,
        "weight of the diversity term, published as G V minus the perplexity: here its share of G V, with weight 1",
        "warm-up: 500 steps as in wav2vec; start of k-means: entries near zero",
    ),
    cost="as wav2vec, with a quantiser",
    when_to_use="as wav2vec, where discrete units are wanted: for language models on sound, for retrieval. For k-means "
    "instead of Gumbel-softmax replace `encoder.quantiser` by a `KMeansLayerConfig`",
)


@WAV2VEC.size("paper")
def wav2vec_paper() -> Recipe:
    """The published large model."""
    return Recipe(
        name="wav2vec",
        size="paper",
        notes=NOTES,
        window=small_scale.window(9.375),
        loader=small_scale.loader(160),
        frontend=preset("wave16"),
        augment=PlainViewsConfig(),
        encoder=WaveformConvolutionConfig.size("large"),
        objective=FutureContrastConfig(
            steps=12, first=3, negatives=10, pool="clip", column="speaker", loss="binary", negative_weight=1.0,
            scale="sum", bias=True, anchors="all",
        ),
        train=small_scale.train(400_000, 5e-3, warmup_steps=500, min_lr=0.0, weight_decay=0.0),
    )  # fmt: skip


@WAV2VEC.size("tiny")
def wav2vec_tiny() -> Recipe:
    """Small scale: 128 channels, 1000 steps."""
    paper = wav2vec_paper()
    return paper.replace(
        size="tiny",
        notes=NOTES.with_deviations(
            *small_scale.LAYERS_DEVIATIONS,
            "128 channels and a stem of five convolutions (published large: 512, seven), windows of 2.56 s (9.4 s), "
            "batch 16 for 1000 steps at 3e-3",
            _TINY,
        ),
        window=small_scale.window(2.56),
        loader=small_scale.loader(16),
        features=small_scale.FEATURES,
        encoder=WaveformConvolutionConfig.size("tiny"),
        objective=paper.objective.replace(negative_weight=0.1, scale="mean"),
        train=small_scale.train(1000, 3e-3),
    )


@VQ_WAV2VEC.size("paper")
def vq_wav2vec_paper() -> Recipe:
    """Two groups of 320 codes, learning rate 1e-5."""
    base = wav2vec_paper()
    return base.replace(
        name="vq-wav2vec",
        notes=VQ_NOTES,
        encoder=WaveformConvolutionConfig.size("vq"),
        objective=base.objective.replace(source="codes", temperature=TemperatureConfig(), diversity=1.0),
        train=base.train.replace(lr=1e-5),
    )


@VQ_WAV2VEC.size("tiny")
def vq_wav2vec_tiny() -> Recipe:
    """Small scale: two groups of 64 codes, 1000 steps."""
    base = wav2vec_tiny()
    return base.replace(
        name="vq-wav2vec",
        notes=VQ_NOTES.with_deviations(
            *small_scale.LAYERS_DEVIATIONS,
            "128 channels (published: 512), windows of 2.56 s (9.4 s), batch 16 for 1000 steps at 3e-3",
            _TINY,
            "two groups of 64 entries; published: 320",
            "temperature from 2 by 0.999 a step",
        ),
        encoder=WaveformConvolutionConfig.size(
            "tiny",
            stem=CAUSAL_VQ_WAV2VEC.narrow(128),
            activation="gelu",
            quantiser=VQ_WAV2VEC_QUANTISER.replace(entries=64),
        ),
        objective=base.objective.replace(source="codes", temperature=TemperatureConfig(factor=0.999), diversity=1.0),
    )
