"""BEST-RQ: predict the codes that a random projection gives to hidden speech (arXiv 2202.01855, ICML 2022)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.views import PlainViewsConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.conformer import ConformerConfig
from auricle.objectives.masks.corruption import NoiseFillConfig
from auricle.objectives.predictive.decoder import NoDecoderConfig
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.objectives.predictive.terms import CodeConfig
from auricle.objectives.targets.projections import RandomProjectionTargetConfig
from auricle.recipes import small_scale
from auricle.recipes.recipe import Recipe, Reference, recipe
from auricle.training.train_config import TrainConfig

REFERENCE = Reference(
    title="Self-supervised Learning with Random-projection Quantizer for Speech Recognition",
    authors="Chiu, Qin, Zhang, Yu, Wu",
    arxiv="2202.01855",
    section="3, 4.1; optimiser and batch as re-implemented in SpeechBrain",
)
_ALWAYS = (
    "a clip that draws no span to hide gets one (one clip in 20,000 at the published lengths)",
    "a token counts as hidden where at least half of its four frames are",
    "the convolutions that subsample are padded, so that token t stands for frames 4t ... 4t + 3, as its code does",
)
_TINY = (
    *small_scale.DEVIATIONS,
    "encoder: a Conformer of 4 blocks of width 144; published: 24 of width 1024 (0.6 B parameters)",
    "1024 codes, of 4 projections the one whose codes are used most evenly; published: 8192, one projection",
    "windows of 2.56 s in batches of 32; published: whole utterances, about two hours in a batch",
)


@recipe("best-rq", sizes=("tiny", "paper"), paradigm="discrete tokens")
def best_rq(size: str = "tiny") -> Recipe:
    """BEST-RQ: name the code that a fixed random projection gives to each stretch of speech hidden behind noise.

    Args:
        size: `paper` has the published constants; `tiny` is for hours of audio and two cores.
    """
    paper = size == "paper"
    codes = RandomProjectionTargetConfig(codes=8192 if paper else 1024, dim=16, seeds=1 if paper else 4)
    return Recipe(
        name="best-rq",
        size=size,
        reference=REFERENCE,
        deviations=_ALWAYS if paper else (*_ALWAYS, *_TINY),
        kept=(
            "80 log-mel bins, each standardised over the utterance; four frames side by side are given one code",
            "a projection to 16 dimensions drawn as Xavier's, codes from N(0, 1), both of length 1, never trained",
            "each frame starts a hidden span of 400 ms with probability 0.01; hidden frames become N(0, 0.1) noise",
            "cross-entropy on hidden tokens only, by one linear layer; a Conformer behind fourfold subsampling",
        ),
        unknown=(
            "which projection was drawn: seed 0 here; on real audio the seed alone changes how many codes are used by "
            "a factor of up to three",
            "crops of 16 s (paper), and weight decay 0.01",
            "the optimiser of the original: AdamW, 8e-4, warm-up 25,000 steps, then falling with the root of the step",
        ),
        cost="A step encodes each clip once, all frames of it; targets cost a matrix product. There is no second "
        "network, no decoder and no stage before. The output layer has a row for each code.",
        choose="For speech first, and whenever the simplest discrete target is wanted: nothing to fit, nothing to go "
        "stale, nothing to collapse. Compare codes/code_accuracy with codes/majority: silence has a code of its own, "
        "and a codes/perplexity below 100 means that the input's normalisation does not fit the corpus.",
        measure_statistics=False,
        frontend=preset("asr80"),
        augment=PlainViewsConfig(),
        encoder=ConformerConfig.size("xl" if paper else "tiny"),
        objective=MaskedPredictionConfig(
            mask=None,
            hide="none",
            corruption=NoiseFillConfig(start=0.01, length=40, std=0.1),
            decoder=NoDecoderConfig(),
            terms=(CodeConfig(codes),),
        ),
        window=WindowConfig(seconds=16.0, short="pad") if paper else small_scale.window(2.56),
        loader=LoaderConfig(batch_seconds=7200.0) if paper else small_scale.loader(32),
        train=TrainConfig(
            steps=300_000, warmup_steps=25_000, lr=8e-4, schedule="inverse_sqrt", betas=(0.9, 0.98), eps=1e-9,
            weight_decay=0.01, precision="bf16", save_every=5000,
        ) if paper else small_scale.train(3500, 1e-3, betas=(0.9, 0.98), weight_decay=0.01),
    )  # fmt: skip
