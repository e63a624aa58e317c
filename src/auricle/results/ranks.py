"""Tests over tasks and ranks, exact where tasks are few: Demšar, "Statistical comparisons of classifiers" (JMLR 2006).

A test that can't say yes is not run: with few tasks no outcome has a small p-value, and then there is none to print.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, rankdata, studentized_range

from auricle.errors import ConfigError

LEVEL = 0.05
DRAWS = 9999


def signed_rank(gains: Sequence[float]) -> float:
    """Return the exact two-sided p-value of Wilcoxon's signed-rank test.

    Zeros are dropped and equal magnitudes share their mean rank; the distribution is that of all 2^n signs, also with
    ties, where tables do not hold.

    Args:
        gains: one paired difference a task.

    Raises:
        ConfigError: a gain is not finite.
    """
    array = np.asarray(gains, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ConfigError(f"a signed-rank test needs finite differences, found {array.tolist()}")
    array = array[array != 0]
    if not array.size:
        return 1.0
    # Mean ranks are multiples of a half.
    doubled = np.rint(2 * rankdata(np.abs(array))).astype(np.int64)
    ways = np.zeros(int(doubled.sum()) + 1)
    ways[0] = 1.0
    for rank in doubled:
        shifted = np.zeros_like(ways)
        shifted[rank:] = ways[: len(ways) - rank]
        ways = (ways + shifted) / 2
    up = int(doubled[array > 0].sum())
    lower = min(up, len(ways) - 1 - up)
    return float(min(1.0, 2 * ways[: lower + 1].sum()))


def least_tasks(level: float = LEVEL) -> int:
    """Return how many tasks it takes until a signed-rank (or sign) test can have a p-value below `level`: 6 for .05."""
    return math.floor(1 + math.log2(1 / level)) + 1


def sign_test(gains: Sequence[float]) -> float:
    """Return the exact two-sided p-value of the sign test; zeros are dropped."""
    wins, losses = sum(g > 0 for g in gains), sum(g < 0 for g in gains)
    n = wins + losses
    tail = sum(math.comb(n, i) for i in range(min(wins, losses) + 1)) / 2**n
    return min(1.0, 2 * tail)


def holm(p: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values: among several comparisons, the chance that any is wrongly called clear."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted, worst = [math.nan] * len(p), 0.0
    for place, i in enumerate(order):
        worst = max(worst, min(1.0, (len(p) - place) * p[i]))
        adjusted[i] = worst
    return adjusted


@dataclass(frozen=True)
class Ranking:
    """Average ranks of k systems over n tasks, 1 is best.

    Attributes:
        ranks: `(k,)` mean rank of each system.
        tasks: n.
        statistic: Friedman's chi-squared, corrected for ties; NaN for less than two tasks.
        p: of all systems being alike, by permuting within each task; None where no outcome could be below 0.05.
        difference: Nemenyi's critical difference of two mean ranks at 0.05.
    """

    ranks: tuple[float, ...]
    tasks: int
    statistic: float
    p: float | None
    difference: float

    @property
    def hopeless(self) -> bool:
        """True where even the first and the last of all tasks could not be told apart."""
        return self.difference >= len(self.ranks) - 1


def rank_systems(values: np.ndarray, *, seed: int = 0) -> Ranking:
    """Rank systems on each task and average.

    Args:
        values: `(n, k)` one row a task; higher is better.
        seed: of the permutations.

    Raises:
        ConfigError: no tasks, less than two systems, or a value that is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or not len(values) or values.shape[1] < 2 or not np.isfinite(values).all():
        raise ConfigError(f"ranks need finite values of shape (tasks, systems >= 2), found {values.shape}")
    n, k = values.shape
    ranks = rankdata(-values, axis=1)
    statistic = _friedman(ranks)
    # All orders of k systems, the first task's order given.
    fewest = 1 / math.factorial(k) ** (n - 1)
    p = None
    if fewest < LEVEL and math.isfinite(statistic):
        generator = np.random.default_rng(seed)
        drawn = [_friedman(generator.permuted(ranks, axis=1)) for _ in range(DRAWS)]
        p = (1 + sum(d >= statistic - 1e-9 for d in drawn)) / (1 + DRAWS)
    return Ranking(tuple(ranks.mean(0).tolist()), n, statistic, p, critical_difference(k, n))


def critical_difference(systems: int, tasks: int, level: float = LEVEL) -> float:
    """Return Nemenyi's critical difference of mean ranks: `q sqrt(k (k + 1) / 6 n)` (Demšar, section 3.2.2).

    `q` is the studentised range at infinitely many degrees of freedom, divided by the root of 2.
    """
    q = float(studentized_range.ppf(1 - level, systems, np.inf)) / math.sqrt(2)
    return q * math.sqrt(systems * (systems + 1) / (6 * tasks))


def _friedman(ranks: NDArray[np.float64]) -> float:
    """Friedman's chi-squared of ranks `(n, k)`, corrected for ties."""
    n, k = ranks.shape
    spread = ((ranks - (k + 1) / 2) ** 2).sum()
    if n < 2 or spread == 0:
        return math.nan
    between = n * ((ranks.mean(0) - (k + 1) / 2) ** 2).sum()
    return float(n * (k - 1) * between / spread)


def mean_tau(values: np.ndarray) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return how alike columns order rows: Kendall's tau-b of each two columns, mean over tasks.

    Args:
        values: `(n, rows, columns)`; NaN where a value is missing. A task counts for two columns if at least three
            rows have both: two rows only agree or disagree.

    Returns:
        `(columns, columns)` mean tau (NaN where no task counts), and how many tasks counted.
    """
    values = np.asarray(values, dtype=np.float64)
    columns = values.shape[2]
    total, count = np.zeros((columns, columns)), np.zeros((columns, columns), dtype=np.int64)
    for task in values:
        for a in range(columns):
            for b in range(columns):
                both = np.isfinite(task[:, a]) & np.isfinite(task[:, b])
                if both.sum() < 3:
                    continue
                tau = kendalltau(task[both, a], task[both, b]).statistic
                # Undefined where a column gives all rows the same value.
                if np.isfinite(tau):
                    total[a, b] += tau
                    count[a, b] += 1
    mean = np.divide(total, count, out=np.full(total.shape, math.nan), where=count > 0)
    return mean, count
