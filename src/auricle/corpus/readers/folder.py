"""Folders of loose recordings, with labels from a table or from the names of folders."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from auricle.corpus.ledger import FOLLOWS, Entry, Ledger
from auricle.corpus.readers.event_tables import check_events, read_events
from auricle.corpus.readers.label_table import LabelTable, read_label_table, tidy_split
from auricle.corpus.readers.listing import LABEL_TABLES, SCAN_TABLE, Listing
from auricle.corpus.readers.locating import Locator
from auricle.corpus.readers.ranges import END_TOLERANCE, settle_unit
from auricle.corpus.readers.repeated_rows import case_variants, merge_rows
from auricle.corpus.readers.whole import TableRows, make_corpus
from auricle.corpus.stores import FolderStore, Place, probe_seconds
from auricle.corpus.table import Corpus
from auricle.errors import CorpusError, Reason
from auricle.words import counted

_SPLITS = ("train", "valid", "test")
# Names of folders that are no labels.
PLAIN = frozenset(("clips", "audio", "wav", "wavs", "flac", "mp3", "sounds", "recordings", "data"))
# Times of a table are compared with all of its recordings up to this many, and else with a sample of them first.
_ALL, _SAMPLE = 5000, 500


def open_label_table(
    table: Path, root: Path, name: str, listing: Listing | None = None, *, only_inside: bool = False
) -> Corpus:
    """Open the recordings of a table.

    Missing files, rows that can't be used, and recordings of the folder that are not in the table are skipped and
    listed in the corpus's ledger.

    Args:
        table: CSV, TSV, JSON lines or Parquet.
        root: the corpus's folder.
        name: name in reports.
        listing: files of the root.
        only_inside: ignore rows of files outside the root (for a table of several folders); the corpus may be empty.

    Raises:
        CorpusError: the table can't be read, or all of its files are missing.
    """
    read = read_label_table(table)
    locator = Locator(root, table.parent, None if listing is None else listing.audio)
    rows, keys, sizes, lost = _locate(read, locator, table, only_inside)
    if not rows and only_inside:
        return Corpus.from_columns({"file": [], "seconds": []}, root=root, name=name)
    missing = {entry.name: entry for entry in lost if entry.kind == "recording"}
    if not rows:
        shown = ", ".join(repr(file) for file in list(missing)[:3])
        first = next(iter(missing.values())).reason if missing else "no row names a file"
        raise CorpusError(
            f"{table} names {counted(len(missing), 'file')} and none is there (such as {shown}): {first}; "
            f"names are relative to {table.parent}"
        )
    known = set(keys)
    left = [file for file in (() if listing is None else listing.audio) if file not in known]
    skipped = [Entry("recording", file, f"{table.name} does not name it", f"not in {table.name}") for file in left]
    ledger = Ledger().add("recording", skipped=[*missing.values(), *skipped])
    ledger = ledger.add("row", skipped=[entry for entry in lost if entry.kind == "row"])
    every = len(rows) == len(read.columns["file"])
    kept: dict[str, list[Any]] = {
        key: values if every else [values[row] for row in rows] for key, values in read.columns.items()
    }
    kept |= {"file": keys, "_key": keys, "_size": sizes}
    timed = _Timed(kept, read, rows, root)
    good = timed.good
    merged, counts, repeated, remarks = merge_rows(
        kept if len(good) == len(rows) else {key: [values[i] for i in good] for key, values in kept.items()},
        rows if len(good) == len(rows) else [rows[i] for i in good],
        read.at,
    )
    ledger = ledger.add("row", skipped=[*timed.skipped, *repeated.values()])
    events = read_events(table.parent, locator, merged["file"], listing)
    said = [f"found {how}: {counted(count, 'recording')} of {table.name}" for how, count in locator.changed.items()]
    corpus = make_corpus(
        merged,
        root,
        name,
        events=events.table,
        ledger=ledger.merge(events.ledger),
        rows=TableRows(counts, lambda i: f"{table.name}: {merged['file'][i]}"),
        lost=timed.lost | {keys[good[i]]: _of_recording(entry, keys[good[i]]) for i, entry in repeated.items()},
        notes=(*read.notes, *said, *timed.notes, *remarks, *case_variants(merged.get("label", ())), *events.notes),
    )  # fmt: skip
    return check_events(corpus)


def _of_recording(entry: Entry, file: str) -> Entry:
    return replace(entry, kind="recording", name=file)


def _locate(
    read: LabelTable, locator: Locator, table: Path, only_inside: bool
) -> tuple[Sequence[int], list[str], list[int], list[Entry]]:
    """Return the rows whose recording is there, its name and bytes, and what was skipped: rows and recordings."""
    rows = array("q")
    keys: list[str] = []
    sizes: list[int] = []
    lost: list[Entry] = []
    missing: set[str] = set()
    for row, file in enumerate(read.columns["file"]):
        found = locator.find(file) if file else None
        if not file:
            lost.append(Entry("row", read.at(row), "it names no file", "without a file name"))
        elif found is None:
            inside = locator.name(table.parent / file)
            if not only_inside or not inside.startswith("/"):
                reason = f"{table.name} names it, but {locator.why_not(file)}"
                lost.append(Entry("row", read.at(row), reason, FOLLOWS))
                if file not in missing:
                    missing.add(file)
                    lost.append(Entry("recording", file, reason, "missing"))
        elif not only_inside or not found[0].startswith("/"):
            rows.append(row)
            keys.append(found[0])
            sizes.append(found[1])
    return rows, keys, sizes, lost


class _Timed:
    """Times of a table's rows, compared with the recordings' lengths and corrected in place.

    Attributes:
        good: rows that can be used.
        skipped: the others.
        lost: their recordings -> the reason.
        notes: remarks.
    """

    def __init__(self, columns: dict[str, list[Any]], read: LabelTable, rows: Sequence[int], root: Path) -> None:
        self.columns, self.read, self.rows = columns, read, rows
        count = len(rows)
        self.good: Sequence[int] = range(count)
        self.skipped: list[Entry] = []
        self.lost: dict[str, Entry] = {}
        self.notes: list[str] = []
        blank: list[float | None] = [None] * count
        self.start, self.seconds = columns.get("start", blank), columns.get("seconds", blank)
        timed = array("q", (i for i in range(count) if self.start[i] is not None or self.seconds[i] is not None))
        if timed:
            self._check(timed, root)

    def _check(self, timed: Sequence[int], root: Path) -> None:
        files = self.columns["file"]
        names = list(dict.fromkeys(files[i] for i in timed))
        few = names if len(names) <= _ALL else [names[k * len(names) // _SAMPLE] for k in range(_SAMPLE)]
        lengths = _lengths(root, few)
        if len(few) < len(names) and not self._all_fit(timed, lengths):
            lengths = _lengths(root, names)
        known = [lengths.get(file, math.nan) for file in files]
        numbers = [math.nan if isinstance(length, str) else length for length in known]
        at = self._at
        by, note = settle_unit(self.start, self.seconds, numbers, self.read.times, at)
        if note is not None:
            self.notes.append(note)
            for column in (self.start, self.seconds):
                column[:] = [None if value is None else value / by for value in column]
        changed: Counter[str] = Counter()
        bad = set()
        for i in timed:
            reason, cause = self._fit(i, known[i], changed)
            if reason:
                bad.add(i)
                self.skipped.append(Entry("row", at(i), reason, cause))
                self.lost.setdefault(files[i], Entry("recording", files[i], reason, cause))
        self.good = [i for i in self.good if i not in bad] if bad else self.good
        left = {files[i] for i in self.good} if bad else set()
        self.skipped = [
            entry if files[i] in left else replace(entry, cause=FOLLOWS)
            for i, entry in zip(sorted(bad), self.skipped, strict=True)
        ]
        self.notes += [f"{what}: {counted(count, 'row')} of the table" for what, count in changed.items()]

    def _at(self, i: int) -> str:
        return self.read.at(self.rows[i])

    def _all_fit(self, timed: Sequence[int], lengths: Mapping[str, float | Reason]) -> bool:
        files = self.columns["file"]
        for i in timed:
            length = lengths.get(files[i])
            end = (self.start[i] or 0.0) + (self.seconds[i] or 0.0)
            if isinstance(length, str) or (length is not None and end > length + END_TOLERANCE):
                return False
        return True

    def _fit(self, i: int, length: float | Reason, changed: Counter[str]) -> tuple[str, str]:
        """Compare a row with its recording; return why it can't be used, and the cause in one or two words."""
        start, seconds = self.start[i], self.seconds[i]
        if isinstance(length, str):
            return length, length.cause
        if math.isnan(length):
            return "", ""
        if start is None:
            if seconds is not None and abs(seconds - length) > max(0.1, 0.02 * length):
                self.seconds[i] = length
                changed["the duration differs from the recording's length, which was used"] += 1
            return "", ""
        if start >= length:
            return f"it begins at {start:g} s, after the recording's end ({length:g} s)", "outside the recording"
        if seconds is not None and start + seconds > length + END_TOLERANCE:
            self.seconds[i] = length - start
            changed["cut at the end of the recording"] += 1
        return "", ""


def _lengths(root: Path, files: Sequence[str]) -> dict[str, float | Reason]:
    return dict(zip(files, probe_seconds(FolderStore(root), [Place(file) for file in files]), strict=True))


def open_loose_files(listing: Listing, name: str, *, label: str | None = None) -> Corpus:
    """Open a folder of recordings without a table: a recording's folder is its label.

    First folders `train`, `valid` (`validation`, `val`, `dev`) and `test` are splits if at least two of these are
    there; alone, such a name is a class. Recordings at the top, or all in one folder with a name such as `clips` or
    `audio`, are unlabelled.

    Args:
        listing: files of the folder.
        name: name in reports.
        label: of recordings at the top; None: unlabelled.
    """
    files = list(listing.audio)
    parents = [file.split("/")[:-1] for file in files]
    wording = [tidy_split(parts[0]) if parts else None for parts in parents]
    named = {split for split in wording if split in _SPLITS}
    splits = [split if split in _SPLITS and len(named) > 1 else None for split in wording]
    folders = ["/".join(parts[1:] if split else parts) for parts, split in zip(parents, splits, strict=True)]
    notes = []
    if named:
        shown = ", ".join(sorted({parts[0] for parts, word in zip(parents, wording, strict=True) if word in _SPLITS}))
        notes.append(
            f"the folders {shown} were read as splits"
            if len(named) > 1
            else f"the folder {shown} was read as a class, not as a split: there is no second one, such as "
            f"{'test' if named == {'train'} else 'train'}"
        )
    only = set(folders)
    unlabelled = len(only) == 1 and next(iter(only)).lower() in PLAIN
    labels = [(folder.rpartition("/")[2] or label) if not unlabelled else label for folder in folders]
    joined = sorted({text for text in labels if text and ";" in text})
    if joined:
        # A semicolon joins labels; a folder is one.
        labels = [text.replace(";", ",") if text else text for text in labels]
        notes.append(f"folders with a semicolon are one label each, written with a comma: {', '.join(joined[:5])}")
    columns: Mapping[str, list[Any]] = {
        "file": files,
        "label": labels,
        "split": splits,
        "_size": list(listing.audio.values()),
    }
    locator = Locator(listing.root, listing.root, listing.audio)
    events = read_events(listing.root, locator, files, listing)
    notes += [*case_variants(labels), *events.notes]
    corpus = make_corpus(columns, listing.root, name, events=events.table, ledger=events.ledger, notes=tuple(notes))
    return check_events(corpus)


def sub_corpora(listing: Listing) -> list[str]:
    """Return the sub-folders of a collection of corpora; nothing for other folders.

    A collection has no recordings at its top, and a label table or a scan's table in at least one of its sub-folders.
    Sub-folders without audio are skipped.
    """
    names = list(listing.audio) + list(listing.tars) + list(listing.parquets)
    if any("/" not in name for name in names):
        return []
    with_audio = sorted({name.partition("/")[0] for name in names})
    marked = [part for part in with_audio if has_table(listing.root / part)]
    return with_audio if marked else []


def has_table(folder: Path) -> bool:
    """Return whether a folder has a label table or a scan's table."""
    return any((folder / table).is_file() for table in (*LABEL_TABLES, SCAN_TABLE))
