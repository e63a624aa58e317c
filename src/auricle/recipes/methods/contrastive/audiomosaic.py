"""AudioMosaic: contrastive learning of two views that lose time and frequency patches (arXiv 2605.14231, ICML 2026)."""

from __future__ import annotations

from typing import Any

from auricle.audio.augment.config import AugmentConfig
from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.objectives.contrastive.pair_losses import NTXentConfig
from auricle.objectives.contrastive.projectors import ProjectorConfig
from auricle.objectives.contrastive.two_views import ContrastiveConfig
from auricle.objectives.masks.structured import MaskConfig
from auricle.recipes.recipe import Recipe, Reference, recipe
from auricle.training.train_config import TrainConfig

REFERENCE = Reference(
    title="AudioMosaic",
    arxiv="2605.14231",
    section="3 (method), 4 (set-up), and the released code and its shipped configuration",
)

# Where the paper and its released code differ, or where this implementation does in every size.
_ALWAYS = (
    "mask grid: `true` drops time columns and mel bands, as the paper describes; the released code acts on the "
    "transposed grid (objective.mask.grid and encoder.position_init_grid released)",
    "augmentation: the spectral implementation of the chain, one short-time transform per clip for both views "
    "(augment.method waveform is the published one)",
    "loader: clips under 0.05 s and digitally silent ones are replaced by others (loader.shortest, loader.skip_silent)",
    "NT-Xent and the projector compute in float32; the released code's similarities carry bfloat16 rounding",
)

_SAID: dict[str, Any] = {
    "kept": (
        "the first view loses time columns (0.6), the second mel bands (0.4); only what is left enters the blocks",
        "NT-Xent at temperature 0.1 over the clips of all processes; projector of two layers with BatchNorm, 128 out",
        "the published chain of augmentations before the masks",
    ),
    "unknown": ("number of devices, inferred from the batch: 12; nothing else that the run depends on",),
    "cost": "two passes of a transformer a step over half of the patches on average: about as much as one over all; "
    "large batches are cheap in memory through gradient caching",
    "choose": "clips of several seconds with much unlabelled audio: global and local structure from masking alone, "
    "with any corpus; the larger the batch the better",
}  # fmt: skip

_OBJECTIVE = ContrastiveConfig(
    loss=NTXentConfig(temperature=0.1),
    projector=ProjectorConfig(hidden=(512,), out=128),
    mask=MaskConfig(time=0.6, freq=0.4),
)

# Steps per epoch of AudioSet (about 1.91 M clips) at a batch of 6144, over 400 epochs.
_EPOCH_STEPS, _EPOCHS = 311, 400


@recipe("audiomosaic", sizes=("tiny", "small", "base", "paper"), paradigm="contrastive")
def audiomosaic(size: str = "tiny") -> Recipe:
    """AudioMosaic: two views of a clip, one without time patches, one without frequency patches, contrasted by NT-Xent.

    Args:
        size: `paper` has the published constants (ViT-B, 10.24 s, batch 6144, AudioSet's statistics); `tiny`, `small`
            and `base` are for a corpus of hours and a few cores, with every deviation listed.
    """
    return _paper() if size == "paper" else _few_cores(size)


def _paper() -> Recipe:
    return Recipe(
        name="audiomosaic",
        size="paper",
        reference=REFERENCE,
        **_SAID,
        deviations=(
            *_ALWAYS,
            "memory: gradient caching in micro-batches of 512 on any number of devices, with the gradient of the full "
            "batch; published: 512 clips on each of 12 devices (inferred), activation checkpointing in 8 of 12 blocks",
            "non-finite steps are skipped by loss and gradient; published: by loss; no gradient scaler, which bfloat16 "
            "does not need",
        ),
        measure_statistics=False,
        window=WindowConfig(seconds=10.24, short="pad", crop="start"),
        loader=LoaderConfig(batch=6144, workers=-1),
        frontend=KaldiFbankConfig(),
        augment=AugmentConfig(),
        encoder=SpectrogramTransformerConfig.size("base", frames=1024),
        objective=_OBJECTIVE,
        train=TrainConfig(
            steps=_EPOCH_STEPS * _EPOCHS,
            warmup_steps=_EPOCH_STEPS,
            lr=6e-4,
            min_lr=1e-6,
            weight_decay=0.05,
            micro_batch=512,
            precision="bf16",
            log_every=20,
            save_every=_EPOCH_STEPS * 5,
            seed=42,
        ),
    )


# Steps, clips in a batch, and clips in memory at once.
_BUDGET = {"tiny": (1500, 64, None), "small": (4000, 128, 64), "base": (12000, 256, 32)}


def _few_cores(size: str) -> Recipe:
    steps, batch, micro_batch = _BUDGET[size]
    return Recipe(
        name="audiomosaic",
        size=size,
        reference=REFERENCE,
        **_SAID,
        deviations=(
            *_ALWAYS,
            f"encoder: {size} on 2.56-s windows, no drop path; published: ViT-B on 10.24 s, drop path 0.1",
            f"batch {batch} for {steps} steps; published: 6144 for about 124 400",
            "short clips are repeated to fill the window, long ones cropped at random, and clips come up in proportion "
            "to their length; published: padded with zeros, cut from the start, each once an epoch",
            "the augmentation chain's steps come less often, and noise from 15 dB on (AugmentConfig.mild)",
            "normalisation by the corpus's own mean and standard deviation; published: AudioSet's",
            "warm-up of 50 steps; published: one epoch",
        ),
        window=WindowConfig(seconds=2.56, short="repeat", crop="random"),
        loader=LoaderConfig(batch=batch, workers=-1, sampling="duration"),
        frontend=KaldiFbankConfig(),
        augment=AugmentConfig.mild(),
        encoder=SpectrogramTransformerConfig.size(size, frames=256, drop_path=0.0),
        objective=_OBJECTIVE,
        train=TrainConfig(
            steps=steps,
            warmup_steps=50,
            lr=6e-4,
            min_lr=1e-6,
            weight_decay=0.05,
            micro_batch=micro_batch,
            log_every=10,
            save_every=100,
            seed=42,
        ),
    )
