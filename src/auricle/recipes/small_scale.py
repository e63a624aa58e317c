"""What the tiny and small sizes share: windows, batches and schedules.

`tiny` is for minutes to hours on a few cores; `small` for hours of audio on a laptop's GPU, or a night on eight cores.
A method's small size is one function: `grown(NAME_tiny(), notes, batch=..., steps=..., encoder=...)`, its notes those
of the paper with what deviates in this size. `tests/recipes/test_every_recipe.py` trains some steps of each.
"""

from __future__ import annotations

from typing import Any, Literal

from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.features import LAYERS
from auricle.recipes.notes import Notes
from auricle.recipes.recipe import Recipe
from auricle.training.train_config import TrainConfig

# Of every tiny size; a recipe adds its own.
DEVIATIONS = (
    "short clips are repeated to fill the window, long ones are cropped at random, and clips are drawn in proportion "
    "to their length (window, loader)",
    "features are normalised by the corpus's own mean and standard deviation, where the front end has any",
    "AdamW with decoupled weight decay, whichever optimiser is published",
)
# Of those that read FEATURES.
LAYERS_DEVIATIONS = (
    *DEVIATIONS,
    "mean and deviation of all layers are read instead of the output (features); ridge after a short run, one seed, on "
    "Arabic commands and Medley solos: BEST-RQ 86.6 and 58.8 (output: 76.7 and 46.2), CPC 43.0 and 31.2 (30.0 and "
    "25.0), APC 82.6 and 62.5 (84.7 and 62.5); not measured for other methods",
)

# What is read of small encoders of samples and of single frames, whose last layer mostly serves the objective.
# Encoders of patches keep their output: all layers of audio-mae score higher (Arabic commands, ridge: 64.4 instead of
# 53.2), but so do those of its random weights (62.9 instead of 49.4), and no other method of patches was measured.
FEATURES = LAYERS


def window(seconds: float = 2.56) -> WindowConfig:
    """Return windows of one length, short clips repeated."""
    return WindowConfig(seconds=seconds, short="repeat", crop="random")


def loader(batch: int = 32) -> LoaderConfig:
    """Return batches in which clips come up in proportion to their length."""
    return LoaderConfig(batch=batch, workers=-1, sampling="duration")


def train(
    steps: int = 1500,
    lr: float = 5e-4,
    *,
    schedule: Literal["cosine", "linear", "constant", "inverse_sqrt"] = "cosine",
    **changes: Any,
) -> TrainConfig:
    """Return a short schedule: 50 steps of warm-up, a checkpoint every 100 steps."""
    settings: dict[str, Any] = {
        "steps": steps, "lr": lr, "schedule": schedule, "warmup_steps": min(50, steps // 10), "log_every": 10,
        "save_every": 100,
    }  # fmt: skip
    return TrainConfig(**(settings | changes))


def grown(
    tiny: Recipe, notes: Notes, *, batch: int, steps: int, micro_batch: int | None = None, **parts: Any
) -> Recipe:
    """Return the small size of a method: its tiny recipe with a longer schedule, larger batches and larger parts.

    Args:
        tiny: recipe of the tiny size.
        notes: of the small size.
        batch: clips of a step.
        steps: of training, a twentieth of them warm-up.
        micro_batch: clips in memory at once; None: all.
        parts: parts of the recipe that differ, by field.
    """
    train = tiny.train.replace(steps=steps, warmup_steps=steps // 20, micro_batch=micro_batch, save_every=500)
    loader = tiny.loader.replace(batch=batch)
    return tiny.replace(**({"size": "small", "notes": notes, "loader": loader, "train": train} | parts))
