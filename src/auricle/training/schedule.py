"""Learning rate over the steps of a run."""

from __future__ import annotations

import math

from auricle.training.train_config import TrainConfig


def learning_rate(step: int, config: TrainConfig) -> float:
    """Return the learning rate of a step (counted from 0): linear warm-up from 0 to `lr`, then what `schedule` says.

    `cosine` and `linear` go down to `min_lr` at the last step, `steps - 1`; `constant` stays at `lr`; `inverse_sqrt` is
    `lr * sqrt(warmup_steps / step)`, but at least `min_lr` (Noam's). All are pure functions of the step, so that a
    resumed run needs no scheduler state. The cosine is AudioMosaic's released schedule (arXiv 2605.14231).
    """
    if step < config.warmup_steps:
        return config.lr * step / config.warmup_steps
    span = config.steps - 1 - config.warmup_steps
    progress = min(1.0, (step - config.warmup_steps) / span) if span > 0 else 1.0
    if span <= 0:
        # A run that ends with its warm-up has no room for a cosine.
        return config.lr
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "inverse_sqrt":
        return max(config.min_lr, config.lr * math.sqrt(max(1, config.warmup_steps) / max(1, step)))
    share = 1.0 - progress if config.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))
    return config.min_lr + (config.lr - config.min_lr) * share
