"""Which of two encoders (or probes) is better, task by task and over tasks; and whether ranks are stable."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from auricle.errors import ConfigError, CorpusError
from auricle.metrics.catalogue import METRICS
from auricle.results.book import Block, Condition, Found, ResultBook
from auricle.results.compare import compare
from auricle.results.ranks import (
    Ranking,
    holm,
    least_tasks,
    mean_tau,
    rank_systems,
    sign_test,
    signed_rank,
)

Axis = Literal["encoder", "probe"]


@dataclass(frozen=True)
class Pair:
    """One paired comparison on the same test units.

    Attributes:
        condition: task, metric, corpus and protocol of both.
        reader: the probe that read both encoders (or the encoder that both probes read).
        first: value of the first.
        second: value of the second.
        gain: how much better the first is, in the metric's own unit: positive is better, also where lower values are.
        low: lower end of the gain's interval.
        high: its upper end.
        p: two-sided p-value (see `Difference`); NaN where there is no interval.
        p_holm: the same, adjusted for the number of comparisons.
        trouble: why there is no interval, "" if there is one.
    """

    condition: Condition
    reader: str
    first: float
    second: float
    gain: float
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    p_holm: float = math.nan
    trouble: str = ""

    @property
    def clear(self) -> bool:
        """True where the interval excludes zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class OverTasks:
    """A test over tasks.

    Attributes:
        name: which gains were tested, in words.
        tasks: how many.
        wins: on how many the first was better.
        losses: on how many the second was.
        gain: mean gain as a share of each metric's range.
        p: exact two-sided p-value; None where tasks are too few for any outcome to be below 0.05.
        test: `Wilcoxon signed-rank` or `sign test`.
        words: what a reader must know.
    """

    name: str
    tasks: int
    wins: int
    losses: int
    gain: float
    p: float | None
    test: str
    words: str


@dataclass(frozen=True)
class Comparison:
    """Two encoders, or two probes.

    Attributes:
        axis: what is compared.
        first: name of the first.
        second: of the second.
        pairs: one comparison a task and reader.
        over_tasks: tests over tasks.
        notes: what a reader must know.
        confidence: coverage of the pairs' intervals.
    """

    axis: Axis
    first: str
    second: str
    pairs: tuple[Pair, ...]
    over_tasks: tuple[OverTasks, ...]
    notes: tuple[str, ...]
    confidence: float


def compare_results(
    book: ResultBook,
    first: str,
    second: str,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Compare two encoders by every probe that read both, or two probes by every encoder that both read.

    Args:
        book: the results.
        first: name, fingerprint, role or pattern of an encoder; or name of a probe.
        second: of the other.
        resamples: bootstrap samples of each pair.
        confidence: coverage of the intervals.
        seed: of the bootstrap.

    Raises:
        ConfigError: a name fits nothing or several encoders, or both are the same.
        CorpusError: the two share no task, metric, corpus and protocol.
    """
    probes = {f.result.probe for f in book.found}
    axis: Axis = "probe" if first in probes and second in probes else "encoder"
    one, two = (first, second) if axis == "probe" else (book.encoder(first), book.encoder(second))
    labels = book.labels()
    names = (first, second) if axis == "probe" else (labels[one], labels[two])
    if one == two:
        raise ConfigError(f"{first!r} and {second!r} are the same {axis}; a comparison needs two")
    pairs = []
    for block in book.blocks():
        for reader in block.encoders if axis == "probe" else block.probes:
            keys = [(reader, name) if axis == "probe" else (name, reader) for name in (one, two)]
            cells = [block.cells.get(key) for key in keys]
            if cells[0] is not None and cells[1] is not None:
                shown = labels[reader] if axis == "probe" else reader
                pairs.append(_pair(block.condition, shown, cells[0], cells[1], resamples, confidence, seed))
    if not pairs:
        raise CorpusError(
            f"{names[0]} and {names[1]} share no task with the same metric, corpus and protocol (and the same "
            f"{'probe' if axis == 'encoder' else 'encoder'}): evaluate both on one task first"
        )
    adjusted = iter(holm([p.p for p in pairs if math.isfinite(p.p)]))
    pairs = [replace(p, p_holm=next(adjusted)) if math.isfinite(p.p) else p for p in pairs]
    notes = [
        f"gain: {names[0]} minus {names[1]}, turned where lower is better: positive is better",
        f"intervals: {confidence:.0%}, paired bootstrap with {resamples} draws of the same test units; they do not "
        "cover other training clips",
    ]
    if len(pairs) > 1:
        notes.append(f"p (Holm) is adjusted for {len(pairs)} comparisons")
    return Comparison(axis, *names, tuple(pairs), tuple(_over_tasks(pairs)), tuple(notes), confidence)


def _pair(
    condition: Condition, reader: str, first: Found, second: Found, resamples: int, confidence: float, seed: int
) -> Pair:
    a, b = first.result.value, second.result.value
    plain = Pair(condition, reader, a, b, condition.sign * (a - b))
    try:
        found = compare(
            first.result,
            second.result,
            first.folder,
            second.folder,
            resamples=resamples,
            confidence=confidence,
            seed=seed,
        )
    except (CorpusError, ConfigError) as error:
        # One pair without its predictions does not take the others' comparison away; it says so itself.
        return replace(plain, trouble=str(error))
    low, high = sorted((condition.sign * found.interval.low, condition.sign * found.interval.high))
    return replace(plain, low=low, high=high, p=found.p)


def _share(condition: Condition, gain: float) -> float:
    """Return a gain as a share of the metric's range, NaN where it has none: then gains of tasks don't compare."""
    info = METRICS.get(condition.metric)
    if condition.unit == "%":
        return gain
    return gain / (info.high - info.low) if info is not None and math.isfinite(info.high - info.low) else math.nan


def _over_tasks(pairs: Sequence[Pair]) -> list[OverTasks]:
    """Test over tasks: all readers together (their mean gain a task), and each reader that has tasks enough."""
    readers = list(dict.fromkeys(p.reader for p in pairs))
    groups = [("mean of all shared readers", list(pairs))]
    if len(readers) > 1:
        groups += [(reader, [p for p in pairs if p.reader == reader]) for reader in readers]
    else:
        groups = [(readers[0], list(pairs))]
    tested = []
    for name, mine in groups:
        by_task: dict[Condition, list[Pair]] = {}
        for pair in mine:
            if math.isfinite(pair.gain):
                by_task.setdefault(pair.condition, []).append(pair)
        if not by_task:
            continue
        signs = [float(np.mean([p.gain for p in each])) for each in by_task.values()]
        shares = [_share(c, gain) for c, gain in zip(by_task, signs, strict=True)]
        tested.append(_tested(name, list(by_task), signs, shares))
    return tested


def _tested(name: str, conditions: list[Condition], signs: list[float], shares: list[float]) -> OverTasks:
    known = [s for s in shares if math.isfinite(s)]
    # Gains in semitones and in per cent have no common order of size: then only their signs count.
    ranked = len(known) == len(shares)
    wins, losses = sum(s > 0 for s in signs), sum(s < 0 for s in signs)
    used = wins + losses
    words = []
    if not ranked:
        left = [c.name for c, s in zip(conditions, shares, strict=True) if not math.isfinite(s)]
        words.append(f"signs only: {', '.join(left)} has a metric without a range, whose gains can't be ranked")
    need = least_tasks()
    enough = used >= need
    if not enough:
        words.append(
            f"{used} tasks with a difference are too few: even if one side won all of them, p could not fall below "
            f"0.05; that takes {need}"
        )
    corpora = len({c.corpus_fingerprint for c in conditions})
    if corpora < len(conditions):
        words.append(f"the {len(conditions)} tasks stand on {corpora} corpora and are not independent evidence")
    p = (signed_rank(known) if ranked else sign_test(signs)) if enough else None
    return OverTasks(
        name,
        len(conditions),
        wins,
        losses,
        float(np.mean(known)) if known else math.nan,
        p,
        "Wilcoxon signed-rank" if ranked else "sign test",
        "; ".join(words),
    )


@dataclass(frozen=True)
class RankTable:
    """Average ranks of encoders (or probes) over tasks, and how far ranks agree.

    Attributes:
        axis: what is ranked.
        names: of the systems ranked.
        tasks: names of the tasks that took part.
        ranking: the ranks; None where there is nothing to rank.
        stable_names: of what the ranks were compared between (probes, where encoders are ranked).
        tau: `(m, m)` mean Kendall tau of the ranks of the systems under each two of `stable_names`.
        counts: `(m, m)` tasks behind each tau.
        notes: what a reader must know.
    """

    axis: Axis
    names: tuple[str, ...]
    tasks: tuple[str, ...]
    ranking: Ranking | None
    stable_names: tuple[str, ...]
    tau: NDArray[np.float64]
    counts: NDArray[np.int64]
    notes: tuple[str, ...]

    @property
    def mean_tau(self) -> float:
        """Mean of the taus of different columns, NaN where there is none."""
        above = self.tau[np.triu_indices(len(self.stable_names), 1)]
        defined = above[np.isfinite(above)]
        return float(defined.mean()) if defined.size else math.nan


def rank_results(book: ResultBook, axis: Axis, *, seed: int = 0) -> RankTable:
    """Rank encoders (or probes) over tasks, each task once, with the mean over the probes (encoders) that all share.

    Args:
        book: the results.
        axis: what to rank.
        seed: of Friedman's permutations.
    """
    labels = book.labels()
    blocks = book.blocks()
    encoders = list(dict.fromkeys(e for b in blocks for e in b.encoders))
    probes = list(dict.fromkeys(p for b in blocks for p in b.probes))
    systems, readers = (encoders, probes) if axis == "encoder" else (probes, encoders)
    table = np.full((len(blocks), len(systems), len(readers)), math.nan)
    for n, block in enumerate(blocks):
        for (encoder, probe), found in block.cells.items():
            system, reader = (encoder, probe) if axis == "encoder" else (probe, encoder)
            table[n, systems.index(system), readers.index(reader)] = block.condition.sign * found.result.value
    tau, counts = mean_tau(table)
    shown = [labels[s] for s in systems] if axis == "encoder" else systems
    stable = readers if axis == "encoder" else [labels[r] for r in readers]
    values, rows, kept, notes = _complete(table, blocks, shown)
    if len(systems) == 2:
        notes.append(f"two {axis}s only agree or disagree in rank: no tau")
    if not counts[np.triu_indices(len(readers), 1)].any() and len(readers) > 1 and len(systems) > 2:
        notes.append("no task has three ranked in common: no tau")
    ranking = rank_systems(values, seed=seed) if values.size and len(kept) > 1 else None
    if ranking is None:
        notes.append(f"nothing to rank: no two {axis}s share a task")
    else:
        if ranking.p is None:
            notes.append(f"{ranking.tasks} task(s) of {len(kept)} {axis}s are too few for Friedman's test: no p-value")
        if ranking.hopeless:
            notes.append(
                f"with {ranking.tasks} task(s) the critical difference {ranking.difference:.2f} is no less than the "
                f"largest that {len(kept)} ranks can have ({len(kept) - 1}): no two can be told apart by their ranks"
            )
        corpora = len({blocks[i].condition.corpus_fingerprint for i in rows})
        if corpora < len(rows):
            notes.append(f"the {len(rows)} tasks stand on {corpora} corpora and are not independent evidence")
    tasks = tuple(blocks[i].condition.name for i in rows)
    return RankTable(
        axis, tuple(shown[i] for i in kept), tasks, ranking, tuple(stable), tau, counts, tuple(dict.fromkeys(notes))
    )


def _complete(
    table: NDArray[np.float64], blocks: Sequence[Block], names: Sequence[str]
) -> tuple[NDArray[np.float64], list[int], list[int], list[str]]:
    """Return values `(tasks, systems)` without gaps; what has most gaps is dropped first, and said."""
    rows, kept = list(range(len(blocks))), list(range(len(names)))
    dropped: list[str] = []
    defined = np.isfinite(table)
    while rows and kept:
        # A task serves if at least one reader read every system.
        serves = np.any(np.all(defined[np.ix_(rows, kept)], axis=1), axis=1)
        if serves.all():
            break
        seen = defined[np.ix_(rows, kept)].any(axis=2)
        gaps_of_tasks = 1 - seen.mean(1) + ~serves * 1e-6
        gaps_of_systems = 1 - seen.mean(0)
        if len(kept) > 2 and gaps_of_systems.max() > gaps_of_tasks.max():
            worst = kept.pop(int(gaps_of_systems.argmax()))
            dropped.append(names[worst])
        else:
            worst = rows.pop(int(gaps_of_tasks.argmax()))
            dropped.append(f"task {blocks[worst].condition.name}")
    notes = []
    if dropped:
        notes.append(f"not in the average ranks, which need every cell of a table: {', '.join(dropped)}")
    if not rows:
        return np.zeros((0, 0)), [], [], notes
    part = table[np.ix_(rows, kept)]
    shared = np.isfinite(part).all(1, keepdims=True)
    values = np.where(shared, part, 0.0).sum(2) / shared.sum(2)
    return values, rows, kept, notes
