"""Concatenation of corpora."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from auricle.corpus.columns import COLUMNS, EVENT_COLUMNS, HIDDEN
from auricle.corpus.ledger import Ledger
from auricle.corpus.stores import Store
from auricle.corpus.table import Corpus
from auricle.errors import CorpusError


def join(corpora: Sequence[Corpus], name: str | None = None) -> Corpus:
    """Join corpora into one.

    Each file's name gets its corpus's name as a prefix, so that names stay unique; the column `corpus` holds the name.
    Columns that are missing in some corpora are None there; a column of different types becomes text.

    Raises:
        CorpusError: there is nothing to join.
    """
    if not corpora:
        raise CorpusError("no corpora to join; pass at least one")
    names = _distinct([corpus.name for corpus in corpora])
    tables, events = [], []
    stores: list[Store] = []
    ledger = Ledger()
    notes: list[str] = []
    for corpus, title in zip(corpora, names, strict=True):
        table = _prefixed(corpus.table, title)
        if "corpus" not in table.column_names:
            table = table.append_column("corpus", pa.array([title] * len(table), type=pa.string()))
        moved = pc.cast(pc.add(table.column("_store"), len(stores)), pa.int32())
        tables.append(table.set_column(table.column_names.index("_store"), "_store", moved))
        if corpus.event_table is not None:
            events.append(_prefixed(corpus.event_table, title))
        stores += corpus.stores
        ledger = ledger.merge(corpus.ledger, f"{title}/")
        notes += [f"{title}: {note}" for note in corpus.notes]
    table = _stacked(tables)
    # Internal columns come last, so that two ways of joining the same corpora give the same columns.
    table = table.select([n for n in table.column_names if n not in HIDDEN] + list(HIDDEN))
    return Corpus(
        table,
        tuple(stores),
        name or "+".join(names),
        _common_root([corpus.root for corpus in corpora]),
        _stacked(events) if events else None,
        ledger,
        tuple(notes),
    )


def _distinct(names: Sequence[str]) -> list[str]:
    distinct: list[str] = []
    for name in names:
        # A numbered name may be that of another corpus.
        numbered = (f"{name}-{number}" for number in itertools.count(2))
        distinct.append(next(n for n in itertools.chain([name], numbered) if n not in distinct))
    return distinct


def _prefixed(table: pa.Table, title: str) -> pa.Table:
    files = pc.binary_join_element_wise(pa.scalar(title), table.column("file"), pa.scalar("/"))
    return table.set_column(table.column_names.index("file"), "file", files)


def _stacked(tables: Sequence[pa.Table]) -> pa.Table:
    kinds: dict[str, set[pa.DataType]] = {}
    for table in tables:
        for column in table.schema:
            if not pa.types.is_null(column.type):
                kinds.setdefault(column.name, set()).add(column.type)
    same = []
    for table in tables:
        for place, column in enumerate(table.schema):
            fixed = column.name in COLUMNS or column.name in HIDDEN or column.name in EVENT_COLUMNS
            if not fixed and len(kinds.get(column.name, ())) > 1:
                texts = [None if v is None else str(v) for v in table.column(column.name).to_pylist()]
                table = table.set_column(place, column.name, pa.array(texts, type=pa.string()))
        same.append(table)
    return pa.concat_tables(same, promote_options="permissive").combine_chunks()


def _common_root(roots: Sequence[Path]) -> Path:
    try:
        return Path(os.path.commonpath([root.resolve() for root in roots]))
    except ValueError:  # different drives have no common folder
        return roots[0]
