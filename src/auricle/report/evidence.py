"""Which record stands in which cell: results of all runs, grouped by task, encoder and probe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from auricle.report.figures import COLOURS, CONTROL_COLOURS
from auricle.report.measures import Measure
from auricle.report.numbers import number
from auricle.report.run_data import Record, RunData

ROLE_ORDER = {"log-mel": 0, "random": 1, "pretrained": 2}
ROLE_NAMES = {"log-mel": "log-mel statistics", "random": "random weights"}
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
        label: how the page calls it.
        role: `pretrained`, or which control it is.
        encoder: its name in the records.
        colour: in all figures.
        place: order among rows of its role, that of the runs.
    """

    label: str
    role: str
    encoder: str
    colour: str
    place: int


@dataclass(frozen=True)
class Entry:
    """One record and where its provenance stands on the page."""

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
    def low(self) -> float | None:
        """Lower end of the interval."""
        return number(self.record.get("low"))

    @property
    def high(self) -> float | None:
        """Upper end of the interval."""
        return number(self.record.get("high"))


@dataclass(frozen=True)
class TaskEvidence:
    """All records of one task.

    Attributes:
        name: of the task.
        anchor: of its section on the page.
        rows: controls first.
        probes: columns, simplest first.
        cells: the newest record of each row and probe.
        older: records that a newer one of the same row and probe displaced.
        task: name of the task in the records; several parts of a page may have it, for different corpora or protocols.
    """

    name: str
    anchor: str
    rows: list[Row]
    probes: list[str]
    cells: dict[tuple[Row, str], Entry]
    older: list[Entry]
    task: str = ""

    @property
    def measure(self) -> Measure:
        """The headline metric."""
        return Measure.of(self.first)

    @property
    def type_name(self) -> str:
        """Type of the task."""
        return str(self.first.get("type_name") or "clips")

    @property
    def entries(self) -> list[Entry]:
        """All newest records, in the order of rows and probes."""
        return [self.cells[row, probe] for probe in self.probes for row in self.rows if (row, probe) in self.cells]

    @property
    def first(self) -> Record:
        """A record to read what all share (metric, kind, confidence)."""
        return next(iter(self.cells.values())).record

    def best(self, role: str) -> Entry | None:
        """The entry of best value among the rows of a role."""
        found = [e for e in self.cells.values() if e.row.role == role and e.value is not None]
        return max(found, key=self.merit, default=None)

    def merit(self, entry: Entry) -> float:
        """Sort key: the higher the better, undefined values last."""
        return -float("inf") if entry.value is None else self.measure.sign * entry.value

    def control(self, entry: Entry) -> Entry | None:
        """The random-weight control of an entry: same probe, same run if that has one, else the strongest."""
        found = [e for (row, probe), e in self.cells.items() if row.role == "random" and probe == entry.probe]
        own = [e for e in found if e.run == entry.run]
        return max(own or found, key=self.merit, default=None)


def gather(runs: Sequence[RunData]) -> list[TaskEvidence]:
    """Group the results of all runs by task, in the order in which tasks first occur.

    Numbers of another metric, corpus or protocol are never set side by side: they get a part of their own.
    """
    rows = _rows(runs)
    seen: set[tuple[str, str]] = set()
    tasks: dict[tuple[str, ...], list[Entry]] = {}
    count = 0
    for run in runs:
        for record in run.results:
            task = str(record["task"])
            key = str(record.get("key") or f"{run.name}-{count}")
            # A control that several runs share has one key: it stands once.
            if (task, key) in seen:
                continue
            seen.add((task, key))
            entry = Entry(record, run.name, rows[_identity(run, record)], f"p{count}")
            tasks.setdefault(_condition(task, record), []).append(entry)
            count += 1
    order = list(dict.fromkeys(key[0] for key in tasks))
    keys = sorted(tasks, key=lambda key: order.index(key[0]))
    return [_arrange(key[0], _called(key, keys), f"task-{i}", tasks[key]) for i, key in enumerate(keys)]


def _condition(task: str, record: Record) -> tuple[str, ...]:
    """What records must share to stand in one table."""
    return (
        task,
        str(record.get("metric") or ""),
        str(record.get("protocol_name") or "strict"),
        str(record.get("corpus_fingerprint") or ""),
    )


def _called(key: tuple[str, ...], every: Sequence[tuple[str, ...]]) -> str:
    """Name a task, with what sets it apart from others of its name."""
    same = [other for other in every if other[0] == key[0]]
    words = ("", "{}", "{} protocol", "corpus {:.8}")
    told = [words[i].format(key[i]) for i in range(1, len(key)) if len({other[i] for other in same}) > 1]
    return f"{key[0]} ({', '.join(told)})" if told else key[0]


def _arrange(task: str, name: str, anchor: str, entries: list[Entry]) -> TaskEvidence:
    cells: dict[tuple[Row, str], Entry] = {}
    older = []
    for entry in sorted(entries, key=lambda e: str(e.record.get("made", ""))):
        before = cells.get((entry.row, entry.probe))
        if before is not None:
            older.append(before)
        cells[entry.row, entry.probe] = entry
    found = {row for row, _ in cells}
    rows = sorted(found, key=lambda row: (ROLE_ORDER.get(row.role, 3), row.place))
    probes = sorted({p for _, p in cells}, key=lambda p: (PROBE_ORDER.index(p) if p in PROBE_ORDER else 99, p))
    return TaskEvidence(name, anchor, rows, probes, cells, older, task)


def _identity(run: RunData, record: Record) -> tuple[str, str]:
    role = str(record.get("role", "pretrained"))
    fingerprint = str(record.get("encoder_fingerprint", record.get("encoder", "")))
    # One run may hold several checkpoints; controls are the same control in whichever run they stand.
    return role, f"{run.name}\n{fingerprint}" if role == "pretrained" else fingerprint


def _rows(runs: Sequence[RunData]) -> dict[tuple[str, str], Row]:
    found: dict[tuple[str, str], tuple[RunData, Record]] = {}
    for run in runs:
        for record in run.results:
            found.setdefault(_identity(run, record), (run, record))
    rows: dict[tuple[str, str], Row] = {}
    counts = {role: sum(key[0] == role for key in found) for role in ROLE_ORDER}
    taken: set[str] = set()
    used = set()
    for key, (run, record) in found.items():
        role, encoder = key[0], str(record.get("encoder", "encoder"))
        if role in ROLE_NAMES:
            label = ROLE_NAMES[role] + (f" · {run.name}" if counts[role] > 1 else "")
            colour = CONTROL_COLOURS[role]
        else:
            label = run.name if run.name == encoder else f"{run.name} · {encoder}" if len(runs) > 1 else encoder
            colour = COLOURS[runs.index(run) % len(COLOURS)]
            if colour in used:
                colour = next((c for c in COLOURS if c not in used), colour)
            used.add(colour)
        while label in taken:
            label += f" ({str(record.get('encoder_fingerprint', ''))[:6] or 'again'})"
        taken.add(label)
        rows[key] = Row(label, role, encoder, colour, len(rows))
    return rows
