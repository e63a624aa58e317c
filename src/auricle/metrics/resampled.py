"""The metrics of `classification.py` under many weightings of the clips at once, for bootstrap intervals.

Letters in shapes: R weightings (bootstrap samples), n clips, C classes. A weight is how often a clip was drawn; all
ones give the plain metric. A metric that is undefined under a weighting is NaN.
"""

from __future__ import annotations

import math

import numpy as np

from auricle.errors import ConfigError
from auricle.metrics.classification import Floats, validate_multi, validate_single


def weighted_accuracy(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> Floats:
    """Return accuracy `(R,)` under each row of `weights (R, n)`."""
    truth, predicted = validate_single(truth, predicted)
    weights = _weights(weights, truth.size)
    return _divide(weights @ (truth == predicted).astype(np.float64), weights.sum(1))


def weighted_macro_f1(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> Floats:
    """Return macro F1 `(R,)`; under each weighting over the classes that occur in its truth or predictions."""
    right, true, said = _class_counts(truth, predicted, weights)
    return _nanmean(_divide(2 * right, true + said))


def weighted_balanced_accuracy(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> Floats:
    """Return the mean recall `(R,)` over the classes that occur in each weighting's truth."""
    right, true, _ = _class_counts(truth, predicted, weights)
    return _nanmean(_divide(right, true))


def weighted_average_precision(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> Floats:
    """Return the average precision of each class `(R, C)`, tied scores taken together."""
    positive, scores = validate_multi(truth, scores)
    weights = _weights(weights, positive.shape[0])
    result = np.full((weights.shape[0], positive.shape[1]), math.nan)
    for c in range(positive.shape[1]):
        order = np.argsort(-scores[:, c], kind="stable")
        ordered = scores[order, c]
        # A threshold lies behind the last of each run of equal scores.
        last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) if ordered.size else np.array([], int)
        drawn = weights[:, order]
        found = np.cumsum(drawn * positive[order, c], axis=1)[:, last]
        said = np.cumsum(drawn, axis=1)[:, last]
        gained = np.diff(found, axis=1, prepend=0.0)
        precision = np.divide(found, said, out=np.zeros_like(found), where=said > 0)
        total = found[:, -1] if last.size else np.zeros(len(weights))
        result[:, c] = _divide((gained * precision).sum(1), total)
    return result


def weighted_mean_average_precision(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> Floats:
    """Return mAP `(R,)`; under each weighting over the classes that have positives in it."""
    return _nanmean(weighted_average_precision(truth, scores, weights))


def weighted_macro_auc(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> Floats:
    """Return the mean area under the ROC curve `(R,)` over the classes with both kinds of clips in each weighting."""
    positive, scores = validate_multi(truth, scores)
    weights = _weights(weights, positive.shape[0])
    result = np.full((weights.shape[0], positive.shape[1]), math.nan)
    for c in range(positive.shape[1]):
        order = np.argsort(scores[:, c], kind="stable")
        ordered = scores[order, c]
        if not ordered.size:
            continue
        # Clips of equal score form one run, which counts half against itself.
        first = np.flatnonzero(np.insert(ordered[1:] != ordered[:-1], 0, True))
        drawn = weights[:, order]
        up = np.add.reduceat(drawn * positive[order, c], first, axis=1)
        down = np.add.reduceat(drawn * ~positive[order, c], first, axis=1)
        below = np.cumsum(down, axis=1) - down
        result[:, c] = _divide((up * (below + 0.5 * down)).sum(1), up.sum(1) * down.sum(1))
    return _nanmean(result)


def _class_counts(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> tuple[Floats, Floats, Floats]:
    """Weighted number of right, true and predicted clips of each class, `(R, C)` each."""
    truth, predicted = validate_single(truth, predicted)
    weights = _weights(weights, truth.size)
    classes = np.arange(int(max(truth.max(), predicted.max())) + 1 if truth.size else 0)
    true, said = truth[:, None] == classes, predicted[:, None] == classes
    right, true_w, said_w = (weights @ m.astype(np.float64) for m in (true & said, true, said))
    return right, true_w, said_w


def _weights(weights: np.ndarray, clips: int) -> Floats:
    weights = np.asarray(weights, dtype=np.float64)
    if weights.ndim != 2 or weights.shape[1] != clips:
        raise ConfigError(f"weights have shape {weights.shape}; expected (R, {clips}): one column per clip")
    return weights


def _divide(top: Floats, bottom: Floats) -> Floats:
    return np.divide(top, bottom, out=np.full(np.shape(bottom), math.nan), where=bottom > 0)


def _nanmean(values: Floats) -> Floats:
    """Mean over classes of the defined values; NaN where there is none (numpy's own warns there)."""
    defined = ~np.isnan(values)
    return _divide(np.where(defined, values, 0.0).sum(1), defined.sum(1).astype(np.float64))
