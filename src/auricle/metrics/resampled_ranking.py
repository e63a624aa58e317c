"""The two-class metrics of `ranking.py` and `verification.py` under many weightings of the clips or trials at once.

Letters in shapes: R weightings (bootstrap samples), n clips, K different scores. A weight is how often a clip was
drawn; all ones give the plain metric. A metric that is undefined under a weighting is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from auricle.errors import ConfigError
from auricle.metrics.classification import Floats
from auricle.metrics.ranking import MAX_FALSE_POSITIVES, check_rate, separation, validate_binary
from auricle.metrics.resampled import weighted_macro_auc
from auricle.metrics.verification import VOXCELEB_COST, Crossing, DetectionCost, check_crossing

BLOCK = 4_000_000  # numbers of one curve table


def weighted_auc(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> Floats:
    """Return the area under the ROC curve `(R,)` under each row of `weights (R, n)`."""

    def area(accepted: Floats, found: Floats) -> Floats:
        total: Floats = (np.diff(accepted, axis=1) * (found[:, 1:] + found[:, :-1]) / 2).sum(1)
        return total

    return _over_curves(truth, scores, weights, area)


def weighted_partial_auc(
    truth: np.ndarray, scores: np.ndarray, weights: np.ndarray, max_false_positives: float = MAX_FALSE_POSITIVES
) -> Floats:
    """Return the standardised partial area `(R,)`; see `partial_auc`.

    Raises:
        ConfigError: the rate does not lie within 0 (excluded) ... 1.
    """
    check_rate(max_false_positives)
    limit = max_false_positives

    def area(accepted: Floats, found: Floats) -> Floats:
        left, low = accepted[:, :-1], found[:, :-1]
        right, high = accepted[:, 1:], found[:, 1:]
        # The part of each step that lies before the limit, and the height of the curve where it is cut.
        end = np.minimum(right, limit)
        width = np.maximum(end - left, 0.0)
        share = np.divide(width, right - left, out=np.zeros_like(width), where=right > left)
        total = (width * (low + low + share * (high - low)) / 2).sum(1)
        least = limit**2 / 2
        standard: Floats = 0.5 * (1 + (total - least) / (limit - least)) if limit < 1 else total
        return standard

    return _over_curves(truth, scores, weights, area)


def weighted_equal_error_rate(
    target: np.ndarray, scores: np.ndarray, weights: np.ndarray, crossing: Crossing = "interpolated"
) -> Floats:
    """Return the equal error rate `(R,)`; see `equal_error_rate`.

    Raises:
        ConfigError: an unknown crossing.
    """
    check_crossing(crossing)

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

    return _over_curves(target, scores, weights, rate)


def weighted_min_detection_cost(
    target: np.ndarray, scores: np.ndarray, weights: np.ndarray, cost: DetectionCost = VOXCELEB_COST
) -> Floats:
    """Return minDCF `(R,)`; see `min_detection_cost`."""
    return _over_curves(target, scores, weights, lambda accepted, found: cost.of(1 - found, accepted).min(1))


def weighted_d_prime(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> Floats:
    """Return d' of the mean AUC over classes `(R,)` for multi-label `truth` and `scores (n, C)`; see `d_prime`."""
    return separation(weighted_macro_auc(truth, scores, weights))


def _over_curves(
    truth: np.ndarray, scores: np.ndarray, weights: np.ndarray, measure: Callable[[Floats, Floats], Floats]
) -> Floats:
    """Apply a measure to the ROC curves (false and true positive rates `(r, K + 1)`) of some weightings at a time."""
    positive, scores = validate_binary(truth, scores)
    weights = np.asarray(weights, dtype=np.float64)
    if weights.ndim != 2 or weights.shape[1] != positive.size or (weights < 0).any():
        raise ConfigError(f"weights of shape {weights.shape}; expected (R, {positive.size}) numbers >= 0")
    result = np.full(len(weights), math.nan)
    order = np.argsort(-scores, kind="stable")
    ordered, positive = scores[order], positive[order]
    if not ordered.size:
        return result
    # Clips of equal score pass a threshold together: only the last of each run is a point of the curve.
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    rows = max(1, BLOCK // ordered.size)
    for start in range(0, len(weights), rows):
        drawn = weights[start : start + rows, order]
        found, accepted = (_curve(drawn * kind, last) for kind in (positive, ~positive))
        both = (found[:, -1] > 0) & (accepted[:, -1] > 0)
        if both.any():
            rates = [curve[both] / curve[both, -1:] for curve in (accepted, found)]
            result[start : start + rows][both] = measure(rates[0], rates[1])
    return result


def _curve(drawn: Floats, last: np.ndarray) -> Floats:
    summed = np.cumsum(drawn, axis=1)[:, last]
    return np.concatenate([np.zeros((len(drawn), 1)), summed], axis=1)
