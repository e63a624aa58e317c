"""Label files of Raven and Audacity beside recordings.

Both are read here and not by crowsetta, which refuses selection tables without a row and label tracks with
frequencies, and reads the label `NA` as a missing one; the tests compare both on what it reads.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from auricle.corpus.columns import EVENT_COLUMNS
from auricle.corpus.ledger import Entry, Ledger
from auricle.corpus.readers.listing import Listing
from auricle.corpus.readers.ranges import numbers
from auricle.corpus.readers.text_table import read_text_table, reading
from auricle.words import counted

_RAVEN = ("Begin Time (s)", "End Time (s)")
_RAVEN_LABELS = ("annotation", "label", "species", "species code", "common name", "class", "type", "tags", "notes")
_TRACK = re.compile(r"\s*-?\d+([.,]\d+)?\t-?\d+([.,]\d+)?(\t.*)?")
# Kind of file -> the tool that writes it.
_TOOLS = {"selection table": "Raven", "label track": "Audacity"}
Row = tuple[str, float | None, float | None, str | None]


def read_annotation_files(listing: Listing, files: Sequence[str]) -> tuple[pa.Table, Ledger, tuple[str, ...]] | None:
    """Read selection tables of Raven and label tracks of Audacity, named as their recordings, or return None.

    `a.wav` may have `a.txt`, `a.Table.1.selections.txt`, `a.wav.txt` and the like. Text files of another content are
    passed over; empty ones are label tracks without labels if there are others.

    Args:
        listing: files of the folder.
        files: recordings of the corpus.

    Raises:
        CorpusError: a selection table has no label column, or a time that is no number.
    """
    stems: dict[str, list[str]] = {}
    for file in files:
        stems.setdefault(PurePosixPath(file).with_suffix("").as_posix(), []).append(file)
        stems.setdefault(file, []).append(file)
    rows: list[Row] = []
    silent: list[str] = []
    read: list[str] = []
    entries: list[Entry] = []
    counts = dict.fromkeys(_TOOLS, 0)
    for name in (name for name in listing.others if name.endswith(".txt")):
        stem = name
        while stem not in stems and "." in stem.rpartition("/")[2]:
            stem = stem.rpartition(".")[0]
        owners = list(dict.fromkeys(stems.get(stem, ())))
        if not owners:
            continue
        kind, found = _read(listing, name, owners[0], entries)
        if kind is None:
            continue
        if len(owners) > 1:
            why = f"it may be of {' or '.join(owners)}; name it as the recording with its ending, and .txt"
            entries += [Entry("event", f"{name}: {row[3]}", why, "of an unclear recording") for row in found]
            continue
        if kind:
            counts[kind] += 1
        read.append(name)
        rows += found
        silent += [] if found else [owners[0]]
    if not any(counts.values()):
        return None
    listing.used.update(read)
    annotated = {row[0] for row in rows}
    empty: list[Row] = [(file, None, None, None) for file in dict.fromkeys(silent) if file not in annotated]
    table = pa.table(
        {
            key: pa.array([row[place] for row in rows + empty], type=kind)
            for place, (key, kind) in enumerate(EVENT_COLUMNS.items())
        }
    )
    found_in = (f"{counted(count, kind)} of {_TOOLS[kind]}" for kind, count in counts.items() if count)
    note = f"events were read from {' and '.join(found_in)}"
    return table, Ledger().add("event", used=len(rows), skipped=entries), (f"{note} beside the recordings",)


def _read(listing: Listing, name: str, file: str, entries: list[Entry]) -> tuple[str | None, list[Row]]:
    """Return the kind of a text file (empty: no content, None: something else) and its events."""
    path = listing.root / name
    with reading(path, "text file", "save it as UTF-8"), path.open(encoding="utf-8-sig", errors="replace") as text:
        first = next((line for line in text if line.strip()), "")
    if not first:
        return "", []
    if all(title in first.split("\t") for title in _RAVEN):
        return "selection table", _raven(listing, name, file, entries)
    if _TRACK.fullmatch(first.rstrip("\r\n")):
        return "label track", _audacity(listing, name, file)
    return None, []


def _raven(listing: Listing, name: str, file: str, entries: list[Entry]) -> list[Row]:
    path = listing.root / name
    with reading(path, "selection table"):
        if not any(line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()[1:]):
            return []
    table = read_text_table(path)
    columns, lower = table.columns, {title.lower(): title for title in reversed(table.columns)}
    label = next((lower[each] for each in _RAVEN_LABELS if each in lower), None)

    def at(row: int) -> str:
        return f"{path}, line {table.line(row)}"

    begin, end = (numbers(columns[title], "seconds", title, at, True) for title in _RAVEN)
    begun = columns.get("Begin File") or columns.get("Begin Path") or [None] * len(begin)
    into = columns.get("File Offset (s)")
    offsets = numbers(into, "seconds", "File Offset (s)", at, True) if into is not None else [None] * len(begin)
    seen: set[tuple[Any, ...]] = set()
    rows: list[Row] = []
    for i, (onset, offset) in enumerate(zip(begin, end, strict=True)):
        text = None if label is None else columns[label][i]
        other = PurePosixPath((begun[i] or file).replace("\\", "/")).name
        # A selection has a row for each view of it.
        key = (onset, offset, text, columns.get("Selection", [i] * len(begin))[i])
        fault = None
        if text is None:
            fault = ("it has no label", "without a label")
        elif key in seen:
            fault = ("it is a second view of a selection", "repeated")
        elif other.casefold() != PurePosixPath(file).name.casefold():
            fault = (f"it is of the recording {other}", "of another recording")
        if fault is not None:
            entries.append(Entry("event", f"{name}, line {table.line(i)}", *fault))
        else:
            # Times of a table over several recordings count from the first; the offset is that in the recording.
            into_file = offsets[i]
            moved = 0.0 if into_file is None or onset is None else into_file - onset
            rows.append((file, _later(onset, moved), _later(offset, moved), text))
        seen.add(key)
    return rows


def _later(time: float | None, moved: float) -> float | None:
    return time + moved if moved and time is not None else time


def _audacity(listing: Listing, name: str, file: str) -> list[Row]:
    path = listing.root / name
    with reading(path, "label track of Audacity", "save it as UTF-8"):
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    rows: list[Row] = []
    for number, line in enumerate(lines, 1):
        # A line of frequencies follows the label that it belongs to.
        if not line.strip() or line.startswith("\\"):
            continue
        begin, end, label = [*line.strip("\r\n").split("\t"), "", ""][:3]

        def at(row: int, number: int = number) -> str:
            return f"{path}, line {number}"

        onset, offset = numbers([begin, end], "seconds", "a time", at, True)
        rows.append((file, onset, offset, label.strip() or None))
    return rows
