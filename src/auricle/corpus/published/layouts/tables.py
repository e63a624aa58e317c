"""Readers of publishers' tables (CSV, TSV, plain lists) and of the recordings below a folder."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from auricle.audio.identify import AUDIO_SUFFIXES
from auricle.errors import CorpusError

Row = dict[str, str]


def read_text(path: Path) -> str:
    """Return a file's text.

    Raises:
        CorpusError: the file is missing or no UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not UTF-8 ({error.reason} at byte {error.start})") from error
    except OSError as error:
        raise CorpusError(f"{path} can't be read: {error.strerror}; the data set should hold it") from error


def read_lines(path: Path) -> list[str]:
    """Return a file's lines that are not blank, without white space at their ends."""
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def read_rows(
    path: Path, needed: Iterable[str], *, delimiter: str = ",", names: Sequence[str] | None = None
) -> list[Row]:
    """Read a table into one dictionary per line.

    Args:
        path: the table.
        needed: required columns.
        delimiter: between values.
        names: of the columns of a file without a header.

    Raises:
        CorpusError: the table can't be read, or a column is missing.
    """
    reader = csv.DictReader(
        io.StringIO(read_text(path), newline=""), fieldnames=names, delimiter=delimiter, skipinitialspace=True
    )
    found = [name.strip() for name in reader.fieldnames or ()]
    lacking = [name for name in needed if name not in found]
    if lacking:
        raise CorpusError(
            f"{path} has no column {lacking[0]!r}; found {', '.join(found) or 'nothing'}: it is not the publisher's "
            "table, or of another version"
        )
    reader.fieldnames = found
    return [
        {k: (v or "").strip() for k, v in row.items() if k is not None and not isinstance(v, list)} for row in reader
    ]


def column_of(rows: Sequence[Row], name: str) -> list[str | None]:
    """Return one column's values, None for blanks."""
    return [row[name] or None for row in rows]


def audio_below(folder: Path, pattern: str = "**/*") -> list[str]:
    """Return the recordings below a folder that match a pattern: relative names, sorted, without hidden ones."""
    found = []
    for path in folder.glob(pattern):
        if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".") and path.is_file():
            found.append(path.relative_to(folder).as_posix())
    return sorted(found)


def index_audio(folder: Path) -> dict[str, str]:
    """Return stem -> name of every recording below a folder; of two with one stem, the first by name.

    Uses `os.walk`, which is fast enough for a million files in one folder.
    """
    found: dict[str, str] = {}
    for here, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        base = os.path.relpath(here, folder).replace(os.sep, "/")
        for file in sorted(files):
            stem, suffix = Path(file).stem, Path(file).suffix
            if suffix.lower() in AUDIO_SUFFIXES and not file.startswith("."):
                found.setdefault(stem, file if base == "." else f"{base}/{file}")
    return found


def parts_of(name: str, count: int, separator: str, where: str) -> list[str]:
    """Split a recording's stem into the parts that the publisher encodes in it.

    Raises:
        CorpusError: the number of parts is not `count`.
    """
    parts = Path(name).stem.split(separator)
    if len(parts) != count:
        shape = separator.join(["x"] * count)
        raise CorpusError(f"{name!r} is no recording of {where}; expected a name such as {shape}{Path(name).suffix}")
    return parts


def number(text: str, path: Path, what: str) -> float:
    """Return a number of a table.

    Raises:
        CorpusError: the text is no number.
    """
    try:
        return float(text)
    except ValueError as error:
        raise CorpusError(f"{path}: {what} is {text!r}; expected a number") from error


def columns_of(rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """Turn rows into columns; missing values are None."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}
