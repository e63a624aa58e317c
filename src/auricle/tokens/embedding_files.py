"""Tables of embeddings on disk: the ending of the file decides the format."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from auricle.config import nearest
from auricle.errors import ConfigError
from auricle.storage import csv_lines, replacing

REMEDY = "free some space or write elsewhere"
VECTORS = "embedding"


def check_ending(out: Path, endings: Sequence[str] | None = None, usual: str = ".parquet") -> str:
    """Return the ending of a file or folder, which decides its format.

    Args:
        out: the path.
        endings: of the formats; None: those of vectors.
        usual: ending that the message recommends.

    Raises:
        ConfigError: there is no format of this ending.
    """
    ending = out.suffix.lower()
    known = tuple(FORMATS) if endings is None else tuple(endings)
    if ending not in known:
        raise ConfigError(
            f"{out} ends in {ending!r}, expected {', '.join(known)}{nearest(ending, known, known=False)}; choose "
            f"one of these endings, which decides the format: {out.with_suffix(usual)}"
        )
    return ending


def bytes_needed(ending: str, clips: int, width: int) -> int:
    """Return about how many bytes the vectors of a table take."""
    return clips * width * (12 if ending in (".csv", ".jsonl") else 4)


def free_names(columns: Sequence[str], ending: str) -> dict[str, str]:
    """Return new names of columns whose name is that of the vectors: `{}` where there are none."""
    taken, renamed = set(columns), {}
    for name in columns:
        if name == VECTORS or (ending == ".csv" and re.fullmatch(rf"{VECTORS}_\d+", name)):
            new = f"table_{name}"
            while new in taken:
                new = f"{new}_"
            taken.add(new)
            renamed[name] = new
    return renamed


def write_table(out: Path, table: pa.Table, vectors: np.ndarray, origin: dict[str, str]) -> None:
    """Write columns and vectors `(N, D)` float32, atomically, in the format of the file's ending.

    Args:
        out: Parquet: `embedding` is a list of D floats. CSV: columns `embedding_0` ...; text that a spreadsheet would
            run as a formula gets a leading apostrophe, and such a path `./`. JSON lines: one object a row. npz: one
            array a column, `embedding` is `(N, D)`; text is an array of strings, and other values are JSON text.
        table: the columns, N rows.
        vectors: of the rows.
        origin: facts for the formats that hold metadata (Parquet).

    Raises:
        StorageError: the disk is full, or the file can't be written.
    """
    # Errors of Python's file keep their number, which identifies a full disk.
    with replacing(out, REMEDY) as partial, partial.open("wb") as file:
        FORMATS[out.suffix.lower()](file, table, vectors, origin)


def _parquet(file: Any, table: pa.Table, vectors: np.ndarray, origin: dict[str, str]) -> None:
    rows = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
    pq.write_table(table.append_column(VECTORS, rows).replace_schema_metadata(origin), file)


def _csv(file: Any, table: pa.Table, vectors: np.ndarray, origin: dict[str, str]) -> None:
    names = table.column_names
    rows = zip(*(table[name].to_pylist() for name in names), strict=True)
    head = [*names, *(f"{VECTORS}_{place}" for place in range(vectors.shape[1]))]
    cells = ([*map(_cell, row), *map(str, vector)] for row, vector in zip(rows, vectors, strict=True))
    for line in csv_lines(head, cells, paths=["file"]):
        file.write(line.encode())


def _json_lines(file: Any, table: pa.Table, vectors: np.ndarray, origin: dict[str, str]) -> None:
    names = table.column_names
    for row, vector in zip(zip(*(table[n].to_pylist() for n in names), strict=True), vectors, strict=True):
        record = dict(zip(names, map(_json_value, row), strict=True)) | {VECTORS: [float(str(x)) for x in vector]}
        file.write((json.dumps(record, ensure_ascii=False, default=str) + "\n").encode())


def _npz(file: Any, table: pa.Table, vectors: np.ndarray, origin: dict[str, str]) -> None:
    arrays = {name: _array(table[name]) for name in table.column_names}
    # Not np.savez: a column may be called `file`, the name of its first argument.
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in (*arrays.items(), (VECTORS, vectors)):
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue())


FORMATS: dict[str, Callable[[Any, pa.Table, np.ndarray, dict[str, str]], None]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".jsonl": _json_lines,
    ".npz": _npz,
}


def _array(column: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_boolean(column.type) or pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return np.asarray(column.to_numpy())
    return np.asarray([_cell(value) for value in column.to_pylist()], dtype=str)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else str(value)


def _json_value(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value
