"""Folders of loose recordings, with labels from a table or from the names of folders."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from auricle.corpus.columns import EVENT_COLUMNS
from auricle.corpus.readers.label_table import read_csv, read_label_table, tidy_split
from auricle.corpus.readers.listing import EVENT_TABLE, LABEL_TABLES, SCAN_TABLE, Listing
from auricle.corpus.readers.side_tables import check_events
from auricle.corpus.readers.whole import make_corpus
from auricle.corpus.table import Corpus
from auricle.errors import CorpusError

_SPLITS = ("train", "valid", "test")
# Names of folders that are no labels.
_PLAIN = frozenset(("clips", "audio", "wav", "wavs", "flac", "mp3", "sounds", "recordings", "data"))


class Locator:
    """Finds the files of a table, relative to the corpus's root or to the table's own folder.

    Names that differ only in the encoding of accents (decomposed on macOS) are the same.
    """

    def __init__(self, root: Path, table_folder: Path) -> None:
        """Search below `root` and `table_folder`."""
        self.root = root
        self.bases = [table_folder] if table_folder == root else [table_folder, root]
        self._names: dict[Path, dict[str, str]] = {}

    def find(self, name: str) -> tuple[str, int] | None:
        """Return a file's name below the root (absolute if elsewhere) and its bytes, or None."""
        # Tables made on Windows have backslashes.
        spelled = [name, name.replace("\\", "/")] if "\\" in name else [name]
        for path in (base / text for text in spelled for base in self.bases):
            for candidate in (path, self._same(path)):
                if candidate is not None and candidate.is_file():
                    return self.name(candidate), candidate.stat().st_size
        return None

    def name(self, path: Path) -> str:
        """Return a path as in the corpus's column `file`."""
        full, root = os.path.normpath(path.absolute()), os.path.normpath(self.root.absolute())
        inside = full.startswith(root.rstrip(os.sep) + os.sep)
        return (os.path.relpath(full, root) if inside else full).replace(os.sep, "/")

    def _same(self, path: Path) -> Path | None:
        folder = path.parent
        if folder not in self._names:
            try:
                self._names[folder] = {unicodedata.normalize("NFC", p.name): p.name for p in folder.iterdir()}
            except OSError:
                self._names[folder] = {}
        found = self._names[folder].get(unicodedata.normalize("NFC", path.name))
        return None if found is None else folder / found


def open_label_table(
    table: Path, root: Path, name: str, listing: Listing | None = None, *, only_inside: bool = False
) -> Corpus:
    """Open the recordings of a table.

    Missing files are skipped and listed in `problems`; recordings of the folder that are not in the table are excluded
    and counted in `notes`.

    Args:
        table: CSV, TSV or Parquet.
        root: the corpus's folder.
        name: name in reports.
        listing: files of the root.
        only_inside: ignore rows of files outside the root (for a table of several folders); the corpus may be empty.

    Raises:
        CorpusError: the table can't be read, or all of its files are missing.
    """
    columns = read_label_table(table)
    locator = Locator(root, table.parent)
    problems: dict[str, str] = {}
    rows: list[int] = []
    keys: list[str] = []
    sizes: list[int] = []
    for row, file in enumerate(columns["file"]):
        found = locator.find(file) if file else None
        if found is None:
            inside = locator.name(table.parent / (file or ""))
            if not only_inside or not inside.startswith("/"):
                problems[file or f"row {row + 1}"] = f"{table.name} names it, but there is no such file"
        elif not only_inside or not found[0].startswith("/"):
            rows.append(row)
            keys.append(found[0])
            sizes.append(found[1])
    if not rows and only_inside:
        return Corpus.from_columns({"file": [], "seconds": []}, root=root, name=name)
    if not rows:
        shown = ", ".join(repr(file) for file in list(problems)[:3])
        raise CorpusError(
            f"{table} names {len(problems)} files and none of them is there (such as {shown}); "
            f"names are relative to {table.parent}"
        )
    kept: dict[str, list[Any]] = {key: [values[row] for row in rows] for key, values in columns.items()}
    kept |= {"file": keys, "_key": keys, "_size": sizes}
    notes: tuple[str, ...] = ()
    if listing is not None:
        extra = len(listing.audio.keys() - set(keys))
        if extra:
            notes = (f"{extra} of {len(listing.audio)} audio files are not in {table.name} and were skipped",)
    events = _read_events(table.with_name(EVENT_TABLE), locator, set(keys))
    return check_events(make_corpus(kept, root, name, events=events, problems=problems, notes=notes))


def _read_events(path: Path, locator: Locator, files: set[str]) -> pa.Table | None:
    if not path.is_file():
        return None
    columns = read_csv(path)
    missing = [column for column in EVENT_COLUMNS if column not in columns]
    if missing:
        raise CorpusError(
            f"{path} has no column {missing[0]!r}; found {', '.join(columns)}, expected {', '.join(EVENT_COLUMNS)}"
        )
    known: dict[str, str | None] = {}
    rows: list[int] = []
    for row, file in enumerate(columns["file"]):
        if file not in known:
            found = locator.find(file) if file else None
            known[file] = found[0] if found and found[0] in files else None
        if known[file] is not None:
            rows.append(row)
    values = {name: [column[row] for row in rows] for name, column in columns.items()}
    values["file"] = [known[file] for file in values["file"]]
    try:
        for name in ("onset", "offset"):
            values[name] = [float(value) for value in values[name]]
    except (TypeError, ValueError) as error:
        raise CorpusError(f"{path}: an onset or offset is no number of seconds: {error}") from error
    return pa.table(
        {name: pa.array(column, type=EVENT_COLUMNS.get(name, pa.string())) for name, column in values.items()}
    )


def open_loose_files(listing: Listing, name: str) -> Corpus:
    """Open a folder of recordings without a table: a recording's folder is its label.

    A first folder `train`, `valid` (`validation`, `val`, `dev`) or `test` is the split. Recordings at the top, or all
    in one folder with a name such as `clips` or `audio`, are unlabelled.
    """
    files = list(listing.audio)
    splits: list[str | None] = []
    folders: list[str] = []
    for file in files:
        parts = file.split("/")[:-1]
        split = tidy_split(parts[0].lower()) if parts else None
        splits.append(split if split in _SPLITS else None)
        folders.append("/".join(parts[1:] if split in _SPLITS else parts))
    only = set(folders)
    unlabelled = len(only) == 1 and next(iter(only)).lower() in _PLAIN
    columns: Mapping[str, list[Any]] = {
        "file": files,
        "label": [None if unlabelled or not folder else folder.rpartition("/")[2] for folder in folders],
        "split": splits,
        "_size": list(listing.audio.values()),
    }
    events = _read_events(listing.root / EVENT_TABLE, Locator(listing.root, listing.root), set(files))
    return check_events(make_corpus(columns, listing.root, name, events=events))


def sub_corpora(listing: Listing) -> list[str]:
    """Return the sub-folders of a collection of corpora; nothing for other folders.

    A collection has no recordings at its top, and a label table or a scan's table in at least one of its sub-folders.
    Sub-folders without audio are skipped.
    """
    names = list(listing.audio) + list(listing.tars) + list(listing.parquets)
    if any("/" not in name for name in names):
        return []
    with_audio = sorted({name.partition("/")[0] for name in names})
    tables = {*LABEL_TABLES, SCAN_TABLE}
    marked = [part for part in with_audio if any((listing.root / part / table).is_file() for table in tables)]
    return with_audio if marked else []
