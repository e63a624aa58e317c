"""Segmentation: one label for each frame (or patch), judged by the overlap of regions. Through scikit-learn.

Letters in shapes: n frames of all clips together, C classes.
"""

from __future__ import annotations

import math

import numpy as np
from sklearn.metrics import jaccard_score

from auricle.metrics.classification import Floats, validate_single


def intersection_over_union(
    truth: np.ndarray, predicted: np.ndarray, classes: int, ignore: int | None = None
) -> Floats:
    """Return frames labelled a class in both over frames labelled it in either, of each class `(C,)`.

    Args:
        truth: `(n,)` class numbers.
        predicted: `(n,)` class numbers.
        classes: C.
        ignore: a number in the truth that marks frames without a label; they take no part, and it is no class.

    Returns:
        `(C,)`; NaN for a class that occurs in neither.

    Raises:
        ConfigError: shapes differ, or numbers out of range.
    """
    if ignore is not None:
        kept = np.asarray(truth) != ignore
        truth, predicted = np.asarray(truth)[kept], np.asarray(predicted)[kept]
    true, said = validate_single(truth, predicted, classes)
    result = np.full(classes, math.nan)
    present = np.union1d(true, said)
    if present.size:
        result[present] = jaccard_score(true, said, labels=present, average=None)
    return result


def mean_intersection_over_union(
    truth: np.ndarray, predicted: np.ndarray, classes: int, ignore: int | None = None
) -> float:
    """Return mIoU: the mean of `intersection_over_union` over classes that occur; NaN without frames."""
    each = intersection_over_union(truth, predicted, classes, ignore)
    defined = each[~np.isnan(each)]
    return float(defined.mean()) if defined.size else math.nan
