"""Weights of units (clips, trials, queries, utterances): the same metric under many weightings at once.

Letters in shapes: n units, R weightings. A weight is how often a unit counts. Whatever is undefined is NaN, and so is
every metric where no unit counts.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast, overload

import numpy as np
from numpy.typing import NDArray

from auricle.errors import ConfigError

Floats = NDArray[np.float64]


class Metric(Protocol):
    """A metric of two arrays with one entry a unit.

    Without weights each unit counts once, and the result is a number. With `weights (R, n)` the result is `(R,)`: the
    metric if unit i occurred `weights[r, i]` times.
    """

    @overload
    def __call__(self, truth: Any, said: Any, /, weights: None = None, **settings: Any) -> float: ...

    @overload
    def __call__(self, truth: Any, said: Any, /, weights: np.ndarray, **settings: Any) -> Floats: ...


def weighable(measure: Callable[..., Floats]) -> Metric:
    """Make a `Metric` of a function that takes weights `(R, n)` and returns `(R,)`.

    Examples:
        >>> accuracy = weighable(lambda truth, said, weights: weights @ (truth == said) / weights.sum(1))
        >>> truth, said = np.array([0, 1, 1]), np.array([0, 1, 0])
        >>> accuracy(truth, said, np.array([[1, 1, 0], [0, 1, 1]])).tolist()
        [1.0, 0.5]
        >>> round(accuracy(truth, said), 3)
        0.667
    """

    @functools.wraps(measure)
    def metric(truth: Any, said: Any, weights: np.ndarray | None = None, **settings: Any) -> float | Floats:
        # What has no length is refused by the measure itself.
        n = len(truth) if isinstance(truth, Sequence) or np.ndim(truth) else 0
        found = measure(truth, said, check_weights(weights, n), **settings)
        return float(found[0]) if weights is None else found

    signature = inspect.signature(measure)
    shown = [p.replace(default=None) if p.name == "weights" else p for p in signature.parameters.values()]
    metric.__signature__ = signature.replace(parameters=shown)  # type: ignore[attr-defined]
    return cast(Metric, metric)


def check_weights(weights: np.ndarray | None, units: int) -> Floats:
    """Return weights as float64 `(R, n)`; None: each unit once, R = 1.

    Raises:
        ConfigError: weights of another number of units, or negative ones, or NaN.
    """
    if weights is None:
        return np.ones((1, units))
    weights = np.asarray(weights, dtype=np.float64)
    if weights.ndim != 2 or weights.shape[1] != units or not (weights >= 0).all():
        raise ConfigError(
            f"weights of shape {weights.shape}; expected (R, {units}) numbers >= 0, one column for each unit"
        )
    return weights


def unit_mean(values: np.ndarray, weights: np.ndarray | None = None) -> Floats:
    """Return the mean `(R,)` of one value a unit `(n,)`; units whose value is NaN (undefined) are skipped.

    Args:
        values: `(n,)`, or `(..., n)` for several means at once, which gives `(..., R)`.
        weights: `(R, n)`; None: each unit once, R = 1.

    Raises:
        ConfigError: weights of another number of units, or negative ones, or NaN.
    """
    values = np.asarray(values, dtype=np.float64)
    weights = check_weights(weights, values.shape[-1])
    defined = ~np.isnan(values)
    return divide(np.where(defined, values, 0.0) @ weights.T, defined.astype(np.float64) @ weights.T)


def divide(top: Floats, bottom: Floats) -> Floats:
    """Return `top / bottom`, NaN where the divisor is not positive."""
    return np.divide(top, bottom, out=np.full(np.shape(bottom), math.nan), where=bottom > 0)


def nan_mean(values: Floats, axis: int = 0) -> Floats:
    """Return the mean of the values that are defined, NaN where there is none (numpy's own warns there)."""
    defined = ~np.isnan(values)
    return divide(np.where(defined, values, 0.0).sum(axis), defined.sum(axis).astype(np.float64))


def class_evidence(classes: np.ndarray) -> Floats:
    """Return how much each unit `(n,)` counts in a mean over classes: 1 / the size of its class."""
    _, member, sizes = np.unique(classes, return_inverse=True, return_counts=True)
    evidence: Floats = 1 / sizes[member]
    return evidence
