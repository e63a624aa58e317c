"""Results of all runs, grouped into tables of encoders by probes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from auricle.errors import CorpusError
from auricle.report.figures import COLOURS, CONTROL_COLOURS
from auricle.report.numbers import Measure, number
from auricle.report.run_data import Record, RunData
from auricle.results.book import Found
from auricle.results.caveats import constant_value, features_of
from auricle.results.comparison import Pair, pair_of
from auricle.results.conditions import Condition, group_by_condition, newest, told_apart
from auricle.results.record import CONTROLS, ROLES, Result

PROBE_ORDER = (
    "centroid",
    "knn",
    "logistic",
    "linear",
    "linear_cls",
    "linear_mean",
    "linear_time_mean",
    "mhca",
    "protobin",
)


@dataclass(frozen=True)
class Row:
    """One encoder: a line of the tables.

    Attributes:
        label: its name on the page.
        role: `pretrained`, or the kind of control.
        colour: in all figures.
        place: order among rows of its role, that of the runs.
    """

    label: str
    role: str
    colour: str
    place: int


@dataclass(frozen=True)
class Entry:
    """One record, and the anchor of its provenance on the page."""

    record: Record
    run: str
    row: Row
    anchor: str

    @property
    def probe(self) -> str:
        """Name of the probe."""
        return str(self.record.get("probe", "?"))

    @property
    def value(self) -> float | None:
        """The headline metric, None where it is undefined."""
        return number(self.record.get("value"))

    @property
    def found(self) -> Found:
        """The record and its folder, as `results` reads them.

        Raises:
            CorpusError: the record lacks fields, or is damaged.
        """
        return Found(Result.from_json(self.record), Path(str(self.record.get("folder", ""))))

    @property
    def low(self) -> float | None:
        """Lower end of the interval."""
        return number(self.record.get("low"))

    @property
    def high(self) -> float | None:
        """Upper end of the interval."""
        return number(self.record.get("high"))


@dataclass(frozen=True)
class TaskEvidence:
    """All records of one task under one condition.

    Attributes:
        condition: what the records share.
        anchor: of its section on the page.
        rows: controls first.
        probes: columns, simplest first.
        cells: the newest record of each row and probe.
        older: records that a newer one of the same row and probe replaced.
        pairs: comparisons made so far, by the anchors of both.
    """

    condition: Condition
    anchor: str
    rows: list[Row]
    probes: list[str]
    cells: dict[tuple[Row, str], Entry]
    older: list[Entry]
    pairs: dict[tuple[str, str], Pair | None] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """Name of the task, and what sets this table apart from others of the task."""
        return self.condition.name

    @property
    def measure(self) -> Measure:
        """The headline metric."""
        return Measure.of(self.condition.metric, self.condition.unit, self.condition.better)

    @property
    def type_name(self) -> str:
        """Type of the task."""
        return self.condition.type_name

    @property
    def entries(self) -> list[Entry]:
        """All newest records, in the order of rows and probes."""
        return [self.cells[row, probe] for probe in self.probes for row in self.rows if (row, probe) in self.cells]

    @property
    def first(self) -> Record:
        """A record, for what all records share (kind, confidence)."""
        return next(iter(self.cells.values())).record

    @property
    def constants(self) -> dict[str, dict[str, float]]:
        """Name of what ignores the sound (a majority class ...) -> probe -> its value."""
        found: dict[str, dict[str, float]] = {}
        for entry in self.entries:
            constant = constant_value(entry.record)
            if constant is not None:
                found.setdefault(constant[0], {})[entry.probe] = constant[1]
        return found

    def best(self, role: str) -> Entry | None:
        """Return the entry of best value among the rows of a role."""
        found = [e for e in self.cells.values() if e.row.role == role and e.value is not None]
        return max(found, key=self.merit, default=None)

    def merit(self, entry: Entry) -> float:
        """Return a sort key: the higher the better, undefined values last."""
        return -float("inf") if entry.value is None else self.measure.sign * entry.value

    def control(self, entry: Entry) -> Entry | None:
        """Return the random-weight control of an entry: same probe and features, its run or else the best."""
        same = [e for (row, probe), e in self.cells.items() if row.role == "random" and probe == entry.probe]
        found = [e for e in same if features_of(e.record) == features_of(entry.record)]
        own = [e for e in found if e.run == entry.run]
        return max(own or found, key=self.merit, default=None)

    def paired(self, first: Entry, second: Entry) -> Pair | None:
        """Compare two entries on the same test units, as `auricle results --compare` does; None if that can't be."""
        key = first.anchor, second.anchor
        if key not in self.pairs:
            try:
                pair = pair_of(self.condition, first.probe, first.found, second.found)
                self.pairs[key] = None if math.isnan(pair.low) else pair
            except CorpusError:
                self.pairs[key] = None
        return self.pairs[key]


def gather(runs: Sequence[RunData]) -> list[TaskEvidence]:
    """Group the results of all runs by condition, as `auricle results` does, in the order in which tasks occur."""
    rows = _rows(runs)
    seen: set[tuple[str, str]] = set()
    entries: list[Entry] = []
    for run in runs:
        for record in run.results:
            key = str(record.get("key") or f"{run.name}-{len(entries)}")
            # A control that several runs share has one key: it stands once.
            if (str(record["task"]), key) in seen:
                continue
            seen.add((str(record["task"]), key))
            entries.append(Entry(record, run.name, rows[_identity(run, record)], f"p{len(entries)}"))
    groups = group_by_condition(entries, lambda entry: entry.record)
    return [_arrange(condition, f"task-{i}", found) for i, (condition, found) in enumerate(groups)]


def _arrange(condition: Condition, anchor: str, entries: list[Entry]) -> TaskEvidence:
    cells, older = newest(entries, lambda e: (e.row, e.probe), lambda e: str(e.record.get("made", "")))
    rows = sorted({row for row, _ in cells}, key=lambda row: (_role_order(row.role), row.place))
    probes = sorted({p for _, p in cells}, key=lambda p: (PROBE_ORDER.index(p) if p in PROBE_ORDER else 99, p))
    return TaskEvidence(condition, anchor, rows, probes, cells, older)


def _role_order(role: str) -> int:
    return [*ROLES, role].index(role)


def _identity(run: RunData, record: Record) -> tuple[str, str]:
    role = str(record.get("role", "pretrained"))
    fingerprint = str(record.get("encoder_fingerprint", record.get("encoder", "")))
    # One run may hold several checkpoints; equal controls of several runs are one.
    return role, f"{run.name}\n{fingerprint}" if role == "pretrained" else fingerprint


def _rows(runs: Sequence[RunData]) -> dict[tuple[str, str], Row]:
    found: dict[tuple[str, str], tuple[RunData, Record]] = {}
    for run in runs:
        for record in run.results:
            found.setdefault(_identity(run, record), (run, record))
    names: dict[tuple[str, str], str] = {}
    counts = Counter(role for role, _ in found)
    for key, (run, record) in found.items():
        role, encoder = key[0], str(record.get("encoder", "encoder"))
        if role in CONTROLS:
            names[key] = CONTROLS[role] + (f" · {run.name}" if counts[role] > 1 else "")
        else:
            names[key] = run.name if run.name == encoder else f"{run.name} · {encoder}" if len(runs) > 1 else encoder
    labels = told_apart(names, lambda key: key[1].rpartition("\n")[2])
    rows: dict[tuple[str, str], Row] = {}
    used: set[str] = set()
    for key, (run, _) in found.items():
        colour = CONTROL_COLOURS.get(key[0]) or COLOURS[runs.index(run) % len(COLOURS)]
        if key[0] not in CONTROLS:
            if colour in used:
                colour = next((c for c in COLOURS if c not in used), colour)
            used.add(colour)
        rows[key] = Row(labels[key], key[0], colour, len(rows))
    return rows
