"""Learning rate over the steps of a run."""

from __future__ import annotations

import math

from auricle.training.train_config import TrainConfig


def learning_rate(step: int, config: TrainConfig) -> float:
    """Return the learning rate of a step (counted from 0): linear warm-up from 0, then a cosine to `min_lr`.

    It is 0 at step 0, `lr` at step `warmup_steps` and `min_lr` at the last step, `steps - 1`: a pure function of the
    step, so that a resumed run needs no scheduler state (AudioMosaic's released schedule, arXiv 2605.14231).
    """
    if step < config.warmup_steps:
        return config.lr * step / config.warmup_steps
    span = config.steps - 1 - config.warmup_steps
    progress = min(1.0, (step - config.warmup_steps) / span) if span > 0 else 1.0
    if span <= 0:
        # A run that ends with its warm-up has no room for a cosine.
        return config.lr
    return config.min_lr + (config.lr - config.min_lr) * 0.5 * (1.0 + math.cos(math.pi * progress))
