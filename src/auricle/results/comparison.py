"""Which of two encoders (or probes) is better, task by task and over tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from auricle.config import nearest
from auricle.errors import ConfigError, CorpusError
from auricle.metrics.catalogue import METRICS
from auricle.results.book import Found, ResultBook
from auricle.results.conditions import Condition
from auricle.results.ranks import Axis, dependent, holm, least_tasks, sign_test, signed_rank
from auricle.results.scoring import compare


@dataclass(frozen=True)
class Pair:
    """One paired comparison on the same test units.

    Attributes:
        condition: task, metric, corpus and protocol of both.
        shared: the probe of both encoders (or the encoder of both probes).
        first: value of the first.
        second: value of the second.
        gain: how much better the first is, in the metric's own unit: positive is better, also where lower values are.
        low: lower end of the gain's interval.
        high: its upper end.
        p: two-sided p-value (see `Difference`); NaN where there is no interval.
        p_holm: p, adjusted for the number of comparisons.
        least_p: the smallest p that these test units can have; NaN where they have none.
        trouble: why there is no interval, "" if there is one.
    """

    condition: Condition
    shared: str
    first: float
    second: float
    gain: float
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    p_holm: float = math.nan
    least_p: float = math.nan
    trouble: str = ""

    @property
    def clear(self) -> bool:
        """True where the interval excludes zero: exactly where p is at most 1 - confidence."""
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
        words: caveats.
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
        pairs: one comparison for each task and shared probe (or encoder).
        over_tasks: tests over tasks.
        notes: caveats.
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
    confidence: float = 0.95,
) -> Comparison:
    """Compare two encoders by every probe that both have, or two probes by every encoder that both have.

    Args:
        book: the results.
        first: name, fingerprint, role or pattern of an encoder; or name of a probe.
        second: of the other.
        confidence: coverage of the intervals.

    Raises:
        ConfigError: a name fits nothing or several encoders, or both are the same.
        CorpusError: the two share no task, metric, corpus and protocol.

    Examples:
        >>> import auricle
        >>> book = auricle.ResultBook.collect(["runs/mine"])  # doctest: +SKIP
        >>> found = auricle.compare_results(book, "linear", "knn")  # doctest: +SKIP
    """
    probes = {f.result.probe for f in book.found}
    axis: Axis = "probe" if first in probes and second in probes else "encoder"
    labels = book.labels()
    for name, other in ((first, second), (second, first)):
        if name in probes and other not in probes and name not in labels.values():
            raise ConfigError(
                f"{name!r} is a probe and {other!r} is none; compare two probes or two encoders{nearest(other, probes)}"
            )
    one, two = (first, second) if axis == "probe" else (book.encoder(first), book.encoder(second))
    names = (first, second) if axis == "probe" else (labels[one], labels[two])
    if one == two:
        raise ConfigError(f"{first!r} and {second!r} are the same {axis}; a comparison needs two")
    pairs = []
    for block in book.blocks():
        for other in block.encoders if axis == "probe" else block.probes:
            keys = [(other, name) if axis == "probe" else (name, other) for name in (one, two)]
            cells = [block.cells.get(key) for key in keys]
            if cells[0] is not None and cells[1] is not None:
                shared = labels[other] if axis == "probe" else other
                pairs.append(pair_of(block.condition, shared, cells[0], cells[1], confidence))
    if not pairs:
        raise CorpusError(
            f"{names[0]} and {names[1]} share no task with the same metric, corpus and protocol (and the same "
            f"{'probe' if axis == 'encoder' else 'encoder'}): evaluate both on one task first"
        )
    adjusted = iter(holm([p.p for p in pairs if math.isfinite(p.p)]))
    pairs = [replace(p, p_holm=next(adjusted)) if math.isfinite(p.p) else p for p in pairs]
    notes = [
        f"gain: {names[0]} minus {names[1]}, with the sign changed where lower is better: positive is better",
        f"intervals ({confidence:.0%}) and p: flipped signs of the gains of test sources, or of clips where the corpus "
        "states no sources; they do not cover other training clips",
    ]
    tested = [p for p in pairs if math.isfinite(p.p)]
    if len(tested) > 1:
        notes.append(f"p (Holm) is adjusted for {len(tested)} comparisons")
        notes += _out_of_reach(tested, 1 - confidence)
    return Comparison(axis, *names, tuple(pairs), tuple(_over_tasks(pairs)), tuple(notes), confidence)


def _out_of_reach(pairs: Sequence[Pair], level: float) -> list[str]:
    """Say which pairs can't have an adjusted p as small as a level, even if every pair has its smallest p."""
    # Two that do not differ at all have a p of one, and no smallest p.
    smallest = holm([p.least_p if math.isfinite(p.least_p) else p.p for p in pairs])
    found = [p for p, least in zip(pairs, smallest, strict=True) if math.isfinite(p.least_p) and least > level + 1e-12]
    listed = ", ".join(dict.fromkeys(p.condition.name for p in found))
    if not found:
        return []
    return [
        f"p (Holm) of {listed} is above {level:.2g} whatever the gains: with so few test units (or parts of them) p is "
        f"at least {min(p.least_p for p in found):.2g}, and the adjustment raises it further; to test "
        "these, compare fewer tasks or probes at once (--task, --probe)"
    ]


def pair_of(condition: Condition, shared: str, first: Found, second: Found, confidence: float = 0.95) -> Pair:
    """Compare two results of one condition; without predictions of both, the pair says what is missing."""
    a, b = first.result.value, second.result.value
    plain = Pair(condition, shared, a, b, condition.info.sign * (a - b))
    try:
        found = compare(first.result, second.result, first.folder, second.folder, confidence=confidence)
    except (CorpusError, ConfigError) as error:
        return replace(plain, trouble=str(error))
    low, high = sorted((condition.info.sign * found.interval.low, condition.info.sign * found.interval.high))
    trouble = "" if found.interval.known else found.interval.method
    return replace(plain, low=low, high=high, p=found.p, least_p=found.least_p, trouble=trouble)


def _share(condition: Condition, gain: float) -> float:
    """Return a gain as a share of the metric's range, NaN where it has none: then gains of tasks don't compare."""
    if condition.unit == "%":
        return gain
    span = condition.info.high - condition.info.low
    return gain / span if condition.metric in METRICS and math.isfinite(span) else math.nan


def _over_tasks(pairs: Sequence[Pair]) -> list[OverTasks]:
    """Test over tasks: the mean gain a task over all shared probes (or encoders), and each of these alone."""
    names = list(dict.fromkeys(p.shared for p in pairs))
    groups = [(name, [p for p in pairs if p.shared == name]) for name in names]
    if len(names) > 1:
        groups.insert(0, (f"mean of all {len(names)}", list(pairs)))
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
        without = [c.name for c, s in zip(conditions, shares, strict=True) if not math.isfinite(s)]
        words.append(f"signs only: {', '.join(without)} has a metric without a range, whose gains can't be ranked")
    need = least_tasks()
    enough = used >= need
    if not enough:
        words.append(
            f"{used} tasks with a difference are too few: even if one side won all of them, p could not fall below "
            f"0.05; that takes {need}"
        )
    words += dependent(conditions)
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
