"""AudioMosaic: contrastive learning of two views that lose time and frequency patches (arXiv 2605.14231, ICML 2026)."""

from __future__ import annotations

from auricle.audio.augment.config import AugmentConfig
from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.objectives.contrastive.pair_losses import NTXentConfig
from auricle.objectives.contrastive.projectors import ProjectorConfig
from auricle.objectives.contrastive.two_views import ContrastiveConfig
from auricle.objectives.masks.structured import MaskConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.notes import searched
from auricle.training.train_config import TrainConfig

AUDIOMOSAIC = Method(
    name="audiomosaic",
    paradigm="contrastive",
    summary="AudioMosaic: contrast two views of a clip by NT-Xent; one loses time patches, one frequency patches.",
    learns="tests/recipes/test_learning.py",
)
NOTES = Notes(
    method="audiomosaic",
    reference=Reference(
        title="AudioMosaic",
        arxiv="2605.14231",
        section="3 (method), 4 (set-up), and the released code and its configuration",
    ),
    faithful=(
        "the first view loses time columns (0.6), the second mel bands (0.4); only the remaining patches enter the "
        "blocks",
        "NT-Xent at temperature 0.1 over the clips of all processes; projector of two layers with BatchNorm, 128 out",
        "the published chain of augmentations before the masks",
    ),
    deviations=(
        "mask grid: `true` drops time columns and mel bands, as the paper describes; the released code acts on the "
        "transposed grid (objective.mask.grid and encoder.position_init_grid released)",
        "augmentation: the spectral implementation of the chain, one short-time transform per clip for both views "
        "(augment.method waveform is the published one)",
        "loader: clips under 0.05 s and digitally silent ones are replaced by others (loader.shortest, "
        "loader.skip_silent)",
        "NT-Xent and the projector compute in float32; the released code's similarities carry bfloat16 rounding",
    ),
    not_specified=searched(
        "paper, released code and its configuration",
        "number of devices: 12, inferred from the batch; the run depends on nothing else that is open",
    ),
    cost="two passes of a transformer per step over half of the patches on average: about as much as one pass over "
    "all; gradient caching makes large batches cheap in memory",
    when_to_use="clips of several seconds and much unlabelled audio of any kind: masks alone demand global and local "
    "structure; the larger the batch the better",
)

# Steps per epoch of AudioSet (about 1.91 M clips) at a batch of 6144.
_EPOCH = 311


@AUDIOMOSAIC.size("paper")
def audiomosaic_paper() -> Recipe:
    """ViT-B on 10.24 s, batch 6144, 400 epochs of AudioSet."""
    return Recipe(
        name="audiomosaic",
        size="paper",
        notes=NOTES.with_deviations(
            "memory: gradient caching in micro-batches of 512 on any number of devices, with the gradient of the full "
            "batch; published: 512 clips on each of 12 devices (inferred), activation checkpointing in 8 of 12 blocks",
            "padding is masked; in the released code it takes part like any other patch",
            "non-finite steps are skipped by loss and gradient; published: by loss; no gradient scaler, which bfloat16 "
            "does not need",
        ),
        measure_statistics=False,
        window=WindowConfig(seconds=10.24, short="pad", crop="start"),
        loader=LoaderConfig(batch=6144, workers=-1),
        frontend=KaldiFbankConfig(),
        augment=AugmentConfig(),
        encoder=SpectrogramTransformerConfig.size("base", frames=1024),
        objective=ContrastiveConfig(
            loss=NTXentConfig(temperature=0.1),
            projector=ProjectorConfig(hidden=(512,), out=128),
            mask=MaskConfig(time=0.6, freq=0.4),
        ),
        train=TrainConfig(
            steps=400 * _EPOCH,
            warmup_steps=_EPOCH,
            lr=6e-4,
            min_lr=1e-6,
            weight_decay=0.05,
            micro_batch=512,
            precision="bf16",
            log_every=20,
            save_every=5 * _EPOCH,
            seed=42,
        ),
    )


@AUDIOMOSAIC.size("tiny")
def audiomosaic_tiny() -> Recipe:
    """Batch 64 for 1500 steps."""
    return _small_scale("tiny", steps=1500, batch=64, micro_batch=None)


@AUDIOMOSAIC.size("small")
def audiomosaic_small() -> Recipe:
    """Batch 128 for 4000 steps."""
    return _small_scale("small", steps=4000, batch=128, micro_batch=64)


@AUDIOMOSAIC.size("base")
def audiomosaic_base() -> Recipe:
    """Batch 256 for 12,000 steps."""
    return _small_scale("base", steps=12_000, batch=256, micro_batch=32)


def _small_scale(size: str, steps: int, batch: int, micro_batch: int | None) -> Recipe:
    return audiomosaic_paper().replace(
        size=size,
        notes=NOTES.with_deviations(
            f"encoder: {size} on 2.56-s windows, no drop path; published: ViT-B on 10.24 s, drop path 0.1",
            f"batch {batch} for {steps} steps; published: 6144 for about 124 400",
            "short clips are repeated to fill the window, long ones are cropped at random, and clips are drawn in "
            "proportion to their length; published: padded with zeros, cut from the start, each once an epoch",
            "the steps of the augmentation chain come less often, and noise from 15 dB on (AugmentConfig.mild)",
            "normalisation by the corpus's own mean and standard deviation; published: AudioSet's",
            "warm-up of 50 steps; published: one epoch",
        ),
        measure_statistics=True,
        window=small_scale.window(2.56),
        loader=small_scale.loader(batch),
        augment=AugmentConfig.mild(),
        encoder=SpectrogramTransformerConfig.size(size, frames=256, drop_path=0.0),
        train=small_scale.train(
            steps, 6e-4, warmup_steps=50, min_lr=1e-6, weight_decay=0.05, micro_batch=micro_batch, seed=42
        ),
    )
