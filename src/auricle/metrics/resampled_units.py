"""Metrics that are means over units (queries, episodes, answers) under many weightings of the units at once."""

from __future__ import annotations

import math

import numpy as np

from auricle.errors import ConfigError
from auricle.metrics.classification import Floats


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> Floats:
    """Return the mean `(R,)` of the units' values; units whose value is NaN (undefined) take no part.

    Args:
        values: `(n,)` one number a unit.
        weights: `(R, n)` how often each unit counts.

    Returns:
        `(R,)`; NaN where no defined unit counts.

    Raises:
        ConfigError: shapes differ, or a weight is negative.
    """
    values, weights = np.asarray(values, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if values.ndim != 1 or weights.ndim != 2 or weights.shape[1] != values.size or (weights < 0).any():
        raise ConfigError(
            f"values of shape {values.shape}, weights of shape {weights.shape}; expected (n,) and (R, n) numbers >= 0"
        )
    defined = ~np.isnan(values)
    total, count = weights @ np.where(defined, values, 0.0), weights @ defined.astype(np.float64)
    return np.divide(total, count, out=np.full(count.shape, math.nan), where=count > 0)
