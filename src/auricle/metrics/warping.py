"""Dynamic time warping of many pairs of sequences at once.

The path starts at both beginnings, ends at both ends and steps by one frame in one or both sequences. Of equally cheap
predecessors the diagonal one is taken, then the one in the second sequence, then the one in the first: the length of
the path, by which costs are often divided, depends on that.

Letters in shapes: B pairs, N and M frames of the longest sequences.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from auricle.errors import ConfigError
from auricle.metrics.weights import Floats

Ints = NDArray[np.int64]


def warping_cost(distances: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[Floats, Ints]:
    """Return the cost of the cheapest path of each pair, and the number of frame pairs on it.

    Args:
        distances: `(B, N, M)` between frames of both sequences; values beyond the lengths are ignored.
        first: `(B,)` lengths of the first sequences, 1 ... N.
        second: `(B,)` lengths of the second sequences, 1 ... M.

    Returns:
        `(B,)` costs and `(B,)` path lengths.

    Raises:
        ConfigError: shapes differ, lengths out of range, or a distance within the lengths is not finite.
    """
    distances = np.asarray(distances, dtype=np.float64)
    first, second = np.asarray(first), np.asarray(second)
    if distances.ndim != 3 or not first.shape == second.shape == distances.shape[:1]:
        raise ConfigError(
            f"distances of shape {distances.shape}, lengths {first.shape} and {second.shape}; expected (B, N, M), "
            "(B,) and (B,)"
        )
    pairs, rows, columns = distances.shape
    if not pairs:
        return np.zeros(0), np.zeros(0, dtype=np.int64)
    if min(first.min(), second.min()) < 1 or first.max() > rows or second.max() > columns:
        raise ConfigError(f"lengths up to {first.max()} and {second.max()}; expected 1 to {rows} and 1 to {columns}")
    within = (np.arange(rows) < first[:, None])[:, :, None] & (np.arange(columns) < second[:, None])[:, None, :]
    if not np.isfinite(distances[within]).all():
        raise ConfigError("distances between frames are not finite; look for NaN or infinite embeddings")
    # Index i + 1, so that index 0 is the border; one anti-diagonal (i + j = s) after the other.
    cost, length = np.full((2, pairs, rows + 1), math.inf), np.zeros((2, pairs, rows + 1), dtype=np.int64)
    cost[1, :, 0] = 0.0  # before both beginnings
    end, steps = np.full(pairs, math.nan), np.zeros(pairs, dtype=np.int64)
    for s in range(rows + columns - 1):
        i = np.arange(max(0, s - columns + 1), min(rows, s + 1))
        # cost[0] holds diagonal s - 1, cost[1] holds s - 2.
        choices = np.stack([cost[1][:, i], cost[0][:, i + 1], cost[0][:, i]])
        lengths = np.stack([length[1][:, i], length[0][:, i + 1], length[0][:, i]])
        best = np.argmin(choices, axis=0)[None]
        new_cost, new_length = np.full((pairs, rows + 1), math.inf), np.zeros((pairs, rows + 1), dtype=np.int64)
        new_cost[:, i + 1] = np.take_along_axis(choices, best, 0)[0] + distances[:, i, s - i]
        new_length[:, i + 1] = np.take_along_axis(lengths, best, 0)[0] + 1
        done = np.flatnonzero(first + second - 2 == s)
        end[done], steps[done] = new_cost[done, first[done]], new_length[done, first[done]]
        cost, length = np.stack([new_cost, cost[0]]), np.stack([new_length, length[0]])
    return end, steps
