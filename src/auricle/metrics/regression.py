"""Numbers predicted from sound (pitch, loudness, arousal): errors, explained variance, correlations, pitch accuracy.

Letters in shapes: n clips, K numbers a clip, R weightings. Several numbers a clip are scored one by one and averaged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from auricle.errors import ConfigError
from auricle.metrics.classification import tie_ends
from auricle.metrics.weights import Floats, divide, unit_mean, weighable

HALF_SEMITONE = 0.5
OCTAVE = 12.0  # semitones


def validate_numbers(truth: np.ndarray, predicted: np.ndarray) -> tuple[Floats, Floats]:
    """Check numbers and return them as `(n, K)` float64.

    Args:
        truth: `(n,)` or `(n, K)` finite.
        predicted: the same shape, finite.

    Raises:
        ConfigError: shapes differ, or a number is not finite.
    """
    truth, predicted = np.asarray(truth, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if truth.shape != predicted.shape or truth.ndim not in (1, 2) or (truth.ndim == 2 and not truth.shape[1]):
        raise ConfigError(
            f"truth has shape {truth.shape}, predictions {predicted.shape}; expected both (n,) or both (n, K)"
        )
    for name, values in (("true values", truth), ("predictions", predicted)):
        if not np.isfinite(values).all():
            raise ConfigError(f"{int((~np.isfinite(values)).sum())} of {values.size} {name} are not finite")
    return (truth[:, None], predicted[:, None]) if truth.ndim == 1 else (truth, predicted)


@weighable
def r2(truth: np.ndarray, predicted: np.ndarray, weights: Floats) -> Floats:
    """Return the share of variance explained, negative where the mean would do better.

    NaN for fewer than two clips, and for true values that are all equal (there is no variance to explain).
    """
    return _over_columns(truth, predicted, weights, lambda m: 1 - divide(m.error_square, m.solid(m.true_spread)))


@weighable
def pearson(truth: np.ndarray, predicted: np.ndarray, weights: Floats) -> Floats:
    """Return the correlation; NaN for fewer than two clips, or where one side is constant."""
    return _over_columns(truth, predicted, weights, _correlation)


@weighable
def spearman(truth: np.ndarray, predicted: np.ndarray, weights: Floats) -> Floats:
    """Return the rank correlation, ties at their mean rank; NaN as `pearson`. Each weighting ranks its clips anew."""
    true, said = validate_numbers(truth, predicted)
    columns = [
        _correlation(_moments(_ranks(t, weights), _ranks(s, weights), weights))
        for t, s in zip(true.T, said.T, strict=True)
    ]
    return np.mean(columns, axis=0)


@weighable
def concordance(truth: np.ndarray, predicted: np.ndarray, weights: Floats) -> Floats:
    """Return Lin's concordance: correlation that an offset or a wrong scale lowers (emotion dimensions).

    NaN for fewer than two clips, or where both sides are the same constant.
    """

    def measure(m: _Moments) -> Floats:
        spread = m.true_spread + m.said_spread + (m.true - m.said) ** 2
        return np.where(m.several, divide(2 * m.covariance, m.solid(spread)), np.nan)

    return _over_columns(truth, predicted, weights, measure)


@weighable
def mean_error(truth: np.ndarray, predicted: np.ndarray, weights: Floats) -> Floats:
    """Return the mean absolute error in the unit of the numbers."""
    true, said = validate_numbers(truth, predicted)
    return unit_mean(np.abs(true - said).mean(1), weights)


@weighable
def root_mean_square_error(truth: np.ndarray, predicted: np.ndarray, weights: Floats) -> Floats:
    """Return the root mean square error in the unit of the numbers."""
    return _over_columns(truth, predicted, weights, lambda m: np.sqrt(m.error_square))


@weighable
def pitch_accuracy(
    truth: np.ndarray, predicted: np.ndarray, weights: Floats, tolerance: float = HALF_SEMITONE
) -> Floats:
    """Return the share of pitches less than `tolerance` semitones off (`mir_eval`'s raw pitch accuracy).

    Args:
        truth: `(n,)` semitones (MIDI numbers, may be fractions).
        predicted: `(n,)` semitones.
        weights: `(R, n)`; None: each clip once.
        tolerance: in semitones.

    Raises:
        ConfigError: shapes differ, a number is not finite, or the tolerance is not positive.
    """
    return unit_mean(pitch_hits(truth, predicted, tolerance), weights)


@weighable
def chroma_accuracy(
    truth: np.ndarray, predicted: np.ndarray, weights: Floats, tolerance: float = HALF_SEMITONE
) -> Floats:
    """Return the share of pitches less than `tolerance` semitones off, any number of octaves forgiven.

    Arguments, result and errors are those of `pitch_accuracy`.
    """
    return unit_mean(pitch_hits(truth, predicted, tolerance, chroma=True), weights)


def pitch_hits(
    truth: np.ndarray, predicted: np.ndarray, tolerance: float = HALF_SEMITONE, *, chroma: bool = False
) -> Floats:
    """Return 1 for each pitch that is right and 0 for the others `(n,)`; see `pitch_accuracy`, `chroma_accuracy`."""
    true, said = validate_numbers(truth, predicted)
    if true.shape[1] != 1 or not tolerance > 0:
        raise ConfigError(f"{true.shape[1]} pitches a clip, tolerance {tolerance}; expected 1, and semitones > 0")
    off = said[:, 0] - true[:, 0]
    if chroma:
        off = off - OCTAVE * np.floor(off / OCTAVE + 0.5)
    hits: Floats = (np.abs(off) < tolerance).astype(np.float64)
    return hits


@dataclass(frozen=True)
class _Moments:
    """Weighted moments of one number a clip, each `(R,)`, after both sides were moved by the mean of the truth.

    `several`: more than one clip counts.
    """

    several: np.ndarray
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

    def solid(self, spread: Floats) -> Floats:
        """Return a spread, or 0 where it is rounding: one clip drawn several times must not pass for two."""
        return np.where(spread > 1e-13 * (self.true_square + self.said_square), spread, 0.0)


def _over_columns(
    truth: np.ndarray, predicted: np.ndarray, weights: Floats, measure: Callable[[_Moments], Floats]
) -> Floats:
    true, said = validate_numbers(truth, predicted)
    columns = []
    for t, s in zip(true.T, said.T, strict=True):
        # Squares of large numbers that differ little (frequencies, years) would lose their digits.
        centre = t.mean() if t.size else 0.0
        columns.append(measure(_moments((t - centre)[None], (s - centre)[None], weights)))
    return np.mean(columns, axis=0)


def _moments(true: Floats, said: Floats, weights: Floats) -> _Moments:
    count = weights.sum(1)

    def mean(values: Floats) -> Floats:
        return divide((weights * values).sum(1), count)

    products = (true, said, true**2, said**2, true * said, (true - said) ** 2)
    return _Moments(count > 1, *map(mean, products))


def _correlation(m: _Moments) -> Floats:
    return divide(m.covariance, np.sqrt(m.solid(m.true_spread) * m.solid(m.said_spread)))


def _ranks(values: Floats, weights: Floats) -> Floats:
    """Mean rank of each clip among the drawn ones `(R, n)`."""
    if not values.size:
        return np.zeros_like(weights)
    order = np.argsort(values, kind="stable")
    first = np.append(0, tie_ends(values[order])[:-1] + 1)
    sums = np.add.reduceat(weights[:, order], first, axis=1)
    middle = np.cumsum(sums, axis=1) - sums + (sums + 1) / 2
    ranks = np.empty_like(weights)
    ranks[:, order] = np.repeat(middle, np.diff(np.append(first, values.size)), axis=1)
    # Ranks are centred for the same reason as values; any constant serves.
    return ranks - weights.sum(1, keepdims=True) / 2
