"""Metrics of single-label classification and of multi-label tagging, each defined on every valid input.

Letters in shapes: n clips, C classes. Point values come from scikit-learn; `resampled.py` holds the same metrics under
many weightings of the clips at once.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from auricle.errors import ConfigError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


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


def accuracy(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the share of clips whose class is right; NaN without clips."""
    truth, predicted = validate_single(truth, predicted)
    return float((truth == predicted).mean()) if truth.size else math.nan


def macro_f1(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the mean F1 over classes that occur in truth or predictions; NaN without clips.

    A class that is predicted but never true counts with F1 = 0, one that occurs in neither does not count.
    """
    truth, predicted = validate_single(truth, predicted)
    return float(f1_score(truth, predicted, average="macro", zero_division=0.0)) if truth.size else math.nan


def balanced_accuracy(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the mean recall over classes that occur in truth; NaN without clips."""
    truth, predicted = validate_single(truth, predicted)
    present = np.unique(truth)
    return float(np.mean([(predicted[truth == c] == c).mean() for c in present])) if truth.size else math.nan


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
    return {"recall": _ratio(right, true), "precision": _ratio(right, said), "f1": _ratio(2 * right, true + said)}


def average_precision(truth: np.ndarray, scores: np.ndarray) -> Floats:
    """Return the average precision of each class, `(C,)`; NaN for a class without positive clips.

    The step-wise sum of scikit-learn (no interpolation), tied scores taken together.
    """
    positive, scores = validate_multi(truth, scores)
    columns = zip(positive.T, scores.T, strict=True)
    return np.array([average_precision_score(t, s) if t.any() else math.nan for t, s in columns], dtype=np.float64)


def mean_average_precision(truth: np.ndarray, scores: np.ndarray) -> float:
    """Return mAP: the mean of `average_precision` over classes with positives; NaN if there is none."""
    return _mean(average_precision(truth, scores))


def area_under_roc(truth: np.ndarray, scores: np.ndarray) -> Floats:
    """Return the area under the ROC curve of each class, `(C,)`; NaN where all or none of the clips are positive."""
    positive, scores = validate_multi(truth, scores)
    columns = zip(positive.T, scores.T, strict=True)
    both = [(t, s) if t.any() and not t.all() else None for t, s in columns]
    return np.array([math.nan if p is None else roc_auc_score(*p) for p in both], dtype=np.float64)


def macro_auc(truth: np.ndarray, scores: np.ndarray) -> float:
    """Return the mean of `area_under_roc` over the classes where it is defined; NaN if there is none."""
    return _mean(area_under_roc(truth, scores))


def _ratio(top: Floats, bottom: Floats) -> Floats:
    return np.divide(top, bottom, out=np.full_like(bottom, math.nan), where=bottom > 0)


def _mean(values: Floats) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else math.nan
