"""Label tables (CSV, TSV, JSON lines, Parquet) as columns of a corpus."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from auricle.corpus.columns import listed
from auricle.corpus.readers.ranges import Times, find_times, numbers
from auricle.corpus.readers.text_table import read_text_table, reading
from auricle.errors import CorpusError

# Names that other tools use for our columns.
ALIASES = {
    "file": ("path", "filename", "file_name", "filepath", "fname", "audio", "audio_file"),
    "label": ("labels", "category", "class", "tags"),
    "split": ("subset", "set"),
    "source": ("src_file", "recording"),
    "seconds": ("duration",),
    "start": ("offset_seconds",),
}
SPLITS = {
    "training": "train",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
_TEXT = ("file", "label", "split", "source")


@dataclass(frozen=True)
class LabelTable:
    """A table of clips.

    Attributes:
        columns: with our names and types; `start` and `seconds` in the unit of `times`.
        times: names and unit of the columns of times.
        at: names a row (counted from 0) for messages: `metadata.csv, line 7`.
        notes: remarks on how it was read.
    """

    columns: dict[str, list[Any]]
    times: Times
    at: Callable[[int], str]
    notes: tuple[str, ...] = ()


def read_label_table(path: Path) -> LabelTable:
    """Read a table of clips into columns with our names and types.

    `label`, `split` and `source` stay text (a label `0` or a speaker `007` is a name). Any other column becomes numbers
    only if every value can be written back exactly. Columns of begins, ends and lengths of other tools become `start`
    and `seconds` (see `ranges.find_times`).

    Raises:
        CorpusError: the table can't be read, has no column for the file names, or a value is of the wrong type.
    """
    comma = False
    suffix = path.suffix.lower()

    def at(row: int) -> str:
        return f"{path}, {'row' if suffix == '.parquet' else 'record'} {row + 1}"

    raw: Mapping[str, Sequence[Any]]
    if suffix == ".jsonl":
        raw = _read_jsonl(path)
    elif suffix == ".parquet":
        with reading(path, "Parquet file"):
            raw = _read_parquet(path)
    else:
        table = read_text_table(path, ("file", *ALIASES["file"]))
        raw, comma, line = table.columns, table.delimiter in ";\t", table.line
        del table

        def at(row: int) -> str:
            return f"{path}, line {line(row)}"

    columns, times, notes = find_times(raw, at, comma)
    del raw  # of millions of rows, texts of numbers are a large part
    return LabelTable(tidy_columns(columns, str(path), at=at, comma=comma), times, at, notes)


def _read_parquet(path: Path) -> dict[str, list[Any]]:
    table = pq.read_table(path)
    return {name: listed(table.column(name)) for name in table.column_names}


def _read_jsonl(path: Path) -> dict[str, list[Any]]:
    with reading(path, "file of one JSON object a line"):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise CorpusError(f'{path} lists nothing; expected one JSON object a line, such as {{"file": "a.wav"}}')
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def tidy_columns(
    columns: Mapping[str, Sequence[Any]],
    where: str,
    *,
    needs_file: bool = True,
    at: Callable[[int], str] | None = None,
    comma: bool = False,
) -> dict[str, list[Any]]:
    """Give columns our names and types.

    Args:
        columns: values per column.
        where: name of the table in messages.
        needs_file: require a column of file names.
        at: names a row in messages.
        comma: the table is divided by semicolons or tabs, so that a comma in a number is its decimal sign.

    Raises:
        CorpusError: there is no column for the file names, or a value is of the wrong type.
    """
    at = at or (lambda row: f"{where}, row {row + 1}")
    named = {
        str(name).strip(): values if isinstance(values, list) else list(values)
        for name, values in columns.items()
        if not str(name).startswith("_")
    }
    lower = {name.lower(): name for name in reversed(named)}
    for ours, others in ALIASES.items():
        if ours not in named:
            found = next((lower[alias] for alias in (ours, *others) if alias in lower), None)
            if found is not None:
                named[ours] = named.pop(found)
    if needs_file and "file" not in named:
        raise CorpusError(
            f"{where} has no column for file names; found {', '.join(named) or 'nothing'}, expected `file` "
            f"(or {', '.join(ALIASES['file'])})"
        )
    tidy: dict[str, list[Any]] = {}
    for name, values in named.items():
        if name in _TEXT:
            tidy[name] = _texts(values)
        elif name in ("start", "seconds"):
            known = all(v is None or (isinstance(v, float) and math.isfinite(v)) for v in values)
            tidy[name] = values if known else numbers(values, "seconds", name, at, comma)
        elif name == "fold":
            tidy[name] = [None if n is None else int(n) for n in numbers(values, "a whole number", name, at, comma)]
        else:
            tidy[name] = _guessed(values)
    if "split" in tidy:
        usual = {value: tidy_split(value) for value in set(tidy["split"])}
        tidy["split"] = [usual[value] for value in tidy["split"]]
    return tidy


def tidy_split(name: str | None) -> str | None:
    """Return the usual name of a split: `train`, `valid`, `test` in any case, or the name itself."""
    if name is None:
        return None
    usual = SPLITS.get(name.lower(), name.lower())
    return usual if usual in SPLITS.values() else name


def _texts(values: Sequence[Any]) -> list[str | None]:
    """Return values as text; whole numbers that a missing value made floats are whole again."""
    if all(value is None or isinstance(value, str) for value in values):
        return [value.strip() or None if value is not None else None for value in values]
    floats = [value for value in values if isinstance(value, float) and value == value]
    whole = bool(floats) and all(value.is_integer() for value in floats)
    known: dict[Any, str | None] = {}  # equal texts are one object
    found = []
    for value in values:
        if isinstance(value, float):
            value = None if value != value else int(value) if whole else value
        if isinstance(value, list | tuple):
            found.append(";".join(text for text in _texts(value) if text) or None)
        elif isinstance(value, str):
            found.append(known.setdefault(value, value.strip() or None))
        else:
            found.append(None if value is None else str(value))
    return found


def _guessed(values: list[Any]) -> list[Any]:
    texts = [value for value in values if value is not None]
    if not texts or not all(isinstance(value, str) for value in texts):
        return values
    if all(re.fullmatch(r"0|-?[1-9]\d{0,17}", text) for text in texts):
        return [None if value is None else int(value) for value in values]
    # 1.10 may be a version: what would not come back as it is stays text.
    if all(re.fullmatch(r"-?\d+\.\d+", text) and repr(float(text)) == text for text in texts):
        return [None if value is None else float(value) for value in values]
    return values
