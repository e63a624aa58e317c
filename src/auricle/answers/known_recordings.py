"""What a library has of the recordings of a corpus: copies, moved and changed recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from auricle.corpus.stores import Place, Store
from auricle.corpus.table import Corpus

# Where a recording is: number of its store in the library, key, offset.
Where = tuple[int, str, int]
_COLUMNS = ["store", "key", "offset", "recording", "file"]


@dataclass
class Comparison:
    """The recordings of a corpus beside those of a library.

    Attributes:
        files: name in the library of each clip's recording: its own, or its path where another recording has that.
        copies: clips of recordings that are copies of others -> of what.
        moved: recordings of the library that were moved: their content -> `file`, `store`, `key`, `offset` and `size`.
        changed: recordings of the library whose place now holds something else, by content.
    """

    files: list[str]
    copies: dict[int, str] = field(default_factory=dict)
    moved: dict[bytes, dict[str, Any]] = field(default_factory=dict)
    changed: set[bytes] = field(default_factory=set)


def compare(
    known: pa.Table,
    corpus: Corpus,
    contents: Sequence[bytes],
    numbers: Sequence[int],
    stores: Sequence[dict[str, Any]],
) -> Comparison:
    """Compare the recordings of a corpus with those of a library.

    Args:
        known: columns of the library's table.
        corpus: the clips.
        contents: identity of each clip's recording; none (`b""`) where it can't be read.
        numbers: number in the library of each store of the corpus.
        stores: descriptions of the stores of the library.
    """
    theirs, taken = _theirs(known)
    names = ("file", "_store", "_key", "_offset", "_size")
    rows = list(zip(*(corpus.table.column(name).to_pylist() for name in names), strict=True))
    places: list[Where] = [(numbers[store], key, offset) for _, store, key, offset, _ in rows]
    now = dict(zip(places, contents, strict=True))
    # Of the places that hold one content, the first is that of the recording, the others are copies; the place that the
    # library knows, or else one of its name, comes before all others.
    first: dict[bytes, Where] = {}
    for place, content in now.items():
        at = theirs.get(content)
        if content and (content not in first or place == at or (at and first[content] != at and place[1:] == at[1:])):
            first[content] = place
    opened = [Store.from_description(data) for data in stores]
    found = Comparison([])
    for content, place in first.items():
        at = theirs.get(content)
        # What the library knows at a place outside the corpus that is still there is the recording, and this the copy.
        if at is not None and at != place and at not in now and _exists(opened, at):
            first[content] = at
    # After a kill a place may have rows of both, the old content and the new.
    found.changed = {
        content
        for content, place in theirs.items()
        if content not in first and now.get(place, b"") not in (b"", content)
    }
    gone = {
        place for content, place in theirs.items() if content in found.changed or first.get(content, place) != place
    }
    named = {place: file for file, place in taken.items()}
    for row, ((file, store, key, offset, size), place, content) in enumerate(zip(rows, places, contents, strict=True)):
        if taken.get(file, place) != place and taken[file] not in gone:
            data = corpus.stores[store].describe()
            file = (Path(data.get("root", "")) / key).as_posix()
        found.files.append(file)
        if not content:
            continue
        if first[content] != place:
            found.copies[row] = named.get(first[content], first[content][1])
        elif theirs.get(content, place) != place:
            found.moved[content] = {
                "file": file, "store": numbers[store], "key": key, "offset": offset, "size": size
            }  # fmt: skip
    return found


def _theirs(known: pa.Table) -> tuple[dict[bytes, Where], dict[str, Where]]:
    """Return the place of each content, and of each name, in a library."""
    grouped = known.select(_COLUMNS).group_by(_COLUMNS).aggregate([])
    rows = list(zip(*(grouped.column(name).to_pylist() for name in _COLUMNS), strict=True))
    places = {content: (store, key, offset) for store, key, offset, content, _ in rows}
    return places, {file: (store, key, offset) for store, key, offset, _, file in rows}


def moved_rows(known: pa.Table, moved: dict[bytes, dict[str, Any]]) -> pa.Table:
    """Return `id` and the new place of the rows of moved recordings."""
    there = known.filter(pc.is_in(known.column("recording"), value_set=pa.array(list(moved), pa.binary(16))))
    places = [moved[content] for content in there.column("recording").to_pylist()]
    kinds = {"file": pa.string(), "store": pa.int32(), "key": pa.string(), "offset": pa.int64(), "size": pa.int64()}
    return pa.table(
        {"id": there.column("id"), **{n: pa.array([place[n] for place in places], kind) for n, kind in kinds.items()}}
    )


def _exists(stores: Sequence[Store], at: Where) -> bool:
    number, key, offset = at
    span = stores[number].span(Place(key, offset))
    return span is not None and span[0].exists()
