"""Ranks and tests over tasks, exact where tasks are few: Demšar, "Statistical comparisons of classifiers" (JMLR 2006).

With few tasks no outcome has a small p-value; then no test is run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, rankdata, studentized_range

from auricle.errors import ConfigError
from auricle.results.book import ResultBook
from auricle.results.conditions import Condition
from auricle.words import counted

Axis = Literal["encoder", "probe"]

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
    """Return Holm's adjusted p-values: the chance that any of several comparisons is wrongly called significant."""
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
        """True where not even ranks that are first and last on every task could differ significantly."""
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
            for b in range(a, columns):
                both = np.isfinite(task[:, a]) & np.isfinite(task[:, b])
                if both.sum() < 3:
                    continue
                tau = kendalltau(task[both, a], task[both, b]).statistic
                # Undefined where a column gives all rows the same value.
                if np.isfinite(tau):
                    total[a, b] = total[b, a] = total[a, b] + tau
                    count[a, b] = count[b, a] = count[a, b] + 1
    return np.divide(total, count, out=np.full(total.shape, math.nan), where=count > 0), count


@dataclass(frozen=True)
class RankTable:
    """Average ranks of encoders (or probes) over tasks, and how far ranks agree.

    Attributes:
        axis: what is ranked.
        names: of the systems ranked.
        tasks: names of the tasks that the ranks are of.
        ranking: the ranks; None where there is nothing to rank.
        stable_names: of what the ranks were compared between (probes, where encoders are ranked).
        tau: `(m, m)` mean Kendall tau of the ranks of the systems under each two of `stable_names`.
        counts: `(m, m)` tasks behind each tau.
        tau_notes: caveats of the taus.
        notes: caveats of the ranks.
    """

    axis: Axis
    names: tuple[str, ...]
    tasks: tuple[str, ...]
    ranking: Ranking | None
    stable_names: tuple[str, ...]
    tau: NDArray[np.float64]
    counts: NDArray[np.int64]
    tau_notes: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def mean_tau(self) -> float:
        """Mean of the taus of different columns, NaN where there is none."""
        above = self.tau[np.triu_indices(len(self.stable_names), 1)]
        defined = above[np.isfinite(above)]
        return float(defined.mean()) if defined.size else math.nan


def rank_results(book: ResultBook, axis: Axis, *, seed: int = 0) -> RankTable:
    """Rank the encoders (or probes) of a book over its tasks; see `rank_values`."""
    labels, blocks = book.labels(), book.blocks()
    cells = [
        (block.condition, labels[encoder], probe, found.result.value)
        for block in blocks
        for (encoder, probe), found in block.cells.items()
    ]
    return rank_values(cells, axis, seed=seed)


def rank_values(cells: Sequence[tuple[Condition, str, str, float]], axis: Axis, *, seed: int = 0) -> RankTable:
    """Rank encoders (or probes) over the tasks that all of them have, each task once.

    The value of a task is the mean over the probes (encoders) that all ranked ones have there. The notes count what is
    excluded, and say why: see `shared_values`.

    Args:
        cells: `(task, encoder, probe, value)` of each result, at most one value of each three.
        axis: what to rank.
        seed: of Friedman's permutations.
    """
    conditions = list(dict.fromkeys(condition for condition, *_ in cells))
    encoders = list(dict.fromkeys(encoder for _, encoder, _, _ in cells))
    probes = list(dict.fromkeys(probe for _, _, probe, _ in cells))
    systems, others = (encoders, probes) if axis == "encoder" else (probes, encoders)
    table = np.full((len(conditions), len(systems), len(others)), math.nan)
    for condition, encoder, probe, value in cells:
        system, other = (encoder, probe) if axis == "encoder" else (probe, encoder)
        place = conditions.index(condition), systems.index(system), others.index(other)
        table[place] = condition.info.sign * value
    tau, counts = mean_tau(table)
    values, rows, kept = shared_values(table)
    notes = _excluded(table, rows, kept, axis, systems, [condition.name for condition in conditions])
    tau_notes = []
    if len(systems) == 2:
        tau_notes.append(f"two {axis}s only agree or disagree in rank: no tau")
    if not counts[np.triu_indices(len(others), 1)].any() and len(others) > 1 and len(systems) > 2:
        tau_notes.append("no task has three ranked in common: no tau")
    ranking = rank_systems(values, seed=seed) if values.size and len(kept) > 1 else None
    if ranking is None:
        notes.append(f"nothing to rank: no two {axis}s share a task")
    else:
        if ranking.p is None:
            notes.append(
                f"no p-value: too few tasks ({ranking.tasks}) of {counted(len(kept), axis)} for Friedman's test"
            )
        if ranking.hopeless:
            notes.append(
                f"with {counted(ranking.tasks, 'task')} the critical difference {ranking.difference:.2f} is no less "
                f"than the largest difference of {counted(len(kept), 'rank')} ({len(kept) - 1}): no two ranks can "
                "differ significantly"
            )
        notes += dependent([conditions[i] for i in rows])
    names, tasks = tuple(systems[i] for i in kept), tuple(conditions[i].name for i in rows)
    return RankTable(axis, names, tasks, ranking, tuple(others), tau, counts, tuple(tau_notes), tuple(notes))


def dependent(conditions: Sequence[Condition]) -> list[str]:
    """Return a note where several tasks are on one corpus."""
    corpora = len({condition.corpus_fingerprint for condition in conditions})
    if corpora == len(conditions):
        return []
    return [f"the {len(conditions)} tasks are on {counted(corpora, 'corpus')} and are not independent evidence"]


def _excluded(
    table: np.ndarray, rows: list[int], kept: list[int], axis: Axis, systems: list[str], tasks: list[str]
) -> list[str]:
    """Count the systems, tasks and values that the ranks are not of."""
    if not rows:
        return []
    defined = np.isfinite(table)
    has = defined.any(2)
    notes, other = [], "probe" if axis == "encoder" else "encoder"
    total = counted(len(tasks), "task")
    gone = [f"{name} ({has[:, x].sum()} of {total})" for x, name in enumerate(systems) if x not in kept]
    if gone:
        shared = "no task" if len(rows) == 1 else "fewer than two tasks"
        whom = "it" if len(gone) == 1 else "them"
        notes.append(
            f"{counted(len(gone), axis)} not ranked, since the others share {shared} with {whom}: {'; '.join(gone)}"
        )
    lost: dict[str, list[str]] = {}
    for y in (y for y in range(len(tasks)) if y not in rows):
        absent = "; ".join(systems[x] for x in kept if not has[y, x])
        lost.setdefault(f"no result of {absent}" if absent else f"no {other} that all have", []).append(tasks[y])
    if lost:
        listed = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in lost.items())
        notes.append(
            f"{len(tasks) - len(rows)} of {total} not counted, since not all ranked {axis}s have them: {listed}. "
            f"`auricle results --ranks --{axis} NAME ...` ranks the named {axis}s on all tasks that these share"
        )
    part = defined[np.ix_(rows, kept)]
    unused = int((part & ~part.all(1, keepdims=True)).sum())
    if unused:
        notes.append(
            f"{counted(unused, 'value')} not counted: of {other}s that not all ranked {axis}s have on the same task"
        )
    return notes


def shared_values(table: np.ndarray) -> tuple[NDArray[np.float64], list[int], list[int]]:
    """Return values without gaps: the mean over what all systems of a task share.

    Every system is kept as long as all share two tasks (one, where no two systems share two). Else those are dropped
    without which the others share most, of equals the one with the fewest tasks.

    Args:
        table: `(tasks, systems, others)`, NaN where a value is missing.

    Returns:
        `(kept tasks, kept systems)`, and the places of these tasks and systems.
    """
    defined = np.isfinite(table)
    owned = defined.any(2).sum(0)
    rows: list[int] = []
    kept = list(range(table.shape[1]))

    def complete(systems: list[int]) -> list[int]:
        # At least one probe (encoder) of a complete task has every system.
        return np.flatnonzero(defined[:, systems].all(1).any(1)).tolist()

    for least in (2, 1):
        kept = list(range(table.shape[1]))
        while len(kept) > 2 and len(complete(kept)) < least:
            gains = [(len(complete([k for k in kept if k != system])), -owned[system], system) for system in kept]
            kept.remove(max(gains)[2])
        rows = complete(kept)
        if len(rows) >= least:
            break
    if not rows:
        return np.zeros((0, 0)), [], []
    part = table[np.ix_(rows, kept)]
    shared = np.isfinite(part).all(1, keepdims=True)
    return np.where(shared, part, 0.0).sum(2) / shared.sum(2), rows, kept
