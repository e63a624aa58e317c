"""How a probe is trained and its setting chosen."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from auricle.config import Config, Count, InnerShare, NonNegative, Positive, ShareAboveZero
from auricle.errors import ConfigError
from auricle.probes.contract import ProbeConfig
from auricle.probes.search.selection import Metric, selects

# Drawn values (Sobol, TPE) hardly ever fall on the end of their range: this share of it, on a log scale, counts too.
_MARGIN = 0.05


@dataclass(frozen=True)
class SearchConfig(Config):
    """How a probe is trained and its setting chosen. Defaults follow arXiv 2509.24901 unless stated otherwise.

    The default is a grid that trains in one pass; `--published-search` (in Python `SearchConfig.published()`)
    is the search of that paper.

    Attributes:
        epochs: passes over the training clips.
        batch: clips per step, at most.
        min_batches: steps per epoch, at least. The smallest data set of the paper (ESC-50, 1,600 clips) makes 12 steps;
            smaller ones get smaller batches, down to 8 clips, so that the number of updates suits the published
            learning rates. 1 switches this off.
        lr: learning rates; None: `lr_count` of them, log-spaced over the probe's range: the published one, and a wider
            one for linear probes of standardised vectors. `tpe` searches between the smallest and the largest, or over
            the published range.
        lr_count: number of learning rates of the default range.
        weight_decay: weight decays; by default both ends of the published range. `tpe` searches between them.
        halving: successive halving. `(fraction of epochs, share of settings kept)`: at that point only the settings
            with the best validation scores so far continue. The paper prunes its 50 trials alike. Empty: none.
        metric: selects, on the validation clips: `accuracy`, `balanced_accuracy`, `macro_f1` (one label a clip),
            `map`, `auc` (any labels), `r2`, `mae`, `rmse` (numbers); None: the headline metric of the task; without a
            task accuracy for one label a clip, `map` for several, `r2` for numbers.
        best_epoch: keep each setting's best epoch on the validation clips (ties: lower validation loss); False: its
            last.
        memory_mb: megabytes for inputs held in memory; larger token sets are streamed.
        method: `grid`: all learning rates x decays at once; `tpe`: `startup` Sobol points, then proposals of a
            tree-structured Parzen estimator (needs the extra `search`).
        trials: settings that `tpe` tries.
        startup: Sobol points among them.
        sobol_batch: most Sobol points trained in one pass; memory grows with it.
        tpe_batch: proposals trained in one pass; fewer learn more from each other, more take less time.
        top_k: number of best settings to train again with other seeds; the best mean validation score wins. 1: the
            best of the search wins. The paper does not give its k; `published()` takes 3.
        reruns: seeds of that comparison, the search's own included.
    """

    epochs: Count = 30
    batch: Count = 128
    min_batches: Count = 12
    lr: tuple[Positive, ...] | None = None
    lr_count: Count = 6
    weight_decay: tuple[NonNegative, ...] = (1e-5, 5e-4)
    halving: tuple[tuple[InnerShare, ShareAboveZero], ...] = ((0.2, 0.5), (0.4, 0.25))
    metric: Metric | None = None
    best_epoch: bool = True
    memory_mb: NonNegative = 1024.0
    method: Literal["grid", "tpe"] = "grid"
    trials: Count = 50
    startup: Count = 25
    sobol_batch: Count = 25
    tpe_batch: Count = 5
    top_k: Count = 1
    reruns: Count = 5

    def __post_init__(self) -> None:
        if (self.lr is not None and not self.lr) or not self.weight_decay:
            raise ConfigError("lr or weight_decay is empty; expected values, or no lr for the probe's own range")

    @classmethod
    def published(cls, **changes: Any) -> SearchConfig:
        """Return the search of arXiv 2509.24901: 25 Sobol points, 25 of TPE, pruned, the 3 best over 5 seeds."""
        return cls(**{"method": "tpe", "top_k": 3, **changes})

    def by(self, headline: str) -> SearchConfig:
        """Return the search that selects by a task's headline metric, unless it names a metric itself."""
        return self if self.metric else self.replace(metric=selects(headline))

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
        """Return the search as a record states it: the values of a grid, or the ranges and trials of `tpe`."""
        if self.method == "tpe" and self.searches:
            lr, decay = self.ranges(probe)
            return {"lr_range": list(lr), "weight_decay_range": list(decay), "trials": self.trials}
        rates, decays = zip(*self.grid(probe), strict=True)
        return {"lr": sorted(set(rates)), "weight_decay": sorted(set(decays))}

    def batch_size(self, clips: int) -> int:
        """Return the clips a step for a training set of `clips`."""
        return min(self.batch, max(8, clips // self.min_batches))

    def edge_notes(self, probe: ProbeConfig, lr: float, weight_decay: float) -> tuple[str, ...]:
        """Return notes on a chosen setting at the edge of the range that was searched: the best may lie beyond it.

        A range of one value has no edge, and a grid of two decays has nothing else: both get no note.
        """
        drawn = self.method == "tpe"
        notes = []
        for name, value, (low, high), inner in (
            ("learning rate", lr, self.ranges(probe)[0], len(set(self._rates(probe))) > 1),
            ("weight decay", weight_decay, self.ranges(probe)[1], len(set(self.weight_decay)) > 2),
        ):
            side = _side(value, low, high, _MARGIN if drawn else 0.0) if low < high and (drawn or inner) else None
            if side is not None:
                notes.append(
                    f"the chosen {name} is at the {side} edge of the range ({low:.3g} to {high:.3g}): a wider range "
                    "may do better"
                )
        return tuple(notes)

    def _rates(self, probe: ProbeConfig) -> tuple[float, ...]:
        low, high = probe.lr_range if self.method == "tpe" else probe.grid_range
        return self.lr or tuple(float(x) for x in np.geomspace(low, high, self.lr_count))


def _side(value: float, low: float, high: float, margin: float) -> str | None:
    if low <= 0:
        # Zero has no logarithm: only the ends themselves count.
        return "lower" if value <= low else "upper" if value >= high else None
    place = math.log(value / low) / math.log(high / low)
    # The ends of a log-spaced grid are rounded in the last digits.
    return "lower" if place <= margin + 1e-9 else "upper" if place >= 1 - margin - 1e-9 else None
