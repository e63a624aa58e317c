"""Results, comparisons and ranks as tables of text, the same for every output format."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from auricle.metrics.catalogue import described
from auricle.results.book import Block, Found, ResultBook
from auricle.results.caveats import BASELINE, constant_value, explained, leaks, marks, whose
from auricle.results.comparison import Comparison, OverTasks, Pair
from auricle.results.conditions import Condition
from auricle.results.ranks import LEVEL, RankTable
from auricle.results.record import ROLES, Result
from auricle.words import counted

NONE = "-"
# What the record of a constant prediction does not share with the result that holds it.
_CONSTANT: dict[str, Any] = {
    **{"role": "constant", "encoder_fingerprint": "", "seen": None, "low": math.nan, "high": math.nan, "seeds": 1},
    **{"tried": 0, "params": 0, "macs": 0, "seconds": 0.0, "leaks": "", "notes": "", "key": ""},
}


@dataclass(frozen=True)
class Sheet:
    """One table.

    Attributes:
        title: of the table.
        head: names of the columns.
        rows: cells as text.
        best: `(row, column)` of the cells in bold.
        notes: caveats.
        records: the same in full precision, one flat record a line, for machines.
        keys: how many leading columns name a row; a terminal repeats them where it shows the columns in parts.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]] = frozenset()
    notes: tuple[str, ...] = ()
    records: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    keys: int = 1


def list_sheets(book: ResultBook) -> list[Sheet]:
    """Return one sheet a condition: encoders by probes, what ignores the sound and controls first, the best in bold."""
    labels = book.labels()
    sheets = [_block_sheet(block, labels) for block in book.blocks()]
    if not sheets:
        return []
    return noted(sheets, book.notes)


def noted(sheets: Sequence[Sheet], notes: Iterable[str]) -> list[Sheet]:
    """Return the sheets with further notes below the last."""
    last = dataclasses.replace(sheets[-1], notes=(*sheets[-1].notes, *notes))
    return [*sheets[:-1], last]


def _block_sheet(block: Block, labels: dict[str, str]) -> Sheet:
    condition = block.condition
    probes = block.probes
    results = {key: found.result for key, found in block.cells.items()}
    roles = {encoder: r.role for (encoder, _), r in results.items()}
    encoders = sorted(block.encoders, key=lambda e: (ROLES.index(roles[e]), labels[e]))
    info = condition.info
    values = {key: info.sign * r.value for key, r in results.items() if math.isfinite(r.value)}
    top = max(values.values(), default=math.nan)
    constants = _constants(block)
    rows: list[tuple[str, ...]] = []
    for name, held in constants.items():
        rows.append((f"baseline: {name}", *(info.text(held[p][1]) if p in held else NONE for p in probes)))
    best = set()
    for y, encoder in enumerate(encoders, len(rows)):
        cells = []
        for x, probe in enumerate(probes, 1):
            key = (encoder, probe)
            cell = [interval_text(results[key]), marks(vars(results[key]))] if key in results else [NONE]
            cells.append(" ".join(cell).rstrip())
            if values.get(key) == top:
                best.add((y, x))
        rows.append((labels[encoder], *cells))
    records = [
        _record(cell, condition) | {"encoder": name, "value": value, **_CONSTANT}
        for name, held in constants.items()
        for cell, value in held.values()
    ]
    records += [_record(block.cells[e, p], condition) for e in encoders for p in probes if (e, p) in results]
    return Sheet(
        _title(condition),
        ("encoder", *probes),
        tuple(rows),
        frozenset(best),
        _about(block, results.values()),
        tuple(records),
    )


def _constants(block: Block) -> dict[str, dict[str, tuple[Found, float]]]:
    """Name of what ignores the sound -> probe -> a result that holds its value, and the value."""
    found: dict[str, dict[str, tuple[Found, float]]] = {}
    for (_, probe), cell in block.cells.items():
        constant = constant_value(vars(cell.result))
        if constant is not None:
            found.setdefault(constant[0], {}).setdefault(probe, (cell, constant[1]))
    return found


def _title(condition: Condition) -> str:
    protocol = "" if condition.protocol_name == "strict" else f" ({condition.protocol_name} protocol)"
    return f"{condition.name}: {condition.info.about}{protocol}"


def interval_text(result: Result) -> str:
    """Return a value with its interval, in the unit of its metric: `87.0 [82.1, 91.5]`."""
    info = described(result.metric, result.unit, result.better)
    ends = f" [{info.text(result.low)}, {info.text(result.high)}]" if math.isfinite(result.low) else ""
    return info.text(result.value) + ends


def _about(block: Block, results: Iterable[Any]) -> tuple[str, ...]:
    listed = list(results)
    first = listed[0]
    seeds = sorted({len(r.seeds) for r in listed})
    count = counted(seeds[0], "seed") if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
    test = "test clip" if first.type_name == "clips" else "test unit"
    kind = "" if first.type_name == "clips" else f" of {first.type_name}"
    lines = [f"{first.clips} of {counted(first.clips_total, test)}{kind}; {first.split}; mean over {count}"]
    for text, some in _by_interval(listed).items():
        named = "" if len(some) == len(listed) else f" ({whose([vars(r) for r in some], [vars(r) for r in listed])})"
        lines.append(text + named)
    lines += [BASELINE] * bool(_constants(block))
    lines += [f"{sign} {words}" for sign, words in explained(vars(r) for r in listed).items()]
    return (*lines, *block.notes)


def _by_interval(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Group results by the method of their intervals, or by the reason why there is none; in words."""
    found: dict[str, list[Result]] = {}
    for r in results:
        text = f"no interval: {r.interval}" if math.isnan(r.low) else f"intervals: {r.confidence:.0%}, {r.interval}"
        found.setdefault(text, []).append(r)
    return found


def _record(found: Found, condition: Condition) -> dict[str, Any]:
    r = found.result
    return {
        "task": r.task,
        "type": r.type_name,
        **_fields(r, "corpus corpus_fingerprint"),
        "protocol": r.protocol_name,
        "division": condition.protocol,
        **_fields(
            r, "encoder encoder_fingerprint features role seen probe metric unit better value low high confidence"
        ),
        "units": r.clips,
        "seeds": len(r.seeds),
        **_fields(r, "tried params macs seconds"),
        "leaks": "; ".join(leaks(vars(r))),
        "scheme": r.scheme,
        "notes": "; ".join(r.notes),
        **_fields(r, "made key"),
        "folder": str(found.folder),
    }


def _fields(held: Any, names: str) -> dict[str, Any]:
    return {name: getattr(held, name) for name in names.split()}


def compare_sheets(found: Comparison) -> list[Sheet]:
    """Return a sheet of pairs and a sheet of tests over tasks."""
    shared = "probe" if found.axis == "encoder" else "encoder"
    head = ("task", shared, "metric", "first", "second", "gain", "interval", "p", "p (Holm)")
    rows, best, notes = [], set(), [f"first: {found.first}; second: {found.second}", *found.notes]
    for y, pair in enumerate(found.pairs):
        rows.append(_pair_row(pair))
        if pair.clear:
            best.add((y, 5))
        if pair.trouble:
            notes.append(f"{pair.condition.name} with {pair.shared} has no interval: {pair.trouble}")
    if best:
        notes.append("bold: the interval excludes zero")
    pairs = Sheet(
        f"{found.first} against {found.second}",
        head,
        tuple(rows),
        frozenset(best),
        tuple(dict.fromkeys(notes)),
        tuple(_pair_record(pair, found) for pair in found.pairs),
        keys=2,
    )
    return [pairs, _test_sheet(found)]


def _pair_row(pair: Pair) -> tuple[str, ...]:
    c = pair.condition
    info = c.info
    low, high = info.text(pair.low, plus=True), info.text(pair.high, plus=True)
    return (
        c.name,
        pair.shared,
        c.metric + (" (lower is better)" if c.better == "lower" else ""),
        info.text(pair.first),
        info.text(pair.second),
        info.text(pair.gain, plus=True),
        f"[{low}, {high}]" if math.isfinite(pair.low) else NONE,
        p_text(pair.p),
        p_text(pair.p_holm),
    )


def _test_sheet(found: Comparison) -> Sheet:
    # One line names all that have too few tasks.
    shown: list[OverTasks] = []
    few: list[OverTasks] = []
    for place, test in enumerate(found.over_tasks):
        (shown if place == 0 or test.p is not None else few).append(test)
    notes = [f"{t.name}: {t.words}" for t in shown if t.words]
    if few:
        listed = ", ".join(f"{t.name} ({t.tasks})" for t in few)
        notes.append(f"too few tasks for a test of each alone (number of tasks): {listed}")
    notes.append("mean gain: in % of each metric's range; p is exact and two-sided")
    return Sheet(
        f"Over tasks: {found.first} against {found.second}",
        ("tested", "tasks", "better", "worse", "mean gain", "test", "p"),
        tuple(_test_row(t) for t in shown),
        frozenset(),
        tuple(notes),
        tuple(dataclasses.asdict(t) for t in found.over_tasks),
    )


def _test_row(t: OverTasks) -> tuple[str, ...]:
    gain = f"{100 * t.gain:+.1f}" if math.isfinite(t.gain) else NONE
    shown = "none: too few tasks" if t.p is None else p_text(t.p)
    return (t.name, str(t.tasks), str(t.wins), str(t.losses), gain, t.test, shown)


def _pair_record(pair: Pair, found: Comparison) -> dict[str, Any]:
    return {
        "task": pair.condition.name,
        "corpus_fingerprint": pair.condition.corpus_fingerprint,
        "protocol": pair.condition.protocol_name,
        **_fields(pair.condition, "metric unit better"),
        "shared": pair.shared,
        **_fields(found, "first second"),
        "first_value": pair.first,
        "second_value": pair.second,
        **_fields(pair, "gain low high"),
        "confidence": found.confidence,
        **_fields(pair, "p p_holm trouble"),
    }


def rank_sheets(tables: Sequence[RankTable]) -> list[Sheet]:
    """Return for each table a sheet of average ranks and one of rank stability."""
    sheets = []
    for table in tables:
        other = "probe" if table.axis == "encoder" else "encoder"
        sheets.append(_average_ranks(table))
        sheets.append(_stability(table, other))
    return sheets


def _average_ranks(table: RankTable) -> Sheet:
    ranking, notes = table.ranking, list(table.notes)
    rows: list[tuple[str, ...]] = []
    records: list[dict[str, Any]] = []
    if ranking is not None:
        order = sorted(range(len(table.names)), key=lambda i: ranking.ranks[i])
        first = ranking.ranks[order[0]]
        for i in order:
            apart = ranking.ranks[i] - first > ranking.difference
            rows.append((table.names[i], f"{ranking.ranks[i]:.2f}", "yes" if apart else "no"))
            records.append({table.axis: table.names[i], "mean_rank": ranking.ranks[i], "worse_than_first": apart})
        test = f"Friedman chi-squared {ranking.statistic:.2f}" if math.isfinite(ranking.statistic) else ""
        if ranking.p is not None:
            test += f", p = {p_text(ranking.p)} (permutations within tasks)"
        notes = [
            f"{counted(ranking.tasks, 'task')}: {', '.join(table.tasks)}",
            *([test] if test else []),
            f"Nemenyi's critical difference of two mean ranks at {LEVEL}: {ranking.difference:.2f}",
            "behind the first: by more than the critical difference",
            *notes,
        ]
    return Sheet(
        f"Average ranks of {table.axis}s (1 is best)",
        (table.axis, "mean rank", "behind the first"),
        tuple(rows),
        frozenset(),
        tuple(notes),
        tuple(records),
    )


def _stability(table: RankTable, other: str) -> Sheet:
    names = table.stable_names
    rows, records = [], []
    for y, name in enumerate(names):
        cells = []
        for x in range(len(names)):
            tau, count = float(table.tau[y, x]), int(table.counts[y, x])
            cells.append(NONE if x == y or not count else f"{tau:+.2f} ({count})")
            if x > y and count:
                records.append({"first": name, "second": names[x], "tau": tau, "tasks": count})
        rows.append((name, *cells))
    mean = table.mean_tau
    notes = ["Kendall's tau-b, mean over the tasks that both have (number of tasks); 1: same order, -1: reversed"]
    notes += [f"mean: {mean:+.2f}"] if math.isfinite(mean) else [f"no two {other}s share a task with three ranked"]
    if len(table.names) == 3:
        notes.append("of three, tau can only be 1, 1/3, -1/3 or -1 (without ties)")
    notes += table.tau_notes
    return Sheet(
        f"Agreement of {other}s on the order of {table.axis}s",
        (other, *names),
        tuple(rows),
        frozenset(),
        tuple(notes),
        tuple(records),
    )


def p_text(p: float) -> str:
    """Write a p-value; `-` where there is none."""
    if not math.isfinite(p):
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
