"""Verification: are two recordings of the same speaker (bird, machine)? Equal error rate and detection cost.

A trial has a score, and is a target (same) or not. Letters in shapes: n trials, R weightings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from auricle.config import Config, InnerShare, Positive, nearest
from auricle.errors import ConfigError
from auricle.metrics.ranking import over_curves
from auricle.metrics.weights import Floats, weighable

Crossing = Literal["interpolated", "nearest"]


@dataclass(frozen=True)
class DetectionCost(Config):
    """What errors cost (NIST speaker recognition evaluations).

    Attributes:
        target_prior: how likely a trial is a target; 0.05 as in the VoxCeleb challenges, 0.01 in older evaluations.
        miss: cost of a missed target.
        false_alarm: cost of an accepted non-target.
    """

    target_prior: InnerShare = 0.05
    miss: Positive = 1.0
    false_alarm: Positive = 1.0

    def of(self, missed: Floats, accepted: Floats) -> Floats:
        """Return the cost of shares of missed targets and accepted non-targets; 1 is that of a constant decision."""
        lost, alarmed = self.miss * self.target_prior, self.false_alarm * (1 - self.target_prior)
        cost: Floats = (lost * missed + alarmed * accepted) / min(lost, alarmed)
        return cost


VOXCELEB_COST = DetectionCost()


@weighable
def equal_error_rate(
    target: np.ndarray, scores: np.ndarray, weights: Floats, crossing: Crossing = "interpolated"
) -> Floats:
    """Return the error rate at the threshold where as many targets are missed as non-targets accepted.

    Trials of equal score pass a threshold together.

    Args:
        target: `(n,)` 1 for targets, 0 for non-targets.
        scores: `(n,)` finite; higher means more likely the same.
        weights: `(R, n)`; None: each trial once.
        crossing: `interpolated`: where the ROC curve, its points joined by lines, meets the diagonal; `nearest`: the
            false-positive rate at the point of the curve where the two rates differ least (the first of several).

    Returns:
        The rate, 0 ... 1; NaN unless there are trials of both kinds.

    Raises:
        ConfigError: shapes differ, values out of range, or an unknown crossing.
    """
    if crossing not in get_args(Crossing):
        raise ConfigError(f"unknown crossing {crossing!r}{nearest(crossing, get_args(Crossing))}")

    def rate(accepted: Floats, found: Floats) -> Floats:
        gap = (1 - found) - accepted
        rows = np.arange(len(gap))
        if crossing == "nearest":
            return accepted[rows, np.argmin(np.abs(gap), axis=1)]
        after = np.argmax(gap <= 0, axis=1)
        before = np.maximum(after - 1, 0)
        drop = gap[rows, before] - gap[rows, after]
        way = np.divide(gap[rows, before], drop, out=np.zeros(len(gap)), where=drop > 0)
        start = accepted[rows, before]
        return start + way * (accepted[rows, after] - start)

    return over_curves(target, scores, weights, rate)


@weighable
def min_detection_cost(
    target: np.ndarray, scores: np.ndarray, weights: Floats, cost: DetectionCost = VOXCELEB_COST
) -> Floats:
    """Return minDCF: the least detection cost over all thresholds, relative to accepting or rejecting everything.

    Args:
        target: `(n,)` 1 for targets, 0 for non-targets.
        scores: `(n,)` finite; higher means more likely the same.
        weights: `(R, n)`; None: each trial once.
        cost: prior and costs.

    Returns:
        The cost, 0 ... 1; NaN unless there are trials of both kinds.

    Raises:
        ConfigError: shapes differ or values out of range.
    """
    return over_curves(target, scores, weights, lambda accepted, found: cost.of(1 - found, accepted).min(1))
