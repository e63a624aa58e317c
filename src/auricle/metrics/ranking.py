"""How well scores rank positive clips before negative ones: AUC, partial AUC, d', and ranking of a clip's labels.

Letters in shapes: n clips, C classes, R weightings, K different scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from auricle.errors import ConfigError
from auricle.metrics.classification import area_under_roc, tie_ends, validate_multi
from auricle.metrics.weights import Floats, divide, nan_mean, weighable

MAX_FALSE_POSITIVES = 0.1  # of partial AUC; DCASE task 2
BLOCK = 4_000_000  # numbers of one table of curves


def validate_binary(truth: np.ndarray, scores: np.ndarray) -> tuple[NDArray[np.bool_], Floats]:
    """Check scores of two kinds of clips and return them as bool and float64.

    Args:
        truth: `(n,)` zeros and ones (or bool).
        scores: `(n,)` finite; higher means more likely one.

    Raises:
        ConfigError: shapes differ, truth is not 0 / 1, a score is not finite.
    """
    truth, scores = np.asarray(truth), np.asarray(scores, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != scores.shape:
        raise ConfigError(f"truth has shape {truth.shape}, scores {scores.shape}; expected (n,) and (n,)")
    if not np.isin(truth, (0, 1)).all():
        raise ConfigError(
            "truth holds values other than 0 and 1; expected 1 for what should score high, 0 for the rest"
        )
    if not np.isfinite(scores).all():
        raise ConfigError(f"{int((~np.isfinite(scores)).sum())} of {scores.size} scores are not finite")
    return truth.astype(bool), scores


def over_curves(
    truth: np.ndarray, scores: np.ndarray, weights: Floats, measure: Callable[[Floats, Floats], Floats]
) -> Floats:
    """Apply a measure to the ROC curves of many weightings; NaN unless clips of both kinds count.

    Tied scores pass a threshold together: each run of equal scores is one point of the curve.

    Args:
        truth: `(n,)` zeros and ones.
        scores: `(n,)`.
        weights: `(R, n)`.
        measure: of false and true positive rates `(r, K + 1)`; returns `(r,)`.
    """
    positive, scores = validate_binary(truth, scores)
    result = np.full(len(weights), math.nan)
    order = np.argsort(-scores, kind="stable")
    positive, last = positive[order], tie_ends(scores[order])
    if not last.size:
        return result
    rows = max(1, BLOCK // order.size)
    for start in range(0, len(weights), rows):
        drawn = weights[start : start + rows, order]
        found, accepted = (np.cumsum(drawn * kind, axis=1)[:, last] for kind in (positive, ~positive))
        both = (found[:, -1] > 0) & (accepted[:, -1] > 0)
        if both.any():
            rates = [np.pad(curve[both] / curve[both, -1:], ((0, 0), (1, 0))) for curve in (accepted, found)]
            result[start : start + rows][both] = measure(rates[0], rates[1])
    return result


@weighable
def auc(truth: np.ndarray, scores: np.ndarray, weights: Floats) -> Floats:
    """Return the area under the ROC curve, tied pairs counting half; NaN unless there are clips of both kinds."""

    def area(accepted: Floats, found: Floats) -> Floats:
        total: Floats = (np.diff(accepted, axis=1) * (found[:, 1:] + found[:, :-1]) / 2).sum(1)
        return total

    return over_curves(truth, scores, weights, area)


@weighable
def partial_auc(
    truth: np.ndarray, scores: np.ndarray, weights: Floats, max_false_positives: float = MAX_FALSE_POSITIVES
) -> Floats:
    """Return the area under the ROC curve up to a false-positive rate; NaN unless there are clips of both kinds.

    Standardised after McClish (1989) as in scikit-learn: chance gives 0.5, a perfect ranking 1.

    Raises:
        ConfigError: the rate does not lie within 0 (excluded) ... 1.
    """
    limit = max_false_positives
    if not 0 < limit <= 1:
        raise ConfigError(f"false-positive rate up to {limit}; expected more than 0, at most 1")

    def area(accepted: Floats, found: Floats) -> Floats:
        left, low = accepted[:, :-1], found[:, :-1]
        right, high = accepted[:, 1:], found[:, 1:]
        # The part of each step that lies before the limit, and the height of the curve there.
        width = np.maximum(np.minimum(right, limit) - left, 0.0)
        share = np.divide(width, right - left, out=np.zeros_like(width), where=right > left)
        total = (width * (low + low + share * (high - low)) / 2).sum(1)
        least = limit**2 / 2
        standard: Floats = 0.5 * (1 + (total - least) / (limit - least)) if limit < 1 else total
        return standard

    return over_curves(truth, scores, weights, area)


@weighable
def d_prime(truth: np.ndarray, scores: np.ndarray, weights: Floats, by_class: bool = False) -> Floats:
    """Return d' = sqrt(2) Phi^-1(AUC), the distance of two unit normal distributions with this AUC.

    Args:
        truth: `(n, C)` zeros and ones.
        scores: `(n, C)`.
        weights: `(R, n)`; None: each clip once.
        by_class: mean of the classes' d' as in HEAR, infinite as soon as one class is ranked perfectly; else d' of the
            mean AUC.

    Returns:
        d'; infinite for perfect ranking, NaN where no class has clips of both kinds.
    """
    areas = area_under_roc(truth, scores, weights)
    return nan_mean(_separation(areas), axis=1) if by_class else _separation(nan_mean(areas, axis=1))


@weighable
def label_weighted_ranking_precision(truth: np.ndarray, scores: np.ndarray, weights: Floats) -> Floats:
    """Return lwlrap: the precision at the rank of each label of each clip, mean over all labels of all clips.

    Tied labels share the lowest of their ranks. Clips without labels do not count; NaN if no clip has any. The metric
    of DCASE 2019 task 2.
    """
    positive, scores = validate_multi(truth, scores)
    labels = positive.sum(1).astype(np.float64)
    total = np.zeros(len(labels))
    for i in np.flatnonzero(labels):
        good = scores[i, positive[i]]
        total[i] = (rankdata(-good, "max") / rankdata(-scores[i], "max")[positive[i]]).sum()
    return divide(weights @ total, weights @ labels)


def _separation(area: Floats) -> Floats:
    distance: Floats = math.sqrt(2) * np.asarray(norm.ppf(area))
    return distance
