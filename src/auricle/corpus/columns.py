"""The columns of a corpus table and their types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from auricle.audio.decode import Channel, parse_channel
from auricle.errors import CorpusError

COLUMNS = {
    "file": pa.string(),
    "start": pa.float64(),
    "seconds": pa.float64(),
    "label": pa.string(),
    "split": pa.string(),
    "fold": pa.int64(),
    "source": pa.string(),
}
HIDDEN = {
    "_store": pa.int32(),
    "_key": pa.string(),
    "_offset": pa.int64(),
    "_size": pa.int64(),
    "_whole": pa.bool_(),
    # Rows of a label table behind the clip, which a ledger loses with it; 0 for pieces after the first.
    "_rows": pa.int64(),
}
EVENT_COLUMNS = {"file": pa.string(), "onset": pa.float64(), "offset": pa.float64(), "label": pa.string()}
# How a clip is read, where that is not the usual way: part of the fingerprint, so that nothing is mixed up.
READ_CHANNEL = "read_channel"
READ_EXPANSION = "read_expansion"
# Columns of a scan are not part of the fingerprint: they do not identify clips.
SCAN_PREFIX = "scan_"


def reading_of(row: Mapping[str, Any]) -> tuple[Channel, float]:
    """Return the channel and the time expansion that a row of a corpus is read with.

    Examples:
        >>> reading_of({"file": "a.wav", "read_channel": "1"})
        (1, 1.0)
    """
    channel = row.get(READ_CHANNEL) or "mix"
    return parse_channel(str(channel)), float(row.get(READ_EXPANSION) or 1.0)


def split_labels(text: str | None) -> tuple[str, ...]:
    """Split a `;`-joined label text; None and blanks yield no labels."""
    return tuple(part.strip() for part in (text or "").split(";") if part.strip())


def listed(column: pa.ChunkedArray | pa.Array) -> list[Any]:
    """Return the values of a column as a list in which equal values are one object: those of millions of rows are few.

    Examples:
        >>> listed(pa.array(["a", None, "a"]))
        ['a', None, 'a']
    """
    if pa.types.is_dictionary(column.type):
        return list(column.to_pylist())
    try:
        encoded = column.dictionary_encode()
    except pa.ArrowNotImplementedError:  # lists, structures, extensions such as UUID, small decimals
        return list(column.to_pylist())
    chunks = encoded.chunks if isinstance(encoded, pa.ChunkedArray) else [encoded]
    # All chunks have the same dictionary.
    values = [*chunks[-1].dictionary.to_pylist(), None] if chunks else []
    return [values[i] for chunk in chunks for i in chunk.indices.fill_null(len(values) - 1).to_numpy()]


def typed(name: str, values: Any, kind: pa.DataType) -> pa.Array:
    """Return values as an Arrow array of a known type.

    Raises:
        CorpusError: a value is of another type.
    """
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    try:
        return values.cast(kind) if isinstance(values, pa.Array) else pa.array(_list(values), type=kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise CorpusError(f"column {name!r} can't be read as {kind}: {error}") from error


def _list(values: Any) -> list[Any]:
    return values if isinstance(values, list) else list(values)


def untyped(values: Any) -> pa.Array:
    """Return values as an Arrow array of their own type; text if they are mixed."""
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    try:
        return pa.array(_list(values))
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return pa.array([None if value is None else str(value) for value in values])
