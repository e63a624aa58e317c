"""Tables of predictions on disk: one row per recording, start, end and label; the path's ending decides the format.

Columns: `file`, `start` and `end` (seconds in the recording's own clock), `label`, `score` (calibrated probability; of
regression the value; of anomalies the score). Tables of anomalies have `threshold`, `anomalous`, `nearest` (the nearest
normal clip) and `nearest_distance` as well.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from auricle.errors import ConfigError, CorpusError, StorageError
from auricle.models.prediction_rows import REASONS, SCHEMA, table_schema
from auricle.storage import csv_lines, disk_errors, read_cell, replacing
from auricle.tokens.embedding_files import REMEDY, check_ending

# One file per recording, in a folder.
FOLDERS = (".raven", ".audacity")
# Marks such a folder as ours, to be replaced by later predictions of its name.
WRITTEN = ".auricle"
RAVEN_COLUMNS = (
    *("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"),
    *("Begin File", "Annotation", "Score"),
)
# Control characters would end a line or a field of a selection table, and could not be read back.
_CONTROL = {place: " " for place in (*range(32), 127, 0x85, 0x2028, 0x2029)}
# Bytes of a part of a path, so that an ending still fits.
_LONGEST_PART = 180

Chunks = Iterable[pa.Table]


def check_table_ending(out: Path) -> str:
    """Return the ending of a path, which decides the format.

    Raises:
        ConfigError: there is no format of this ending.
    """
    return check_ending(out, ENDINGS, ".csv")


def write_predictions(
    out: Path, chunks: Chunks, *, schema: pa.Schema = SCHEMA, files: Iterable[str] = (), highest: float = 8000.0
) -> int:
    """Write predictions as they come, in the memory of one chunk; return the number of rows.

    Args:
        out: `.csv` (text that a spreadsheet would run as a formula gets a leading apostrophe, and such a path `./`),
            `.parquet`, `.jsonl` (one object a row), `.raven` or `.audacity`: a folder of one selection table, or label
            track, per recording, named as the recording (`a.wav.Table.1.selections.txt`, `a.wav.txt`).
        chunks: tables of the schema's columns, in order.
        schema: see `table_schema`.
        files: recordings that get a selection table or label track even without rows: nothing was found in them;
            read after the last chunk.
        highest: frequency in Hz up to which the boxes of selection tables reach.

    Raises:
        ConfigError: there is no format of this ending.
        StorageError: the disk is full, the path can't be written, or is a folder of other files.
    """
    ending = check_table_ending(out)
    rows = 0

    def counted() -> Iterator[pa.Table]:
        nonlocal rows
        for chunk in chunks:
            rows += len(chunk)
            yield chunk.select(schema.names).cast(schema)

    with disk_errors(out, REMEDY):
        out.parent.mkdir(parents=True, exist_ok=True)
        if ending in WRITERS:
            # Errors of Python's file keep their number, which identifies a full disk.
            with replacing(out, REMEDY) as partial, partial.open("wb") as stream:
                WRITERS[ending](stream, counted(), schema)
            return rows
        _check_folder(out)
        # Written beside its place: a kill leaves the old folder, or none, and never half of the new one.
        partial = out.with_name(f".{out.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        folder = _Folder(partial, raven=ending == ".raven", highest=highest)
        for chunk in counted():
            folder.add(chunk)
        for file in files:
            folder.open(file)
        (partial / WRITTEN).write_text("Made by auricle; a prediction with the same name replaces this folder.\n")
        if out.exists():
            shutil.rmtree(out)
        partial.rename(out)
    return rows


def _check_folder(out: Path) -> None:
    """Refuse to replace a folder that is not one of predictions.

    Raises:
        StorageError: naming what it holds.
    """
    if out.exists() and not (out / WRITTEN).is_file():
        held = sorted(path.name for path in out.iterdir())[:3] if out.is_dir() else [out.name]
        if held:
            raise StorageError(
                f"{out} holds {', '.join(held)}, and is no folder of predictions; choose another name for --out"
            )


def read_predictions(path: Path | str) -> pa.Table:
    """Read a table that `write_predictions` wrote as CSV, Parquet or JSON lines.

    Raises:
        CorpusError: it can't be read, or lacks a column.
        ConfigError: it is of another format; `open_corpus` reads those beside their recordings.
    """
    path = Path(path)
    ending = check_table_ending(path)
    if ending in FOLDERS:
        raise ConfigError(
            f"{path} is a folder of one file per recording, expected .csv, .parquet or .jsonl; put its files beside "
            "the recordings, and every command reads them as labels"
        )
    try:
        if ending == ".parquet":
            table = pq.read_table(path)
        elif ending == ".csv":
            table = _read_csv(path)
        else:
            with path.open(encoding="utf-8") as lines:
                table = pa.Table.from_pylist([json.loads(line) for line in lines])
        schema = table_schema(REASONS.names[0] in table.column_names)
        return table.select(schema.names).cast(schema) if table.column_names else schema.empty_table()
    except (OSError, KeyError, ValueError, TypeError, pa.ArrowException) as error:
        raise CorpusError(
            f"{path} can't be read as a table of predictions ({error}); expected the columns "
            f"{', '.join(SCHEMA.names)}; predict again"
        ) from error


def _read_csv(path: Path) -> pa.Table:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    if any(None in row or None in row.values() for row in rows):
        raise ValueError("a row has another number of cells")
    schema = table_schema(REASONS.names[0] in (reader.fieldnames or ()))
    return pa.table({name: _typed([row[name] for row in rows], name) for name in schema.names})


def _typed(cells: list[str], name: str) -> list[Any]:
    if name == "file":
        return [cell[2:] if cell[:2] == "./" else cell for cell in cells]
    if name in ("label", "nearest"):
        return [read_cell(cell) for cell in cells]
    if name == "anomalous":
        return [cell == "True" for cell in cells]
    return [float(cell) if cell else None for cell in cells]


def _csv(file: IO[bytes], chunks: Chunks, schema: pa.Schema) -> None:
    def rows() -> Iterator[Sequence[Any]]:
        for chunk in chunks:
            yield from zip(*(chunk[name].to_pylist() for name in schema.names), strict=True)

    for line in csv_lines(schema.names, rows(), paths=["file"]):
        file.write(line.encode())


def _parquet(file: IO[bytes], chunks: Chunks, schema: pa.Schema) -> None:
    with pq.ParquetWriter(file, schema) as writer:
        for chunk in chunks:
            writer.write_table(chunk)


def _json_lines(file: IO[bytes], chunks: Chunks, schema: pa.Schema) -> None:
    for chunk in chunks:
        for row in chunk.to_pylist():
            # JSON has no infinity and no NaN.
            clean = {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in row.items()}
            file.write((json.dumps(clean, ensure_ascii=False) + "\n").encode())


WRITERS: dict[str, Callable[[IO[bytes], Chunks, pa.Schema], None]] = {
    ".csv": _csv,
    ".parquet": _parquet,
    ".jsonl": _json_lines,
}
ENDINGS = (*WRITERS, *FOLDERS)


class _Folder:
    """Writes one text file per recording into a folder.

    Args:
        folder: the folder.
        raven: selection tables; else label tracks of Audacity.
        highest: frequency in Hz up to which boxes of selection tables reach.
    """

    def __init__(self, folder: Path, *, raven: bool, highest: float) -> None:
        self._folder, self._raven, self._highest = folder, raven, highest
        self._rows: Counter[str] = Counter()

    def add(self, chunk: pa.Table) -> None:
        """Write the rows of a chunk."""
        for file, rows in groupby(chunk.to_pylist(), key=lambda row: row["file"]):
            self._append(file, list(rows))

    def open(self, file: str) -> None:
        """Write what a recording without rows has: a header, or nothing."""
        if file not in self._rows:
            self._append(file, [])

    def _append(self, file: str, rows: Sequence[dict[str, Any]]) -> None:
        path = self._folder / _inside(file, ".Table.1.selections.txt" if self._raven else ".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", newline="") as text:
            if self._raven and file not in self._rows:
                text.write("\t".join(RAVEN_COLUMNS) + "\n")
            for row in rows:
                self._rows[file] += 1
                text.write("\t".join(self._cells(file, row)) + "\n")
            self._rows[file] += 0

    def _cells(self, file: str, row: dict[str, Any]) -> tuple[str, ...]:
        label = row["label"].translate(_CONTROL)
        start, end = (np.format_float_positional(row[name], trim="0") for name in ("start", "end"))
        if not self._raven:
            return start, end, label
        name = PurePosixPath(file).name.translate(_CONTROL)
        box = ("0.0", str(float(self._highest)))
        return str(self._rows[file]), "Spectrogram 1", "1", start, end, *box, name, label, str(row["score"])


def _inside(file: str, ending: str) -> PurePosixPath:
    """Return a path for a recording's file that can't leave the folder, unique for each name of a recording."""
    parts = [part for part in PurePosixPath(file).parts if part not in ("/", "..", ".")]
    cut = [part.encode()[:_LONGEST_PART].decode(errors="ignore").replace("\0", " ") for part in parts] or ["_"]
    if "/".join(cut) != file:
        cut[-1] = f"{cut[-1]}-{hashlib.sha256(file.encode()).hexdigest()[:8]}"
    return PurePosixPath(*cut[:-1], cut[-1] + ending)
