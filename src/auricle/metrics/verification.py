"""Verification: are two recordings of the same speaker (bird, machine)? Equal error rate and detection cost.

From scikit-learn's ROC curve. A trial has a score, and is a target (same) or not. `resampled_ranking.py` holds the same
metrics under many weightings of the trials at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from sklearn.metrics import roc_curve

from auricle.config import Config, nearest
from auricle.errors import ConfigError
from auricle.metrics.classification import Floats
from auricle.metrics.ranking import validate_binary

Crossing = Literal["interpolated", "nearest"]


@dataclass(frozen=True)
class DetectionCost(Config):
    """What errors cost (NIST speaker recognition evaluations).

    Attributes:
        target_prior: how likely a trial is a target; 0.05 as in the VoxCeleb challenges, 0.01 in older evaluations.
        miss: cost of a missed target.
        false_alarm: cost of an accepted non-target.
    """

    target_prior: float = 0.05
    miss: float = 1.0
    false_alarm: float = 1.0

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: the prior does not lie between 0 and 1, or a cost is not positive.
        """
        if not (0 < self.target_prior < 1 and self.miss > 0 and self.false_alarm > 0):
            raise ConfigError(f"{self.to_json()}; expected a prior between 0 and 1 and positive costs")

    def of(self, missed: Floats, accepted: Floats) -> Floats:
        """Return the cost of shares of missed targets and accepted non-targets; 1 is that of never looking."""
        lost, alarmed = self.miss * self.target_prior, self.false_alarm * (1 - self.target_prior)
        cost: Floats = (lost * missed + alarmed * accepted) / min(lost, alarmed)
        return cost


VOXCELEB_COST = DetectionCost()


def equal_error_rate(target: np.ndarray, scores: np.ndarray, crossing: Crossing = "interpolated") -> float:
    """Return the error rate at the threshold where as many targets are missed as non-targets accepted.

    Args:
        target: `(n,)` 1 for targets, 0 for non-targets.
        scores: `(n,)` finite; higher means more likely the same.
        crossing: `interpolated`: where the ROC curve, its points joined by lines, meets the diagonal; `nearest`: the
            false-positive rate at the point of the curve where the two rates differ least (the first of several).

    Returns:
        The rate, 0 ... 1; NaN unless there are trials of both kinds.

    Raises:
        ConfigError: shapes differ, values out of range, or an unknown crossing.
    """
    positive, scores = validate_binary(target, scores)
    check_crossing(crossing)
    if not positive.any() or positive.all():
        return math.nan
    accepted, found, _ = roc_curve(positive, scores, drop_intermediate=False)
    gap = (1 - found) - accepted
    if crossing == "nearest":
        return float(accepted[np.argmin(np.abs(gap))])
    after = int(np.argmax(gap <= 0))
    before = max(after - 1, 0)
    way = gap[before] / (gap[before] - gap[after]) if gap[before] > gap[after] else 0.0
    return float(accepted[before] + way * (accepted[after] - accepted[before]))


def min_detection_cost(target: np.ndarray, scores: np.ndarray, cost: DetectionCost = VOXCELEB_COST) -> float:
    """Return minDCF: the least detection cost over all thresholds, relative to accepting or rejecting everything.

    Args:
        target: `(n,)` 1 for targets, 0 for non-targets.
        scores: `(n,)` finite; higher means more likely the same.
        cost: prior and costs.

    Returns:
        The cost, 0 ... 1; NaN unless there are trials of both kinds.

    Raises:
        ConfigError: shapes differ or values out of range.
    """
    positive, scores = validate_binary(target, scores)
    if not positive.any() or positive.all():
        return math.nan
    accepted, found, _ = roc_curve(positive, scores, drop_intermediate=False)
    return float(cost.of(1 - found, accepted).min())


def check_crossing(crossing: str) -> None:
    """Check the name of a way to find the crossing.

    Raises:
        ConfigError: it is unknown.
    """
    if crossing not in get_args(Crossing):
        raise ConfigError(f"unknown crossing {crossing!r}{nearest(crossing, get_args(Crossing))}")
