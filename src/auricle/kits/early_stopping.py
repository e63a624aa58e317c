"""Early stopping and the plateau schedule of the kits, for each setting of a pass."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

# Relative gain below which the plateau schedule counts a score as no better (torch's default).
_PLATEAU_GAIN = 1e-4


@dataclass
class EarlyStopping:
    """Best score and waiting time of each setting.

    Attributes:
        patience: checks without a better score after which a setting stops; 0: never.
        ties: whether an equal score counts as better (`last`, EVAR) or not (`first`, the others).
        factor: of the learning rate at a plateau.
        plateau_patience: checks without a better score that the plateau schedule tolerates.
    """

    patience: int
    ties: Literal["first", "last"] = "first"
    factor: float = 0.5
    plateau_patience: int = 6
    _best: dict[int, float] = field(default_factory=dict)
    _waited: dict[int, int] = field(default_factory=dict)
    _plateau_best: dict[int, float] = field(default_factory=dict)
    _plateau_waited: dict[int, int] = field(default_factory=dict)
    _factor: dict[int, float] = field(default_factory=dict)

    def better(self, k: int, score: float) -> bool:
        """Record a check of setting `k`; return whether its weights are the best so far."""
        self._plateau(k, score)
        best = self._best.get(k, -math.inf)
        if math.isfinite(score) and (score > best or (score == best and self.ties == "last")):
            self._best[k], self._waited[k] = score, 0
            return True
        self._waited[k] = self._waited.get(k, 0) + 1
        return False

    def stops(self, k: int) -> bool:
        """Return whether setting `k` has waited long enough."""
        return bool(self.patience) and self._waited.get(k, 0) >= self.patience

    def factor_of(self, k: int) -> float:
        """Return the plateau schedule's factor of the learning rate of setting `k`."""
        return self._factor.get(k, 1.0)

    def _plateau(self, k: int, score: float) -> None:
        best = self._plateau_best.get(k, -math.inf)
        if score > best * (1 + _PLATEAU_GAIN) or best == -math.inf:
            self._plateau_best[k], self._plateau_waited[k] = score, 0
            return
        self._plateau_waited[k] = self._plateau_waited.get(k, 0) + 1
        if self._plateau_waited[k] > self.plateau_patience:
            self._factor[k], self._plateau_waited[k] = self.factor_of(k) * self.factor, 0
