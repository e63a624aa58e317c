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
from auricle.recipes import small_scale
from auricle.recipes.recipe import Recipe, Reference, recipe
from auricle.training.train_config import TrainConfig

# Steps of an epoch of AudioSet (2 M clips) at a batch of 1024.
_EPOCH = 1953


@recipe("ssam", sizes=("tiny", "paper"), paradigm="reconstruction")
def ssam(size: str = "tiny") -> Recipe:
    """SSAM: half of the patches of two seconds are hidden, and a one-directional state space encoder reconstructs them.

    Args:
        size: `paper` has the published constants; `tiny` is for hours of audio and two cores.
    """
    paper = size == "paper"
    return Recipe(
        name="ssam",
        size=size,
        reference=Reference(
            title="Audio Mamba: Selective State Spaces for Self-Supervised Audio Representations",
            authors="Sarthak Yadav, Zheng-Hua Tan",
            arxiv="2406.02178",
            section="3, 4, and numbers of the released code",
        ),
        deviations=(
            "no class token: published as the first of the sequence, where a recurrence has nothing to tell it",
            "windows of 1.99 s: 200 frames that are centred on multiples of the hop",
            *(
                ()
                if paper
                else (
                    "encoder of 6 blocks of width 128 with 16 states; published: 12 of up to 768 with 24",
                    "batch 16 for 700 steps at 1e-3; published: batch 1024 for 100 epochs of AudioSet",
                    *small_scale.DEVIATIONS,
                )
            ),
        ),
        kept=(
            "patches of 4 frames x 16 bins, half of them hidden at random by a learned vector inside the encoder (the "
            "configuration's 0.8 is overridden)",
            "squared error of raw hidden patches, by one linear layer; each clip normalised by its own mean and "
            "deviation",
        ),
        unknown=(
            "whether the learning rate is for a batch or for 256 clips: for the batch; betas 0.9, 0.95 (chosen)",
            "the epoch is counted as 2 million clips (chosen)",
        ),
        cost="linear in the number of patches; on a CPU the recurrence is slow: several times a transformer's step",
        choose="streaming: tokens depend on earlier ones only, and cost does not grow with what was heard",
        measure_statistics=False,
        frontend=preset("ssam80"),
        augment=PlainViewsConfig(),
        encoder=StateSpaceConfig.size("base") if paper else StateSpaceConfig(width=128, depth=6, states=16, expand=2),
        objective=MaskedPredictionConfig(
            mask=RandomMask(ratio=0.5),
            hide="token",
            decoder=NoDecoderConfig(),
            terms=(RegressionConfig(PatchTargetConfig(norm="none"), measure="l2", name="patch_mse"),),
        ),
        window=WindowConfig(seconds=1.99),
        loader=LoaderConfig(batch=1024, workers=-1) if paper else small_scale.loader(16),
        train=TrainConfig(steps=100 * _EPOCH, warmup_steps=10 * _EPOCH, lr=1.5e-4, betas=(0.9, 0.95), save_every=_EPOCH)
        if paper
        else small_scale.train(700, 1e-3, betas=(0.9, 0.95)),
    )
