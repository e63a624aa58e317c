"""Strong labels: tables of events, and label files of Raven and Audacity beside the recordings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from auricle.corpus.columns import EVENT_COLUMNS
from auricle.corpus.ledger import FOLLOWS, Entry, Ledger
from auricle.corpus.readers.annotation_files import read_annotation_files
from auricle.corpus.readers.label_table import ALIASES
from auricle.corpus.readers.listing import EVENT_TABLES, Listing
from auricle.corpus.readers.locating import Locator
from auricle.corpus.readers.ranges import END_TOLERANCE, Times, name_times, numbers, settle_unit
from auricle.corpus.readers.text_table import TextTable, read_text_table
from auricle.corpus.stores import FolderStore, Place, probe_seconds
from auricle.corpus.table import Corpus
from auricle.errors import CorpusError
from auricle.words import counted

_LABELS = ("label", "event_label", "event", *ALIASES["label"], "species", "annotation")


@dataclass(frozen=True)
class Events:
    """Strong labels of a folder: the table (or None), what of it was skipped, and remarks."""

    table: pa.Table | None = None
    ledger: Ledger = field(default_factory=Ledger)
    notes: tuple[str, ...] = ()


def read_events(folder: Path, locator: Locator, files: Sequence[str], listing: Listing | None = None) -> Events:
    """Read `events.csv` or `events.tsv` of a folder, or else the label files of Raven and Audacity beside recordings.

    Columns may have the names of other tools (`filename`, `start`, `end`, `event_label`). Times are in seconds, or in
    milliseconds where they fit the recordings only so. A row without times names a recording without events.

    Args:
        folder: folder of the table.
        locator: finds its recordings.
        files: recordings of the corpus.
        listing: files of the corpus's folder, among which label files are looked for.

    Raises:
        CorpusError: a table can't be read, lacks a column, or has a time that is no number.
    """
    tables = [folder / name for name in EVENT_TABLES if (folder / name).is_file()]
    if not tables:
        found = None if listing is None else read_annotation_files(listing, files)
        return Events() if found is None else Events(*found)
    notes = tuple(f"{table.name} was not read, since {tables[0].name} is there too" for table in tables[1:])
    read = _read_table(tables[0], locator, files)
    return replace(read, notes=notes + read.notes)


def _read_table(path: Path, locator: Locator, files: Sequence[str]) -> Events:
    read = read_text_table(path, ("file", *ALIASES["file"]))
    comma = read.delimiter in ";\t"
    names = _named(read, comma)
    columns, times = read.columns, Times({role: names[role] for role in ("start", "end", "seconds") if role in names})

    def at(row: int) -> str:
        return f"{path}, line {read.line(row)}"

    onset = numbers(columns[names["start"]], "seconds", names["start"], at, comma)
    if "end" in names:
        offset = numbers(columns[names["end"]], "seconds", names["end"], at, comma)
    else:
        spans = numbers(columns[names["seconds"]], "seconds", names["seconds"], at, comma)
        offset = [None if a is None or b is None else a + b for a, b in zip(onset, spans, strict=True)]
    labels = columns[names["label"]]
    present, entries, rows, where, empty = set(files), [], [], [], []
    before = dict(locator.changed)
    for row, name in enumerate(columns[names["file"]]):
        found = locator.find(name) if name else None
        named = f"{path.name}, line {read.line(row)}" if found is None or found[0] not in present else ""
        if found is None:
            why = f"no recording is called {name!r}: {locator.why_not(name)}" if name else "it names no recording"
            entries.append(Entry("event", named, why, "of unknown recordings"))
        elif onset[row] is None and offset[row] is None and labels[row] is None:
            empty += [found[0]] if found[0] in present else []
        elif found[0] not in present:
            entries.append(Entry("event", named, f"its recording {found[0]} is skipped", FOLLOWS))
        else:
            rows.append(row)
            where.append(found[0])
    others = [n for n in columns if n not in names.values()]
    values: dict[str, list[Any]] = {n: [columns[n][row] for row in rows] for n in others}
    values |= {"file": where, "label": [labels[row] for row in rows]}
    values |= {"onset": [onset[row] for row in rows], "offset": [offset[row] for row in rows]}
    unit, note = _unit(values, names, times, locator, lambda i: at(rows[i]))
    for name in ("onset", "offset"):
        values[name] = [None if value is None else value / unit for value in values[name]]
    # A sure sign of a recording without events is a row of it without times.
    silent = sorted(set(empty) - set(where))
    for name, column in values.items():
        column += silent if name == "file" else [None] * len(silent)
    said = [
        f"found {how}: {counted(count - before.get(how, 0), 'recording')} of {path.name}"
        for how, count in locator.changed.items()
        if count > before.get(how, 0)
    ]
    table = pa.table({n: pa.array(column, type=EVENT_COLUMNS.get(n, pa.string())) for n, column in values.items()})
    ledger = Ledger().add("event", used=len(rows), skipped=entries)
    return Events(table, ledger, tuple([*said, *([note] if note else [])]))


def _named(read: TextTable, comma: bool) -> dict[str, str]:
    """Return the columns by role: `file`, `label`, `start`, and `end` or `seconds`."""
    lower = {name.lower(): name for name in reversed(read.columns)}
    found: dict[str, str] = {}
    for role, names in (("file", ("file", *ALIASES["file"])), ("label", _LABELS)):
        name = next((lower[each] for each in names if each in lower), None)
        if name is not None:
            found[role] = name
    # A table of recordings without any event has no numbers to know its times by.
    found |= {role: lower[name] for role, name in (("start", "onset"), ("end", "offset")) if name in lower}
    found |= name_times(read.columns, comma, events=True)[0]
    missing = next((role for role in ("file", "start", "end", "label") if role not in found), None)
    if missing == "end" and "seconds" in found:
        missing = None if "label" in found else "label"
    if missing is not None:
        ours = {"start": "onset", "end": "offset"}.get(missing, missing)
        raise CorpusError(
            f"{read.path} has no column {ours!r}; found {', '.join(read.columns)}, expected {', '.join(EVENT_COLUMNS)}"
        )
    return found


def _unit(
    values: Mapping[str, Sequence[Any]], names: Mapping[str, str], times: Times, locator: Locator, at: Any
) -> tuple[int, str | None]:
    known = name_times({names[role]: ["1"] for role in times.names}, events=True)[1]
    if known is not None:
        return (1000, None) if known == "ms" else (1, None)
    files = list(dict.fromkeys(values["file"]))
    few = files[:: max(1, len(files) // 500)]
    read = probe_seconds(FolderStore(locator.root), [Place(file) for file in few])
    lengths = {file: math.nan if isinstance(length, str) else length for file, length in zip(few, read, strict=True)}
    spans = [None if a is None or b is None else b - a for a, b in zip(values["onset"], values["offset"], strict=True)]
    return settle_unit(values["onset"], spans, [lengths.get(f, math.nan) for f in values["file"]], times, at)


def tidy_events(table: pa.Table, seconds: Mapping[str, float]) -> tuple[pa.Table, tuple[Entry, ...], tuple[str, ...]]:
    """Drop invalid events, and cut those that end after their recording.

    Invalid: times that are no numbers, a negative onset, an offset that is not after its onset, an onset at or after
    the recording's end, no label. Events of one class that overlap are kept (two hits of a drum may) and counted.

    Args:
        table: columns `file`, `onset`, `offset`, `label`, and any others.
        seconds: length of recordings, as far as known.

    Returns:
        The valid events and the rows of recordings without any, what was dropped, and remarks.
    """
    label, *times = (pc.is_valid(table.column(name)) for name in ("label", "onset", "offset"))
    event = pc.or_(label, pc.or_(*times))
    silent, table = table.filter(pc.invert(event)), table.filter(event)
    onset, offset, ends = _times(table, seconds)
    bad_number = ~(np.isfinite(onset) & np.isfinite(offset))
    negative = ~bad_number & (onset < 0)
    empty = ~bad_number & ~negative & (offset <= onset)
    outside = ~bad_number & ~negative & ~empty & (onset >= ends)
    timed = ~(bad_number | negative | empty | outside)
    unlabelled = timed & np.array([value is None for value in table.column("label").to_pylist()], dtype=bool)
    out = ~timed | unlabelled
    entries, notes = [], []
    for fault, why in (
        (bad_number, "a time that is no number"),
        (negative, "a negative onset"),
        (empty, "an offset that is not after the onset"),
        (outside, "an onset after the recording's end"),
        (unlabelled, "no label"),
    ):
        entries += [Entry("event", _shown(table, row), f"it has {why}", f"with {why}") for row in np.flatnonzero(fault)]
    long = ~out & (offset > ends)
    if (long & (offset > ends + END_TOLERANCE)).any():
        far = long & (offset > ends + END_TOLERANCE)
        first = _shown(table, np.flatnonzero(far)[0])
        notes.append(f"cut at the end of the recording: {counted(int(far.sum()), 'event')} (the first: {first})")
    offset = np.where(long, ends, offset)
    kept = table.set_column(table.column_names.index("offset"), "offset", pa.array(offset, type=pa.float64()))
    kept = kept.filter(pa.array(~out))
    overlapping = int(_overlaps(kept).sum())
    if overlapping:
        begin = "event begins" if overlapping == 1 else "events begin"
        notes.append(f"{overlapping} {begin} before an earlier one of the same class and recording has ended")
    return pa.concat_tables([kept, silent]).combine_chunks(), tuple(entries), tuple(notes)


def check_events(corpus: Corpus) -> Corpus:
    """Return the corpus with its strong labels tidied (see `tidy_events`), and those of skipped recordings dropped."""
    if corpus.event_table is None:
        return corpus
    known = zip(corpus.column("file"), corpus.column("seconds"), corpus.column("_whole"), strict=True)
    here = pc.is_in(corpus.event_table.column("file"), value_set=pc.unique(corpus.table.column("file")))
    gone = pc.sum(pc.and_(pc.invert(here), pc.is_valid(corpus.event_table.column("onset")))).as_py() or 0
    lost = (Entry("event", corpus.name, "their recordings are skipped", FOLLOWS, gone),) if gone else ()
    table, entries, notes = tidy_events(
        corpus.event_table.filter(here), {file: length for file, length, whole in known if whole}
    )
    ledger = corpus.ledger.drop(*lost, *entries)
    return replace(corpus, event_table=table, ledger=ledger, notes=(*corpus.notes, *notes))


def _times(
    table: pa.Table, seconds: Mapping[str, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    def numbers(name: str) -> NDArray[np.float64]:
        values = table.column(name).to_pylist()
        return np.array([math.nan if value is None else value for value in values], dtype=np.float64)

    ends = np.array([seconds.get(file, math.inf) for file in table.column("file").to_pylist()], dtype=np.float64)
    return numbers("onset"), numbers("offset"), ends


def _shown(table: pa.Table, place: int | np.signedinteger[Any]) -> str:
    row = table.slice(int(place), 1).to_pylist()[0]
    return f"{row['label']} in {row['file']}, {row['onset']} to {row['offset']} s"


def _by_class(table: pa.Table) -> NDArray[np.int64]:
    files, labels = (np.asarray(table.column(name).to_pylist(), dtype=str) for name in ("file", "label"))
    onset = np.asarray(table.column("onset").to_pylist(), dtype=np.float64)
    order: NDArray[np.int64] = np.lexsort((onset, labels, files)).astype(np.int64)
    return order


def _overlaps(table: pa.Table) -> NDArray[np.bool_]:
    """Mark events that begin before an earlier one of their class and recording has ended."""
    found = np.zeros(len(table), dtype=bool)
    files, labels = table.column("file").to_pylist(), table.column("label").to_pylist()
    onset, offset = table.column("onset").to_pylist(), table.column("offset").to_pylist()
    key, end = None, 0.0
    for i in _by_class(table):
        if (files[i], labels[i]) != key:
            key, end = (files[i], labels[i]), offset[i]
            continue
        found[i] = onset[i] < end - 1e-9
        end = max(end, offset[i])
    return found
