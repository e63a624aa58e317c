"""How a probe is trained and its setting chosen."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from auricle.config import Config
from auricle.errors import ConfigError
from auricle.probes.contract import ProbeConfig


@dataclass(frozen=True)
class SearchConfig(Config):
    """How a probe is trained and its setting chosen. Defaults follow arXiv 2509.24901 where a deviation isn't stated.

    The default method is a grid that trains in one pass; `SearchConfig.study()` is the search of that paper.

    Attributes:
        epochs: passes over the training clips.
        batch: clips a step, at most.
        min_batches: steps an epoch, at least. The smallest data set of the paper (ESC-50, 1,600 clips) makes 12
            steps an epoch; smaller ones get smaller batches, down to 8 clips, so that every probe gets the number of
            updates that its learning rates were made for. 1 switches this off.
        lr: learning rates; None: `lr_count` of them, log-spaced over the probe's published range. `tpe` searches
            between the smallest and the largest.
        lr_count: how many of them.
        weight_decay: weight decays; the default are both ends of the published range. `tpe` searches between them.
        halving: successive halving. `(fraction of epochs, share of settings kept)`: at that point only the settings
            with the best validation scores so far go on. The paper prunes its 50 trials alike. Empty: none.
        metric: what chooses, on the validation clips: `accuracy`, `balanced_accuracy`, `macro_f1` (one label a clip),
            `map`, `auc` (any labels), `r2`, `mae`, `rmse` (numbers); None: accuracy for one label a clip, `map` for
            several, `r2` for numbers.
        best_epoch: each setting stands for its best epoch on the validation clips (ties: lower validation loss);
            False: for its last.
        memory_mb: held inputs take at most this; larger token sets are streamed.
        method: `grid`: all learning rates x decays at once; `tpe`: `startup` Sobol points, then proposals of a
            tree-structured Parzen estimator (needs the extra `search`).
        trials: settings that `tpe` tries.
        startup: how many of them are Sobol points.
        sobol_batch: Sobol points trained in one pass, at most; memory grows with it.
        tpe_batch: proposals trained in one pass; fewer learn more from each other, more take less time.
        top_k: the best so many settings are trained again with other seeds, and the best mean validation score wins;
            1: the best of the search wins. The paper does not give its k; `study()` takes 3.
        reruns: seeds of that comparison, the search's own included.
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
    memory_mb: float = 1024.0
    method: Literal["grid", "tpe"] = "grid"
    trials: int = 50
    startup: int = 25
    sobol_batch: int = 25
    tpe_batch: int = 5
    top_k: int = 1
    reruns: int = 5

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: a number is out of range.
        """
        if min(self.epochs, self.batch, self.min_batches, self.lr_count) < 1 or not self.weight_decay:
            raise ConfigError("epochs, batch, min_batches, lr_count and the weight decays must be at least one each")
        if self.lr is not None and not self.lr:
            raise ConfigError("lr is empty; give learning rates, or none for the probe's own range")
        if any(not 0 < at < 1 or not 0 < share <= 1 for at, share in self.halving):
            raise ConfigError(f"halving is {self.halving}; expected pairs of (0 < fraction < 1, 0 < share <= 1)")
        if self.method not in ("grid", "tpe"):
            raise ConfigError(f"unknown search method {self.method!r}; expected 'grid' or 'tpe'")
        if min(self.trials, self.startup, self.sobol_batch, self.tpe_batch, self.top_k, self.reruns) < 1:
            raise ConfigError("trials, startup, sobol_batch, tpe_batch, top_k and reruns must be at least one each")

    @classmethod
    def study(cls, **changes: Any) -> SearchConfig:
        """Return the search of arXiv 2509.24901: 25 Sobol points, 25 of TPE, pruned, the 3 best over 5 seeds."""
        return cls(**{"method": "tpe", "top_k": 3, **changes})

    @property
    def searches(self) -> bool:
        """Whether there is more than one setting to choose from."""
        return self.lr is None or len(self.lr) * len(self.weight_decay) > 1

    def grid(self, probe: ProbeConfig) -> list[tuple[float, float]]:
        """Return all (learning rate, weight decay) pairs for a probe."""
        return list(itertools.product(self._rates(probe), self.weight_decay))

    def ranges(self, probe: ProbeConfig) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the ends of the learning rates and of the weight decays that are searched for a probe."""
        rates = self._rates(probe)
        return (min(rates), max(rates)), (min(self.weight_decay), max(self.weight_decay))

    def describe(self, probe: ProbeConfig) -> dict[str, Any]:
        """Return what a record says of the search: the values of a grid, or the ranges and trials of `tpe`."""
        if self.method == "tpe" and self.searches:
            lr, decay = self.ranges(probe)
            return {"lr_range": list(lr), "weight_decay_range": list(decay), "trials": self.trials}
        rates, decays = zip(*self.grid(probe), strict=True)
        return {"lr": sorted(set(rates)), "weight_decay": sorted(set(decays))}

    def batch_size(self, clips: int) -> int:
        """Return the clips a step for a training set of that many clips."""
        return min(self.batch, max(8, clips // self.min_batches))

    def _rates(self, probe: ProbeConfig) -> tuple[float, ...]:
        low, high = probe.lr_range
        return self.lr or tuple(float(x) for x in np.geomspace(low, high, self.lr_count))
