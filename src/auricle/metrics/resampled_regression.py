"""The metrics of `regression.py` under many weightings of the clips at once, for bootstrap intervals.

Letters in shapes: R weightings, n clips, K numbers a clip. A metric that is undefined under a weighting is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from auricle.errors import ConfigError
from auricle.metrics.classification import Floats
from auricle.metrics.regression import validate_numbers


@dataclass(frozen=True)
class _Moments:
    """Weighted moments of one number a clip, each `(R,)`, after both sides were moved by the mean of the truth."""

    count: Floats
    true: Floats
    said: Floats
    true_square: Floats
    said_square: Floats
    product: Floats
    error_square: Floats

    @property
    def true_spread(self) -> Floats:
        return self.true_square - self.true**2

    @property
    def said_spread(self) -> Floats:
        return self.said_square - self.said**2

    @property
    def covariance(self) -> Floats:
        return self.product - self.true * self.said


def weighted_r2(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> Floats:
    """Return R² `(R,)` under each row of `weights (R, n)`; see `r2`."""
    return _over_columns(truth, predicted, weights, lambda m: 1 - _divide(m.error_square, _solid(m.true_spread, m)))


def weighted_pearson(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> Floats:
    """Return the correlation `(R,)`; see `pearson`."""
    return _over_columns(truth, predicted, weights, _correlation)


def weighted_concordance(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> Floats:
    """Return the concordance correlation `(R,)`; see `concordance`."""

    def measure(m: _Moments) -> Floats:
        spread = m.true_spread + m.said_spread + (m.true - m.said) ** 2
        return _divide(2 * m.covariance, _solid(spread, m))

    return _over_columns(truth, predicted, weights, measure)


def weighted_mean_error(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> Floats:
    """Return the mean absolute error `(R,)`; see `mean_error`."""
    true, said, weights = _validate(truth, predicted, weights)
    return _divide(weights @ np.abs(true - said).mean(1), weights.sum(1))


def weighted_root_mean_square_error(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> Floats:
    """Return the root mean square error `(R,)`; see `root_mean_square_error`."""
    return _over_columns(truth, predicted, weights, lambda m: np.sqrt(m.error_square))


def weighted_spearman(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> Floats:
    """Return the rank correlation `(R,)`; see `spearman`. Each weighting ranks its clips anew."""
    true, said, weights = _validate(truth, predicted, weights)
    columns = []
    for t, s in zip(true.T, said.T, strict=True):
        ranks = [_ranks(values, weights) for values in (t, s)]
        columns.append(_correlation(_moments(ranks[0], ranks[1], weights)))
    return np.mean(columns, axis=0)


def _over_columns(
    truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray, measure: Callable[[_Moments], Floats]
) -> Floats:
    true, said, weights = _validate(truth, predicted, weights)
    columns = []
    for t, s in zip(true.T, said.T, strict=True):
        # Squares of large numbers that differ little (frequencies, years) would lose their digits.
        centre = t.mean() if t.size else 0.0
        columns.append(measure(_moments((t - centre)[None], (s - centre)[None], weights)))
    return np.mean(columns, axis=0)


def _moments(true: Floats, said: Floats, weights: Floats) -> _Moments:
    count = weights.sum(1)

    def mean(values: Floats) -> Floats:
        return _divide((weights * values).sum(1), count)

    return _Moments(
        count, mean(true), mean(said), mean(true**2), mean(said**2), mean(true * said), mean((true - said) ** 2)
    )


def _correlation(m: _Moments) -> Floats:
    true, said = _solid(m.true_spread, m), _solid(m.said_spread, m, m.said_square)
    return _divide(m.covariance, np.sqrt(true * said))


def _solid(spread: Floats, m: _Moments, square: Floats | None = None) -> Floats:
    """The spread, or 0 where it is rounding: one clip drawn several times must not pass for two."""
    noise = 1e-13 * (m.true_square + m.said_square if square is None else square + m.true_square)
    return np.where(spread > noise, spread, 0.0)


def _ranks(values: Floats, weights: Floats) -> Floats:
    """Mean rank of each clip among the drawn ones `(R, n)`."""
    order = np.argsort(values, kind="stable")
    ordered, drawn = values[order], weights[:, order]
    first = np.insert(ordered[1:] != ordered[:-1], 0, True) if ordered.size else np.zeros(0, dtype=bool)
    if not ordered.size:
        return np.zeros_like(weights)
    run = np.cumsum(first) - 1
    sums = np.add.reduceat(drawn, np.flatnonzero(first), axis=1)
    middle = np.cumsum(sums, axis=1) - sums + (sums + 1) / 2
    ranks = np.empty_like(weights)
    ranks[:, order] = middle[:, run]
    # Ranks are centred for the same reason as values; any constant serves.
    return ranks - weights.sum(1, keepdims=True) / 2


def _validate(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> tuple[Floats, Floats, Floats]:
    true, said = validate_numbers(truth, predicted)
    weights = np.asarray(weights, dtype=np.float64)
    if weights.ndim != 2 or weights.shape[1] != len(true) or (weights < 0).any():
        raise ConfigError(f"weights of shape {weights.shape}; expected (R, {len(true)}) numbers >= 0: one per clip")
    return true, said, weights


def _divide(top: Floats, bottom: Floats) -> Floats:
    return np.divide(top, bottom, out=np.full(np.shape(bottom), math.nan), where=bottom > 0)
