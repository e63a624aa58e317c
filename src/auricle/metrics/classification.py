"""Metrics of single-label classification and of multi-label tagging, each defined on every valid input.

Letters in shapes: n clips, C classes, R weightings of the clips (see `auricle.metrics.weights`).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from auricle.errors import ConfigError
from auricle.metrics.weights import Floats, check_weights, divide, nan_mean, weighable

Ints = NDArray[np.int64]


def validate_single(truth: np.ndarray, predicted: np.ndarray, classes: int | None = None) -> tuple[Ints, Ints]:
    """Check class numbers of clips and return them as int64.

    Args:
        truth: `(n,)` class numbers.
        predicted: `(n,)` class numbers.
        classes: C, if numbers must lie in 0 ... C-1.

    Raises:
        ConfigError: shapes differ, not whole numbers, or out of range.
    """
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    if truth.ndim != 1 or truth.shape != predicted.shape:
        raise ConfigError(f"truth has shape {truth.shape}, predictions {predicted.shape}; expected (n,) and (n,)")
    for name, values in (("truth", truth), ("predictions", predicted)):
        if values.size and not np.issubdtype(values.dtype, np.integer):
            raise ConfigError(f"{name} are {values.dtype}; expected whole class numbers")
        if values.size and (values.min() < 0 or (classes is not None and values.max() >= classes)):
            raise ConfigError(f"{name} range from {values.min()} to {values.max()}; expected 0 to {classes or 'C'} - 1")
    return truth.astype(np.int64), predicted.astype(np.int64)


def validate_multi(truth: np.ndarray, scores: np.ndarray) -> tuple[NDArray[np.bool_], Floats]:
    """Check label sets and scores of clips and return them as bool and float64.

    Args:
        truth: `(n, C)` zeros and ones (or bool).
        scores: `(n, C)` finite; higher means more likely.

    Raises:
        ConfigError: shapes differ, truth is not 0 / 1, a score is not finite.
    """
    truth, scores = np.asarray(truth), np.asarray(scores, dtype=np.float64)
    if truth.ndim != 2 or truth.shape != scores.shape:
        raise ConfigError(f"truth has shape {truth.shape}, scores {scores.shape}; expected (n, C) and (n, C)")
    if not np.isin(truth, (0, 1)).all():
        raise ConfigError("truth holds values other than 0 and 1; expected one column of 0 / 1 per class")
    if not np.isfinite(scores).all():
        raise ConfigError(f"{int((~np.isfinite(scores)).sum())} scores are not finite; the probe has diverged")
    return truth.astype(bool), scores


@weighable
def accuracy(truth: np.ndarray, predicted: np.ndarray, weights: Floats) -> Floats:
    """Return the share of clips whose class is right."""
    truth, predicted = validate_single(truth, predicted)
    return divide(weights @ (truth == predicted).astype(np.float64), weights.sum(1))


@weighable
def macro_f1(truth: np.ndarray, predicted: np.ndarray, weights: Floats) -> Floats:
    """Return the mean F1 over classes that occur in truth or predictions.

    A class that is predicted but never true counts with F1 = 0, one that occurs in neither does not count.
    """
    right, true, said = class_counts(truth, predicted, weights)
    return nan_mean(divide(2 * right, true + said), axis=1)


@weighable
def balanced_accuracy(truth: np.ndarray, predicted: np.ndarray, weights: Floats) -> Floats:
    """Return the mean recall over classes that occur in truth."""
    right, true, _ = class_counts(truth, predicted, weights)
    return nan_mean(divide(right, true), axis=1)


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, classes: int) -> Ints:
    """Return counts `(C, C)`: row = truth, column = prediction."""
    truth, predicted = validate_single(truth, predicted, classes)
    counts = np.bincount(truth * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def per_class_scores(confusion: np.ndarray) -> dict[str, Floats]:
    """Return `recall`, `precision`, `f1`, each `(C,)`, from a confusion matrix (truth in rows).

    Recall of a class without clips and precision of one never predicted are NaN; F1 is NaN only where both are.
    """
    confusion = np.asarray(confusion, dtype=np.float64)
    right, true, said = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    return {"recall": divide(right, true), "precision": divide(right, said), "f1": divide(2 * right, true + said)}


def average_precision(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> Floats:
    """Return the average precision of each class, `(C,)`, with weights `(R, C)`; NaN for a class without positives.

    The step-wise sum of scikit-learn (no interpolation). Tied scores pass a threshold together, so that the order of
    clips does not matter.
    """
    positive, scores = validate_multi(truth, scores)
    drawn = check_weights(weights, len(positive))
    result = np.full((len(drawn), positive.shape[1]), math.nan)
    for c in range(positive.shape[1] if len(positive) else 0):
        order = np.argsort(-scores[:, c], kind="stable")
        hits = np.flatnonzero(positive[order, c])
        if not len(hits):
            continue
        # Only thresholds that a positive passes count; of what lies between them, only the sum.
        last = tie_ends(scores[order, c])
        ends, first = np.unique(last[np.searchsorted(last, hits)], return_index=True)
        gained = np.add.reduceat(drawn[:, order[hits]], first, axis=1)
        said = np.add.reduceat(drawn[:, order[: ends[-1] + 1]], np.append(0, ends[:-1] + 1), axis=1).cumsum(1)
        found = gained.cumsum(1)
        precision = np.divide(found, said, out=np.zeros_like(found), where=said > 0)
        result[:, c] = divide((gained * precision).sum(1), found[:, -1])
    return result[0] if weights is None else result


@weighable
def mean_average_precision(truth: np.ndarray, scores: np.ndarray, weights: Floats) -> Floats:
    """Return mAP: the mean of `average_precision` over classes with positives."""
    return nan_mean(average_precision(truth, scores, weights), axis=1)


def area_under_roc(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> Floats:
    """Return the area under the ROC curve of each class, `(C,)`, with weights `(R, C)`; tied pairs count half.

    NaN where all or none of the clips are positive.
    """
    positive, scores = validate_multi(truth, scores)
    drawn = check_weights(weights, len(positive))
    result = np.full((len(drawn), positive.shape[1]), math.nan)
    for c in range(positive.shape[1] if len(positive) else 0):
        order = np.argsort(scores[:, c], kind="stable")
        first = np.append(0, tie_ends(scores[order, c])[:-1] + 1)
        up = np.add.reduceat(drawn[:, order] * positive[order, c], first, axis=1)
        down = np.add.reduceat(drawn[:, order] * ~positive[order, c], first, axis=1)
        below = np.cumsum(down, axis=1) - down
        result[:, c] = divide((up * (below + 0.5 * down)).sum(1), up.sum(1) * down.sum(1))
    return result[0] if weights is None else result


@weighable
def macro_auc(truth: np.ndarray, scores: np.ndarray, weights: Floats) -> Floats:
    """Return the mean of `area_under_roc` over the classes where it is defined."""
    return nan_mean(area_under_roc(truth, scores, weights), axis=1)


def tie_ends(ordered: np.ndarray) -> Ints:
    """Return the last place of each run of equal values in a sorted array `(n,)`."""
    return np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)[: ordered.size])


def class_counts(truth: np.ndarray, predicted: np.ndarray, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the weighted number of right, true and predicted clips of each class, `(R, C)` each."""
    truth, predicted = validate_single(truth, predicted)
    classes = np.arange(max(truth.max(), predicted.max()) + 1 if truth.size else 0)
    true, said = truth[:, None] == classes, predicted[:, None] == classes
    right, true_w, said_w = (weights @ m.astype(np.float64) for m in (true & said, true, said))
    return right, true_w, said_w
