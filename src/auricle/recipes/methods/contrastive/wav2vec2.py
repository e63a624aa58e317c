"""wav2vec 2.0: a contrast of hidden steps against codes that are learned along (arXiv 2006.11477, NeurIPS 2020)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.views import PlainViewsConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.waveform_transformer import WaveformTransformerConfig
from auricle.objectives.contrastive.quantised_contrast import QuantisedContrastConfig
from auricle.objectives.masks.spans import SpanMask
from auricle.objectives.predictive.decoder import NoDecoderConfig
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.objectives.predictive.stem_penalty import StemPenaltyConfig
from auricle.objectives.targets.code_uses import CodeDiversityConfig
from auricle.objectives.targets.learned_codes import LearnedCodesConfig, TemperatureConfig
from auricle.recipes import small_scale
from auricle.recipes.recipe import Recipe, Reference, recipe
from auricle.training.train_config import TrainConfig

REFERENCE = Reference(
    title="wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations",
    authors="Baevski, Zhou, Mohamed, Auli",
    arxiv="2006.11477",
    section="2, 3, 4.2, and the settings of the base model released with its code",
)
_ALWAYS = (
    "the mask vector starts from N(0, 0.577²), the published one from a uniform draw in [0, 1): the same mean square",
    "projections of context and codes start from a normal of std 0.02; published: uniform by fan-in (a cosine does not "
    "see their scale)",
    "in evaluation the diversity goes by the softmax as in training, not by the likeliest codes",
    "clips keep their own length up to 15.6 s, in batches of about one length; what padding remains takes part in the "
    "statistics of the stem's first norm, and has no hidden steps; published: batches cropped to their shortest clip",
    "these numbers are made equal over the whole batch; published: over each device's few clips, which hides more "
    "(base: 0.46 of the steps; here 0.42)",
)
_TINY = (
    *small_scale.DEVIATIONS,
    "encoder: 64 channels in the stem with a norm over channels, 192 wide, 6 layers; published: 512 "
    "channels, a norm in the first convolution, 768 wide, 12 layers",
    "windows of 2.56 s in batches of 32; published: crops of up to 15.6 s, 1.6 hours in a batch",
    "2 x 64 codes of width 128, 50 distractors; published: 2 x 320 of width 256, 100",
    "the temperature falls by a factor of 0.999 per step, to reach 0.5 in a short run; published: 0.999995",
    "the stem's gradient counts fully (a norm in every layer keeps it small), so a penalty of 1 instead of 10",
)  # fmt: skip


@recipe("wav2vec2", sizes=("tiny", "paper"), paradigm="contrastive")
def wav2vec2(size: str = "tiny") -> Recipe:
    """wav2vec 2.0: tell the learned code of a hidden step from those of other hidden steps of the clip.

    Args:
        size: `paper` has the constants of the base model; `tiny` is for hours of audio and two cores.
    """
    paper = size == "paper"
    contrast = QuantisedContrastConfig(dim=256 if paper else 128, distractors=100 if paper else 50, temperature=0.1)
    codes = LearnedCodesConfig(
        uses=(contrast, CodeDiversityConfig(weight=0.1)),
        groups=2,
        entries=320 if paper else 64,
        width=256 if paper else 128,
        temperature=TemperatureConfig(first=2.0, end=0.5, factor=0.999995 if paper else 0.999),
        dropout=0.1,
    )
    tiny = {"depth": 6, "stem_gradient": 1.0}
    return Recipe(
        name="wav2vec2",
        size=size,
        reference=REFERENCE,
        deviations=_ALWAYS if paper else (*_ALWAYS, *_TINY),
        kept=(
            "spans of 10 steps, a nominal 65 % of them, equally many in clips of equal length; a learned mask vector",
            "Gumbel product quantiser of the unmasked stem output, one codebook a group, straight through",
            "cosine over 0.1 against distractors of the same clip, identical codes left out; diversity 0.1; a penalty "
            "on the stem's mean square",
            "positions by a grouped convolution; the stem's gradient scaled by 0.1 (paper)",
        ),
        unknown=(
            "batches are given as samples for 64 devices (1.4 million each): here 5600 s of clips (paper)",
            "the learning rate falls linearly to 0 (the released schedule; paper)",
        ),
        cost="A step encodes each clip once; the stem takes about half of a small model's time. Codes and distractors "
        "are cheap: similarities are computed once for all pairs of hidden steps of a clip.",
        choose="For speech, and where what is to be kept changes within a fraction of a second. It learns late: for "
        "thousands of steps little moves; watch contrast/position_ratio and quantiser/perplexity.",
        measure_statistics=False,
        frontend=preset("wave16"),
        augment=PlainViewsConfig(),
        window=WindowConfig(seconds=15.625, variable=True) if paper else small_scale.window(2.56),
        loader=LoaderConfig(batch_seconds=5600.0, workers=-1, buckets=16) if paper else small_scale.loader(32),
        encoder=WaveformTransformerConfig.size("base") if paper else WaveformTransformerConfig.size("tiny", **tiny),
        objective=MaskedPredictionConfig(
            mask=SpanMask(p=0.65, length=10),
            hide="token",
            fill="learned",
            fill_std=0.577,
            decoder=NoDecoderConfig(),
            terms=(codes, StemPenaltyConfig(weight=10.0 if paper else 1.0)),
        ),
        train=TrainConfig(
            steps=400_000, warmup_steps=32_000, lr=5e-4, min_lr=0.0, schedule="linear", betas=(0.9, 0.98), eps=1e-6,
            weight_decay=0.01, precision="bf16", save_every=5000,
        ) if paper else small_scale.train(1200, 5e-4, betas=(0.9, 0.98), weight_decay=0.01),
    )  # fmt: skip
