"""wav2vec 2.0: a contrast of masked frames against codes that are learned along (arXiv 2006.11477, NeurIPS 2020)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.views import PlainViewsConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.parts.waveform_stem import WAV2VEC2 as STEM
from auricle.encoders.waveform_transformer import WaveformTransformerConfig
from auricle.objectives.contrastive.quantised_contrast import QuantisedContrastConfig
from auricle.objectives.masks.spans import SpanMask
from auricle.objectives.predictive.decoder import NoDecoderConfig
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.objectives.predictive.stem_penalty import StemPenaltyConfig
from auricle.objectives.targets.code_uses import CodeDiversityConfig
from auricle.objectives.targets.learned_codes import LearnedCodesConfig, TemperatureConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.notes import searched
from auricle.training.train_config import TrainConfig

WAV2VEC2 = Method(
    name="wav2vec2",
    paradigm="contrastive",
    summary="wav2vec 2.0: pick the learned code of a masked frame out of those of other masked frames of the clip.",
    learns="tests/learning/test_learn_wav2vec2.py",
)
NOTES = Notes(
    method="wav2vec2",
    reference=Reference(
        title="wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations",
        authors="Baevski, Zhou, Mohamed, Auli",
        arxiv="2006.11477",
        section="2, 3, 4.2, and the settings of the base model released with its code",
    ),
    faithful=(
        "spans of 10 steps, a nominal 65 % of them, equally many in clips of equal length; a learned mask vector",
        "Gumbel product quantiser of the unmasked stem output, one codebook a group, straight through",
        "cosine over 0.1 against distractors of the same clip, identical codes excluded; diversity 0.1; a penalty on "
        "the stem's mean square",
        "positions by a grouped convolution; the stem's gradient scaled by 0.1 (paper)",
        "the learning rate falls linearly to 0 after 32,000 steps of warm-up (paper)",
    ),
    deviations=(
        "projections of context and codes start from a normal of std 0.02; published: uniform by fan-in (a cosine does "
        "not see their scale)",
        "in evaluation the diversity goes by the softmax as in training, not by the likeliest codes",
        "clips keep their own length up to 15.6 s, in batches of about one length; the remaining padding takes part in "
        "the statistics of the stem's first norm, and has no masked frames; published: batches cropped to their "
        "shortest clip",
        "the number of masked frames is equalised over the whole batch; published: over each device's few clips, which "
        "masks more (base: 0.46 of the frames; here 0.42)",
    ),
    not_specified=searched(
        "paper, released configuration",
        "batches are given as samples for 64 devices (1.4 million each): here 5600 s of clips (paper)",
    ),
    cost="A step encodes each clip once; the stem takes about half of a small model's time. Codes and distractors are "
    "cheap: similarities are computed once for all pairs of masked frames of a clip.",
    when_to_use="For speech, and where the sound of interest changes within a fraction of a second. It learns late: "
    "for thousands of steps little moves; watch contrast/position_ratio and quantiser/perplexity.",
)


def _objective(
    entries: int, width: int, distractors: int, temperature_factor: float, penalty: float
) -> MaskedPredictionConfig:
    contrast = QuantisedContrastConfig(dim=width, distractors=distractors, temperature=0.1)
    codes = LearnedCodesConfig(
        uses=(contrast, CodeDiversityConfig(weight=0.1)),
        groups=2,
        entries=entries,
        width=width,
        temperature=TemperatureConfig(first=2.0, end=0.5, factor=temperature_factor),
        dropout=0.1,
    )
    return MaskedPredictionConfig(
        mask=SpanMask(p=0.65, length=10),
        hide="token",
        fill="learned",
        fill_init="uniform",
        decoder=NoDecoderConfig(),
        terms=(codes, StemPenaltyConfig(weight=penalty)),
    )


@WAV2VEC2.size("paper")
def wav2vec2_paper() -> Recipe:
    """The base model: 95 M parameters, 400,000 steps."""
    return Recipe(
        name="wav2vec2",
        size="paper",
        notes=NOTES,
        measure_statistics=False,
        frontend=preset("wave16"),
        augment=PlainViewsConfig(),
        window=WindowConfig(seconds=15.625, variable=True),
        loader=LoaderConfig(batch_seconds=5600.0, workers=-1, buckets=16),
        encoder=WaveformTransformerConfig.size("base"),
        objective=_objective(entries=320, width=256, distractors=100, temperature_factor=0.999995, penalty=10.0),
        train=TrainConfig(
            steps=400_000, warmup_steps=32_000, lr=5e-4, min_lr=0.0, schedule="linear", betas=(0.9, 0.98), eps=1e-6,
            weight_decay=0.01, precision="bf16", save_every=5000,
        ),
    )  # fmt: skip


@WAV2VEC2.size("tiny")
def wav2vec2_tiny() -> Recipe:
    """Small scale: 6 layers of width 192, 2400 steps."""
    return wav2vec2_paper().replace(
        size="tiny",
        notes=NOTES.with_deviations(
            *small_scale.LAYERS_DEVIATIONS,
            "encoder: 64 channels in the stem, 192 wide, 6 layers; published: 512 channels, 768 wide, 12 layers",
            "windows of 1.28 s in batches of 32; published: crops of up to 15.6 s, 1.6 hours in a batch",
            "2 x 64 codes of width 128, 50 distractors; published: 2 x 320 of width 256, 100",
            "the temperature falls by a factor of 0.999 per step, to reach 0.5 in a short run; published: 0.999995",
            "the stem's gradient counts fully, as a short run moves the stem little, so a penalty of 1 instead of 10",
        ),
        window=small_scale.window(1.28),
        loader=small_scale.loader(32),
        features=small_scale.FEATURES,
        encoder=WaveformTransformerConfig.size("tiny", stem=STEM.narrow(64), depth=6, stem_gradient=1.0),
        objective=_objective(entries=64, width=128, distractors=50, temperature_factor=0.999, penalty=1.0),
        train=small_scale.train(2400, 5e-4, betas=(0.9, 0.98), weight_decay=0.01),
    )
