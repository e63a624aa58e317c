"""Numbers predicted from sound (pitch, loudness, arousal): errors, explained variance, correlations, pitch accuracy.

Through scikit-learn and scipy. `resampled_regression.py` holds the same metrics under many weightings at once.

Letters in shapes: n clips, K numbers a clip. Several numbers a clip are scored one by one and averaged.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import stats
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from auricle.errors import ConfigError
from auricle.metrics.classification import Floats

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


def r2(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the share of variance explained, negative where the mean would do better.

    NaN for fewer than two clips, and for true values that are all equal (there is no variance to explain).
    """
    return _columns(truth, predicted, _r2)


def pearson(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the correlation; NaN for fewer than two clips, or where one side is constant."""
    return _columns(truth, predicted, lambda t, p: stats.pearsonr(t, p).statistic if _varies(t, p) else math.nan)


def spearman(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the rank correlation, ties at their mean rank; NaN as `pearson`."""
    return _columns(truth, predicted, lambda t, p: stats.spearmanr(t, p).statistic if _varies(t, p) else math.nan)


def concordance(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return Lin's concordance: correlation that an offset or a wrong scale lowers (emotion dimensions).

    NaN for fewer than two clips, or where both sides are the same constant.
    """
    return _columns(truth, predicted, _concordance)


def mean_error(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the mean absolute error in the unit of the numbers; NaN without clips."""
    return _columns(truth, predicted, lambda t, p: mean_absolute_error(t, p) if t.size else math.nan)


def root_mean_square_error(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the root mean square error in the unit of the numbers; NaN without clips."""
    return _columns(truth, predicted, lambda t, p: root_mean_squared_error(t, p) if t.size else math.nan)


def pitch_accuracy(truth: np.ndarray, predicted: np.ndarray, tolerance: float = HALF_SEMITONE) -> float:
    """Return the share of pitches less than `tolerance` semitones off (`mir_eval`'s raw pitch accuracy).

    Args:
        truth: `(n,)` semitones (MIDI numbers, may be fractions).
        predicted: `(n,)` semitones.
        tolerance: in semitones.

    Returns:
        The share; NaN without clips.

    Raises:
        ConfigError: shapes differ, a number is not finite, or the tolerance is not positive.
    """
    return _share(pitch_hits(truth, predicted, tolerance))


def chroma_accuracy(truth: np.ndarray, predicted: np.ndarray, tolerance: float = HALF_SEMITONE) -> float:
    """Return the share of pitches less than `tolerance` semitones off, any number of octaves forgiven.

    Arguments, result and errors are those of `pitch_accuracy`.
    """
    return _share(pitch_hits(truth, predicted, tolerance, chroma=True))


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


def _columns(truth: np.ndarray, predicted: np.ndarray, measure: Callable[[Floats, Floats], float]) -> float:
    true, said = validate_numbers(truth, predicted)
    return float(np.mean([measure(t, p) for t, p in zip(true.T, said.T, strict=True)]))


def _r2(truth: Floats, predicted: Floats) -> float:
    return float(r2_score(truth, predicted)) if truth.size > 1 and np.ptp(truth) > 0 else math.nan


def _varies(truth: Floats, predicted: Floats) -> bool:
    return bool(truth.size > 1 and np.ptp(truth) > 0 and np.ptp(predicted) > 0)


def _concordance(truth: Floats, predicted: Floats) -> float:
    if truth.size < 2:
        return math.nan
    off, true, said = truth.mean() - predicted.mean(), truth - truth.mean(), predicted - predicted.mean()
    spread = (true**2).mean() + (said**2).mean() + off**2
    return float(2 * (true * said).mean() / spread) if spread > 0 else math.nan


def _share(hits: Floats) -> float:
    return float(hits.mean()) if hits.size else math.nan
