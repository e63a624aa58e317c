"""SSAST: joint discriminative and generative masked patch modelling (arXiv 2110.09784, AAAI 2022)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.views import PlainViewsConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.spectrogram_layouts import layout
from auricle.objectives.contrastive.patch_contrast import Alike, PatchContrastConfig
from auricle.objectives.masks.blocks import ClusterMask
from auricle.objectives.predictive.decoder import NoDecoderConfig
from auricle.objectives.predictive.heads import MlpHeadConfig
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.objectives.predictive.terms import RegressionConfig
from auricle.objectives.targets.inputs import PatchTargetConfig
from auricle.objectives.targets.target import TermConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.notes import PADDED, searched
from auricle.training.train_config import TrainConfig

SSAST = Method(
    name="ssast",
    paradigm="reconstruction",
    summary="SSAST: discriminate masked patches from the clip's other masked patches, and reconstruct them.",
    learns="tests/learning/test_learn_ssast.py",
)
# Of methods with SSAST's squares and SSAST's terms at a small scale.
SQUARES = "squares that pass the end of a row go on in the next band, as in the released code"
ALIKE = "candidates that are all but identical to the true patch (silence) are excluded; published: kept"
ONE_MASK = "one mask, and one pass, for both terms; released code: one for each"
NOTES = Notes(
    method="ssast",
    reference=Reference(
        title="SSAST: Self-Supervised Audio Spectrogram Transformer",
        authors="Yuan Gong, Cheng-I Jeff Lai, Yu-An Chung, James Glass",
        arxiv="2110.09784",
        section="2.3 (equations 1 and 2), 3.1, and numbers of the released code",
    ),
    faithful=(
        "400 of 512 patches (78 %) masked in squares of 3 to 5 patches a side, by a learned vector in the encoder",
        "InfoNCE over the masked patches of the same clip, raw dot products, normalised over the predictions (the "
        "released code; `over='patches'` is the paper's formula)",
        "10 times the squared error of the raw patches; heads of two layers (ReLU); two class tokens",
        "first weights of patch projection and heads: PyTorch's; of the mask vector: Xavier-normal",
        "Adam's averages of 0.95 and 0.999, 1000 steps of warm-up (paper size; the released code's)",
    ),
    deviations=(f"{SQUARES}; the excess of the last square is dropped at random, there from the highest bands",),
    not_specified=searched(
        "paper, released code",
        "the ten epochs are counted as 2.28 million clips of AudioSet and LibriSpeech together (chosen)",
    ),
    cost="all patches in the encoder, twice where each term has its own mask: several times a masked autoencoder's",
    when_to_use="speech and sounds in one encoder; no decoder that is discarded after pre-training",
)


def patch_terms(hidden: int, alike: Alike) -> tuple[TermConfig, ...]:
    """Return the discriminative and the generative term, each with a head of one hidden layer."""
    head = MlpHeadConfig((hidden,), activation="relu", init="fan_in")
    target = PatchTargetConfig(norm="none")
    return (
        PatchContrastConfig(target, head, over="predictions", alike=alike),
        RegressionConfig(target, head, measure="l2", weight=10.0, name="patch_mse"),
    )


@SSAST.size("paper")
def ssast_paper() -> Recipe:
    """Base on 10.24 s, 950,000 steps."""
    return Recipe(
        name="ssast",
        size="paper",
        notes=NOTES.with_deviations(
            "a constant learning rate; published: halved when validation stands still",
            "AdamW with decoupled decay of 5e-7; published: Adam with it in the gradient",
            PADDED,
        ),
        measure_statistics=False,
        frontend=preset("kaldi128"),
        augment=PlainViewsConfig(),
        encoder=layout("ssast", "base", frames=1024),
        objective=MaskedPredictionConfig(
            mask=ClusterMask(ratio=400 / 512, wrap=True),
            hide="token",
            fill_init="xavier_normal",
            separate=True,
            decoder=NoDecoderConfig(),
            terms=patch_terms(768, "negatives"),
        ),
        window=WindowConfig(seconds=10.24, short="pad"),
        loader=LoaderConfig(batch=24, workers=-1),
        train=TrainConfig(
            steps=950_000,
            warmup_steps=1000,
            lr=1e-4,
            schedule="constant",
            betas=(0.95, 0.999),
            weight_decay=5e-7,
            save_every=4000,
        ),
    )


@SSAST.size("tiny")
def ssast_tiny() -> Recipe:
    """Small scale: width 192 on 2.56 s, 1500 steps."""
    paper = ssast_paper()
    return paper.replace(
        size="tiny",
        notes=NOTES.with_deviations(
            ONE_MASK,
            ALIKE,
            "encoder of width 192 on 2.56 s (128 patches); published: up to 768 on 10.24 s (512)",
            "batch 24 for 1500 steps at 5e-4; published: about ten epochs at 1e-4",
            *small_scale.DEVIATIONS,
        ),
        measure_statistics=True,
        encoder=layout("ssast", "tiny", frames=256),
        objective=paper.objective.replace(separate=False, terms=patch_terms(192, "ignored")),
        window=small_scale.window(2.56),
        loader=small_scale.loader(24),
        train=small_scale.train(1500, 5e-4, weight_decay=5e-7),
    )
