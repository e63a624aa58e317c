"""BEST-RQ: predict the codes that a random projection assigns to masked speech (arXiv 2202.01855, ICML 2022)."""

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
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.notes import searched
from auricle.training.train_config import TrainConfig

BEST_RQ = Method(
    name="best-rq",
    paradigm="discrete tokens",
    summary="BEST-RQ: predict the code that a fixed random projection assigns to speech masked by noise.",
    learns="tests/learning/test_learn_best_rq.py",
)
# Of tiny sizes. From the histogram of a clip's 256 codes 64 % of instruments, 38 % of commands and 28 % of sounds
# are known (medley_solos_mini, arabic_commands, esc50_dev20; ridge); 29, 30 and 22 % with bins standardised by clip.
CORPUS_BINS = (
    "80 log-mel bins standardised by the corpus; published: each bin over the utterance, which takes out what all of "
    "a clip has in common, the timbre of an instrument for example"
)
NOTES = Notes(
    method="best-rq",
    reference=Reference(
        title="Self-supervised Learning with Random-projection Quantizer for Speech Recognition",
        authors="Chiu, Qin, Zhang, Yu, Wu",
        arxiv="2202.01855",
        section="3, 4.1; optimiser and batch as re-implemented in SpeechBrain",
    ),
    faithful=(
        "80 log-mel bins, each standardised over the utterance; four frames side by side share one code",
        "a projection to 16 dimensions drawn as Xavier's, codes from N(0, 1), both of length 1, never trained",
        "each frame starts a masked span of 400 ms with probability 0.01; masked frames become N(0, 0.1) noise",
        "cross-entropy on masked tokens only, by one linear layer; a Conformer behind fourfold subsampling",
        "gradients clipped at a norm of 10, as re-implemented (paper)",
    ),
    deviations=(
        "a clip that draws no span to mask gets one (one clip in 20,000 at the published lengths)",
        "a token counts as masked where at least half of its four frames are; re-implementation in NeMo: 0.8 of them; "
        "the paper does not say",
        "the convolutions that subsample are padded, so that token t stands for frames 4t ... 4t + 3, as its code does",
    ),
    not_specified=searched(
        "paper, re-implementation in SpeechBrain",
        "which projection was drawn: seed 0 here; on real audio the seed alone changes the number of codes in use by a "
        "factor of up to three",
        "crops of 16 s (paper), and weight decay 0.01",
        "the optimiser of the original: AdamW, 8e-4, warm-up 25,000 steps, then falling with the root of the step",
    ),
    cost="A step encodes each clip once, all frames of it; targets cost a matrix product. There is no second network, "
    "no decoder and no previous stage. The output layer has a row for each code.",
    when_to_use="For speech first, and whenever the simplest discrete target is wanted: nothing to fit, nothing to go "
    "stale, nothing to collapse. Compare codes/code_accuracy with codes/majority: silence has a code of its own, and a "
    "codes/perplexity near 1 means that the input's normalisation does not fit the corpus.",
)


@BEST_RQ.size("paper")
def best_rq_paper() -> Recipe:
    """A Conformer of 0.6 B parameters, 8192 codes, 300,000 steps."""
    return Recipe(
        name="best-rq",
        size="paper",
        notes=NOTES,
        measure_statistics=False,
        frontend=preset("asr80"),
        augment=PlainViewsConfig(),
        encoder=ConformerConfig.size("xl"),
        objective=MaskedPredictionConfig(
            mask=None,
            hide="none",
            corruption=NoiseFillConfig(start=0.01, length=40, std=0.1),
            decoder=NoDecoderConfig(),
            terms=(CodeConfig(RandomProjectionTargetConfig(codes=8192, dim=16, seeds=1)),),
        ),
        window=WindowConfig(seconds=16.0, short="pad"),
        loader=LoaderConfig(batch_seconds=7200.0),
        train=TrainConfig(
            steps=300_000, warmup_steps=25_000, lr=8e-4, schedule="inverse_sqrt", betas=(0.9, 0.98), eps=1e-9,
            weight_decay=0.01, clip_norm=10.0, precision="bf16", save_every=5000,
        ),
    )  # fmt: skip


@BEST_RQ.size("tiny")
def best_rq_tiny() -> Recipe:
    """Small scale: 4 blocks of width 144, 256 codes, 3500 steps."""
    paper = best_rq_paper()
    return paper.replace(
        size="tiny",
        notes=NOTES.with_deviations(
            *small_scale.LAYERS_DEVIATIONS,
            "encoder: a Conformer of 4 blocks of width 144; published: 24 of width 1024 (0.6 B parameters)",
            CORPUS_BINS,
            "256 codes of these bins as they are, of 4 projections the one whose codes are used most evenly; "
            "published: 8192, one projection",
            "windows of 2.56 s in batches of 32; published: whole utterances, about two hours in a batch",
            "gradients are not clipped; re-implementation: at a norm of 10",
        ),
        measure_statistics=True,
        frontend=preset("asr80_corpus"),
        features=small_scale.FEATURES,
        encoder=ConformerConfig.size("tiny"),
        objective=paper.objective.replace(
            terms=(CodeConfig(RandomProjectionTargetConfig(codes=256, dim=16, seeds=4, norm="none")),)
        ),
        window=small_scale.window(2.56),
        loader=small_scale.loader(32),
        train=small_scale.train(3500, 1e-3, betas=(0.9, 0.98), weight_decay=0.01),
    )
