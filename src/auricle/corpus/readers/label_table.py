"""Label tables (CSV, TSV, JSON lines, Parquet) as columns of a corpus."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

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


def read_label_table(path: Path) -> dict[str, list[Any]]:
    """Read a table of clips into columns with our names and types.

    `label`, `split` and `source` stay text (a label `0` or a speaker `007` is a name). Any other column becomes numbers
    only if every value can be written back exactly.

    Raises:
        CorpusError: the table can't be read, has no column for the file names, or a value is of the wrong type.
    """
    if path.suffix.lower() == ".jsonl":
        return tidy_columns(_read_jsonl(path), str(path))
    if path.suffix.lower() == ".parquet":
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise CorpusError(f"{path} is no readable Parquet file ({error}); write it again") from error
        return tidy_columns(table.to_pydict(), str(path))
    return tidy_columns(read_csv(path), str(path))


def read_csv(path: Path) -> dict[str, list[Any]]:
    """Read a CSV or TSV with a header into columns of text; blanks become None.

    Raises:
        CorpusError: the file can't be read, is empty, or a line has too many or too few values.
    """
    rows: list[list[str]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as f:
            header_line = f.readline()
            f.seek(0)
            reader = csv.reader(f, delimiter=_delimiter(path, header_line))
            for row in reader:
                if not row:
                    continue
                if rows and len(row) != len(rows[0]):
                    raise CorpusError(
                        f"{path}, line {reader.line_num}: {len(row)} values, but the header names {len(rows[0])}; "
                        "fix the line (quote values with a comma or a line break)"
                    )
                rows.append(row)
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error
    except (OSError, csv.Error) as error:
        raise CorpusError(f"{path} can't be read: {error}") from error
    if len(rows) < 2:
        raise CorpusError(f"{path} lists nothing; expected a header such as file,label and one line per clip")
    header = [name.strip() for name in rows[0]]
    if len(set(header)) < len(header):
        raise CorpusError(f"{path} names a column twice: {', '.join(header)}; rename one")
    return {name: [row[i] if row[i] != "" else None for row in rows[1:]] for i, name in enumerate(header)}


def _read_jsonl(path: Path) -> dict[str, list[Any]]:
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path} can't be read as one JSON object a line: {error}") from error
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise CorpusError(f'{path} lists nothing; expected one JSON object a line, such as {{"file": "a.wav"}}')
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _delimiter(path: Path, header: str) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    # Only the header shows the delimiter: below it a semicolon joins labels.
    return max(",;\t", key=header.count) if "," not in header else ","


def tidy_columns(columns: Mapping[str, Sequence[Any]], where: str, *, needs_file: bool = True) -> dict[str, list[Any]]:
    """Give columns our names and types.

    Args:
        columns: values per column.
        where: name of the table in messages.
        needs_file: require a column of file names.

    Raises:
        CorpusError: there is no column for the file names, or a value is of the wrong type.
    """
    named = {name.strip(): list(values) for name, values in columns.items() if not name.startswith("_")}
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
            tidy[name] = [_text(value) for value in values]
        elif name in ("start", "seconds"):
            tidy[name] = _numbers(values, float, name, where)
        elif name == "fold":
            tidy[name] = _numbers(values, int, name, where)
        else:
            tidy[name] = _guessed(values)
    if "split" in tidy:
        tidy["split"] = [tidy_split(value) for value in tidy["split"]]
    return tidy


def tidy_split(name: str | None) -> str | None:
    """Return the usual name of a split: `train`, `valid`, `test`, or the name itself."""
    return None if name is None else SPLITS.get(name.lower(), name)


def _text(value: Any) -> str | None:
    if isinstance(value, list | tuple):
        return ";".join(str(v) for v in value) or None
    return None if value is None or value == "" else str(value)


def _numbers(values: Sequence[Any], kind: type, name: str, where: str) -> list[Any]:
    numbers: list[Any] = []
    for row, value in enumerate(values):
        if value is None or value != value:  # NaN is a missing value of other tools
            numbers.append(None)
            continue
        try:
            number = kind(value.strip()) if isinstance(value, str) else kind(value)
            if math.isinf(number) or (not isinstance(value, str) and number != value):
                raise ValueError("not a finite number of this kind")
        except (TypeError, ValueError, OverflowError) as error:
            wanted = "a whole number" if kind is int else "seconds"
            raise CorpusError(f"{where}, row {row + 1}: {name} is {value!r}; expected {wanted} or nothing") from error
        numbers.append(None if number != number else number)
    return numbers


def _guessed(values: list[Any]) -> list[Any]:
    texts = [value for value in values if value is not None]
    if not texts or not all(isinstance(value, str) for value in texts):
        return values
    if all(re.fullmatch(r"0|-?[1-9]\d{0,17}", text) for text in texts):
        return [None if value is None else int(value) for value in values]
    if all(re.fullmatch(r"-?(0|[1-9]\d*)\.\d+", text) for text in texts):
        return [None if value is None else float(value) for value in values]
    return values
