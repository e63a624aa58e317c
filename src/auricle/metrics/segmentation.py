"""Segmentation: one label for each frame (or patch), scored by the overlap of regions.

Letters in shapes: n frames of all clips together, C classes, R weightings of the frames.
"""

from __future__ import annotations

import math

import numpy as np

from auricle.metrics.classification import class_counts, validate_single
from auricle.metrics.weights import Floats, check_weights, divide, nan_mean


def intersection_over_union(
    truth: np.ndarray,
    predicted: np.ndarray,
    classes: int,
    ignore: int | None = None,
    weights: np.ndarray | None = None,
) -> Floats:
    """Return frames labelled a class in both over frames labelled it in either, of each class `(C,)`.

    Args:
        truth: `(n,)` class numbers.
        predicted: `(n,)` class numbers.
        classes: C.
        ignore: a number in the truth that marks frames without a label; they do not count, and it is no class.
        weights: `(R, n)`; None: each frame once.

    Returns:
        `(C,)`, with weights `(R, C)`; NaN for a class that occurs in neither.

    Raises:
        ConfigError: shapes differ, or numbers out of range.
    """
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    drawn = check_weights(weights, len(truth))
    if ignore is not None:
        kept = truth != ignore
        truth, predicted, drawn = truth[kept], predicted[kept], drawn[:, kept]
    true, said = validate_single(truth, predicted, classes)
    both, one, other = class_counts(true, said, drawn)
    each = divide(both, one + other - both)
    result = np.pad(each, ((0, 0), (0, classes - each.shape[1])), constant_values=math.nan)
    return result[0] if weights is None else result


def mean_intersection_over_union(
    truth: np.ndarray,
    predicted: np.ndarray,
    classes: int,
    ignore: int | None = None,
    weights: np.ndarray | None = None,
) -> float | Floats:
    """Return mIoU: the mean of `intersection_over_union` over classes that occur; with weights `(R,)`."""
    each = intersection_over_union(truth, predicted, classes, ignore, weights)
    return float(nan_mean(each)) if weights is None else nan_mean(each, axis=1)
