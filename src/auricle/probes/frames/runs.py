"""Scores of frames as lasting sounds and onsets: the filter over time, runs above a threshold, peaks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, median_filter

HIT = 0.1  # seconds from an onset to its offset, as in MDB Drums


def smoothed(scores: NDArray[np.float32], rate: float, seconds: float) -> NDArray[np.float32]:
    """Return scores `(T, C)` through a median filter over time; its length is the nearest odd number of frames."""
    size = odd_frames(rate, seconds)
    if size == 1 or len(scores) == 0:
        return scores
    filtered: NDArray[np.float32] = median_filter(scores, size=(size, 1), mode="nearest")
    return filtered


def odd_frames(rate: float, seconds: float) -> int:
    """Return the odd number of frames that is nearest to a length of time."""
    return max(1, 2 * round((seconds * rate - 1) / 2) + 1)


def active_runs(
    scores: NDArray[np.float32], threshold: Sequence[float] | NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return class, first frame and end of each run of frames `(T, C)` above the threshold of its class, by class."""
    active = np.zeros((len(scores) + 2, scores.shape[1]), dtype=np.int8)
    active[1:-1] = scores > np.asarray(threshold, dtype=np.float32)
    change = np.diff(active, axis=0)
    column, begin = np.nonzero(change.T == 1)
    return column, begin, np.nonzero(change.T == -1)[1]


def peaks(
    scores: NDArray[np.float32], threshold: Sequence[float] | NDArray[np.float32], reach: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return frame and class of each peak of `(T, C)`: above the threshold, and highest of `reach` frames around."""
    peak = (scores == maximum_filter1d(scores, size=2 * reach + 1, axis=0, mode="nearest")) & (
        scores > np.asarray(threshold, dtype=np.float32)
    )
    # Equal neighbours are one peak.
    peak[1:] &= ~(peak[:-1] & (scores[1:] == scores[:-1]))
    frame, column = np.nonzero(peak)
    return frame, column
