"""How a probe is trained and its setting chosen."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from auricle.config import Config
from auricle.errors import ConfigError
from auricle.probes.contract import ProbeConfig


@dataclass(frozen=True)
class SearchConfig(Config):
    """How a probe is trained and its setting chosen. Defaults follow arXiv 2509.24901 where a deviation isn't stated.

    Attributes:
        epochs: passes over the training clips.
        batch: clips a step, at most.
        min_batches: steps an epoch, at least. The smallest data set of the paper (ESC-50, 1,600 clips) makes 12
            steps an epoch; smaller ones get smaller batches, down to 8 clips, so that every probe gets the number of
            updates that its learning rates were made for. 1 switches this off.
        lr: learning rates; None: `lr_count` of them, log-spaced over the probe's published range.
        lr_count: how many of them.
        weight_decay: weight decays; the default are both ends of the published range.
        halving: successive halving. `(fraction of epochs, share of settings kept)`: at that point only the settings
            with the best validation scores so far go on. The paper prunes its 50 trials alike. Empty: none.
        metric: `accuracy` or `map` on the validation clips; None: accuracy for one label a clip, else `map`.
        best_epoch: each setting stands for its best epoch on the validation clips (ties: lower validation loss);
            False: for its last.
        memory_mb: held inputs take at most this; larger token sets are streamed.
    """

    epochs: int = 30
    batch: int = 128
    min_batches: int = 12
    lr: tuple[float, ...] | None = None
    lr_count: int = 6
    weight_decay: tuple[float, ...] = (1e-5, 5e-4)
    halving: tuple[tuple[float, float], ...] = ((0.2, 0.5), (0.4, 0.25))
    metric: str | None = None
    best_epoch: bool = True
    memory_mb: float = 2048.0

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: a number is out of range.
        """
        if min(self.epochs, self.batch, self.min_batches, self.lr_count) < 1 or not self.weight_decay:
            raise ConfigError("epochs, batch, min_batches, lr_count and the weight decays must be at least one each")
        if any(not 0 < at < 1 or not 0 < share <= 1 for at, share in self.halving):
            raise ConfigError(f"halving is {self.halving}; expected pairs of (0 < fraction < 1, 0 < share <= 1)")

    def grid(self, probe: ProbeConfig) -> list[tuple[float, float]]:
        """Return all (learning rate, weight decay) pairs for a probe."""
        low, high = probe.lr_range
        rates = self.lr or tuple(float(x) for x in np.geomspace(low, high, self.lr_count))
        return list(itertools.product(rates, self.weight_decay))

    def batch_size(self, clips: int) -> int:
        """Return the clips a step for a training set of that many clips."""
        return min(self.batch, max(8, clips // self.min_batches))
