"""The table of a library: one row per segment, in LanceDB.

Lance writes new files and then their list, in one step: a killed process leaves rows whole or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from auricle.corpus.columns import COLUMNS, READ_CHANNEL, READ_EXPANSION
from auricle.corpus.table import Corpus
from auricle.errors import AuricleError, StorageError
from auricle.extras import require
from auricle.storage import FULL, REMEDY, free_bytes

NAME = "segments"
# What of the audio a row is of, and where that is: names of a corpus's columns, without the underscore.
_PLACE = {
    "whole": pa.bool_(),
    "store": pa.int32(),
    "key": pa.string(),
    "offset": pa.int64(),
    "size": pa.int64(),
    READ_CHANNEL: pa.string(),
    READ_EXPANSION: pa.float64(),
    "recording": pa.binary(16),
    "clip": pa.binary(16),
    "silent": pa.bool_(),
}
_SHOWN = {
    "id": pa.int64(),
    "file": pa.string(),
    "start": pa.float64(),
    "end": pa.float64(),
    "label": pa.string(),
    "split": pa.string(),
    "fold": pa.int64(),
    "source": pa.string(),
    "extra": pa.string(),
}
SHOWN, PLACE = tuple(_SHOWN), tuple(_PLACE)
# Caches of Lance hold at most this much, whatever the size of the library.
_CACHE_BYTES = 2**27


def schema(width: int) -> pa.Schema:
    """Return the columns of a table of vectors `(width,)`."""
    return pa.schema([*_SHOWN.items(), *_PLACE.items(), ("vector", pa.list_(pa.float16(), width))])


def open_segments(folder: Path, width: int | None = None) -> Any:
    """Open the table of a library.

    Args:
        folder: of the library.
        width: of the vectors of a table that is made where there is none; None: it has to be there.

    Raises:
        MissingExtraError: LanceDB is not installed.
        StorageError: there is no table, or it is damaged.
    """
    lancedb = require("lancedb", extra="index")
    if width is None and not (folder / f"{NAME}.lance").is_dir():
        raise StorageError(
            f"{folder} has no folder {NAME}.lance, which holds the vectors; expected a library that `auricle index` "
            "wrote: restore the folder, or index the recordings again into a new one"
        )
    session = lancedb.Session(index_cache_size_bytes=_CACHE_BYTES, metadata_cache_size_bytes=_CACHE_BYTES)
    with lance_errors(folder):
        database = lancedb.connect(str(folder), session=session)
        if width is None:
            return database.open_table(NAME)
        return database.create_table(NAME, schema=schema(width), exist_ok=True)


@contextmanager
def lance_errors(folder: Path) -> Iterator[None]:
    """Turn whatever Lance raises into an error that names the library and what to do.

    Raises:
        StorageError: the disk is full, or the table is damaged or can't be written.
    """
    try:
        yield
    except AuricleError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())
        if getattr(error, "errno", None) in FULL or any(f"os error {code}" in said for code in FULL):
            raise StorageError(
                f"no space left to write {folder} ({free_bytes(folder) / 1e6:.1f} MB free); {REMEDY}. What was added "
                "before is kept: run the same command again to add the rest"
            ) from error
        raise StorageError(
            f"the table of the library {folder} can't be used ({type(error).__name__}: {said[:300]}); expected what "
            "`auricle index` wrote: restore the folder, or index the recordings again into a new one"
        ) from error


def scan(table: Any, columns: Sequence[str], where: str | None = None) -> pa.Table:
    """Return columns of all rows, or of those that meet a condition, in no stated order."""
    query = table.search().select(list(columns))
    found: pa.Table = (query if where is None else query.where(where)).to_arrow()
    return found.select(list(columns))


def rows_of(
    corpus: Corpus,
    rows: Sequence[int],
    vectors: np.ndarray,
    *,
    ids: np.ndarray,
    files: Sequence[str],
    stores: Sequence[int],
    recordings: Sequence[bytes],
    clips: Sequence[bytes],
    silent: Sequence[bool],
) -> pa.Table:
    """Return rows of a table for clips of a corpus.

    Args:
        corpus: the clips.
        rows: of the corpus, n.
        vectors: `(n, D)`.
        ids: `(n,)`.
        files: names of the recordings in the library.
        stores: number of each store of the corpus in the library.
        recordings: identity of each recording.
        clips: identity of each clip.
        silent: whether each clip is silent.
    """
    part = corpus.select(list(rows))
    own = {name: part.table.column(name).to_pylist() for name in part.table.column_names}
    none = [None] * len(part)
    more = [name for name in part.columns if name not in (*COLUMNS, READ_CHANNEL, READ_EXPANSION)]
    columns: dict[str, Any] = {
        "id": ids,
        "file": files,
        "start": own["start"],
        "end": [start + seconds for start, seconds in zip(own["start"], own["seconds"], strict=True)],
        **{name: own[name] for name in ("label", "split", "fold", "source")},
        "extra": [_json({name: own[name][i] for name in more}) for i in range(len(part))],
        **{name: own[f"_{name}"] for name in ("whole", "key", "offset", "size")},
        "store": [stores[number] for number in own["_store"]],
        **{name: own.get(name, none) for name in (READ_CHANNEL, READ_EXPANSION)},
        "recording": recordings,
        "clip": clips,
        "silent": silent,
    }
    width = vectors.shape[1]
    flat = pa.array(vectors.astype(np.float16).reshape(-1))
    columns["vector"] = pa.FixedSizeListArray.from_arrays(flat, width)
    return pa.table({f.name: pa.array(columns[f.name], type=f.type) for f in schema(width)}, schema=schema(width))


def _json(values: dict[str, Any]) -> str | None:
    held = {name: value for name, value in values.items() if value is not None}
    return json.dumps(held, ensure_ascii=False, default=str) if held else None
