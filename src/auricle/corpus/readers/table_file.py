"""Corpus tables on disk: Parquet, with the stores, strong labels and notes in the schema's metadata."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from auricle.corpus.columns import COLUMNS, HIDDEN, typed
from auricle.corpus.ledger import Ledger
from auricle.corpus.readers.text_table import reading
from auricle.corpus.stores import Store
from auricle.corpus.table import Corpus
from auricle.errors import CorpusError
from auricle.storage import replacing

_ABOUT = b"auricle.corpus"
_EVENTS = b"auricle.events"


def write_table(corpus: Corpus, path: Path, *, listing: str | None = None) -> Path:
    """Write a corpus's table to Parquet, atomically and without audio.

    Stores below the table's folder are named relative to it, so that the folder can be moved as a whole.

    Args:
        corpus: the corpus.
        path: the Parquet file; its folder is made.
        listing: digest of the folder's files (returned by `table_listing`).

    Raises:
        StorageError: the file can't be written.
    """
    here = path.resolve().parent
    stores = [_relative(store.describe(), here) for store in corpus.stores]
    about = {
        "name": corpus.name,
        "root": _relative({"root": str(corpus.root)}, here)["root"],
        "stores": stores,
        "ledger": corpus.ledger.to_json(),
        "notes": list(corpus.notes),
        "listing": listing,
    }
    metadata = {_ABOUT: json.dumps(about).encode()}
    if corpus.event_table is not None:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, corpus.event_table.schema) as writer:
            writer.write_table(corpus.event_table)
        metadata[_EVENTS] = sink.getvalue().to_pybytes()
    # Errors of Python's files have a number, by which a full disk is recognised.
    with replacing(path, "free some space, or write the table elsewhere (--out)") as part, part.open("wb") as file:
        pq.write_table(corpus.table.replace_schema_metadata(metadata), file, compression="zstd")
    return path


def is_table(path: Path) -> bool:
    """Return whether a Parquet file is a corpus table written by `write_table`."""
    try:
        return _ABOUT in (pq.read_schema(path).metadata or {})
    except Exception:  # a damaged file raises whatever its damage leads to
        return False


def read_table(path: Path) -> Corpus:
    """Open a corpus table written by `write_table`.

    Raises:
        CorpusError: the file is damaged, or no corpus table.
    """
    with reading(path, "Parquet file", "scan the folder again"):
        table = pq.read_table(path)
    metadata = table.schema.metadata or {}
    if "_rows" not in table.column_names:  # tables of earlier versions do not count them
        table = table.append_column("_rows", pa.array([0] * len(table), type=pa.int64()))
    if _ABOUT not in metadata or not {*COLUMNS, *HIDDEN} <= set(table.column_names):
        raise CorpusError(f"{path} was not written by `auricle corpus scan`; open it as a table of clips instead")
    here = path.resolve().parent
    with reading(path, "corpus table", "scan the folder again"):
        about = json.loads(metadata[_ABOUT])
        kinds = COLUMNS | HIDDEN
        table = pa.table(
            {n: typed(n, table.column(n), kinds[n]) if n in kinds else table.column(n) for n in table.column_names}
        )
        blank = [n for n in ("file", "start", "seconds", *HIDDEN) if table.column(n).null_count]
        store = table.column("_store")
        if blank or (len(table) and not 0 <= pc.min(store).as_py() <= pc.max(store).as_py() < len(about["stores"])):
            raise ValueError(f"the column {blank[0] if blank else '_store'} has a value that can't be")
        return Corpus(
            table.replace_schema_metadata(None).combine_chunks(),
            tuple(Store.from_description(_absolute(data, here)) for data in about["stores"]),
            str(about["name"]),
            Path(_absolute({"root": about["root"]}, here)["root"]),
            pa.ipc.open_stream(metadata[_EVENTS]).read_all() if _EVENTS in metadata else None,
            Ledger.from_json(about["ledger"]),
            tuple(about["notes"]),
        )


def table_listing(path: Path) -> str | None:
    """Return the digest of files that was passed to `write_table`."""
    with reading(path, "corpus table", "scan the folder again"):
        found = json.loads((pq.read_schema(path).metadata or {})[_ABOUT]).get("listing")
    return found if isinstance(found, str) else None


def _relative(data: dict[str, Any], here: Path) -> dict[str, Any]:
    if "root" not in data:
        return data
    root = Path(data["root"]).resolve()
    if root == here or here in root.parents:
        return {**data, "root": os.fspath(root.relative_to(here)), "relative": True}
    return {**data, "root": str(root), "relative": False}


def _absolute(data: dict[str, Any], here: Path) -> dict[str, Any]:
    if "root" not in data:
        return data
    # Joining an absolute path yields that path itself, so both kinds of root come out right.
    return {**data, "root": str(here / data["root"])}
