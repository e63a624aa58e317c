"""SSAM (Audio Mamba): masked patch reconstruction inside a one-directional state space encoder (arXiv 2406.02178)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.views import PlainViewsConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.state_space import StateSpaceConfig
from auricle.objectives.masks.samplers import RandomMask
from auricle.objectives.predictive.decoder import NoDecoderConfig
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.objectives.predictive.terms import RegressionConfig
from auricle.objectives.targets.inputs import PatchTargetConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.notes import searched
from auricle.training.train_config import TrainConfig

SSAM = Method(
    name="ssam",
    paradigm="reconstruction",
    summary="SSAM: mask half of the patches of two seconds; a one-directional state space encoder reconstructs them.",
)
NOTES = Notes(
    method="ssam",
    reference=Reference(
        title="Audio Mamba: Selective State Spaces for Self-Supervised Audio Representations",
        authors="Sarthak Yadav, Zheng-Hua Tan",
        arxiv="2406.02178",
        section="3, 4, and numbers of the released code",
    ),
    faithful=(
        "patches of 4 frames x 16 bins, half of them masked at random by a learned vector inside the encoder (the "
        "configuration's 0.8 is overridden)",
        "squared error of raw masked patches, by one linear layer; each clip normalised by its own mean and deviation",
    ),
    deviations=(
        "no class token: published as the first of the sequence, where a recurrence has no input to summarise",
        "windows of 1.99 s: 200 frames that are centred on multiples of the hop",
    ),
    not_specified=searched(
        "paper, released code",
        "whether the learning rate is for a batch or for 256 clips: for the batch; betas 0.9, 0.95 (chosen)",
        "the epoch is counted as 2 million clips (chosen)",
    ),
    cost="linear in the number of patches; on a CPU the recurrence is slow: several times a transformer's step",
    when_to_use="streaming: tokens depend on past ones only, and the cost of a token does not grow with the past",
)

# Steps of an epoch of AudioSet (2 M clips) at a batch of 1024.
_EPOCH = 1953


@SSAM.size("paper")
def ssam_paper() -> Recipe:
    """12 blocks of width 768, 100 epochs of AudioSet."""
    return Recipe(
        name="ssam",
        size="paper",
        notes=NOTES,
        measure_statistics=False,
        frontend=preset("ssam80"),
        augment=PlainViewsConfig(),
        encoder=StateSpaceConfig.size("base"),
        objective=MaskedPredictionConfig(
            mask=RandomMask(ratio=0.5),
            hide="token",
            decoder=NoDecoderConfig(),
            terms=(RegressionConfig(PatchTargetConfig(norm="none"), measure="l2", name="patch_mse"),),
        ),
        window=WindowConfig(seconds=1.99),
        loader=LoaderConfig(batch=1024, workers=-1),
        train=TrainConfig(
            steps=100 * _EPOCH, warmup_steps=10 * _EPOCH, lr=1.5e-4, betas=(0.9, 0.95), save_every=_EPOCH
        ),
    )


@SSAM.size("tiny")
def ssam_tiny() -> Recipe:
    """Small scale: 6 blocks of width 128, 700 steps."""
    return ssam_paper().replace(
        size="tiny",
        notes=NOTES.with_deviations(
            "encoder of 6 blocks of width 128 with 16 states; published: 12 of up to 768 with 24",
            "batch 16 for 700 steps at 1e-3; published: batch 1024 for 100 epochs of AudioSet",
            *small_scale.DEVIATIONS,
        ),
        encoder=StateSpaceConfig(width=128, depth=6, states=16, expand=2),
        loader=small_scale.loader(16),
        train=small_scale.train(700, 1e-3, betas=(0.9, 0.95)),
    )
