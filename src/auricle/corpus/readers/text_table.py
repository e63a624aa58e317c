"""CSV and TSV files as people have them, as columns of text.

A plain file is read by Arrow; one with line breaks or quotes in its values by Python's reader, which gives the same
values and can be checked line by line.
"""

from __future__ import annotations

import csv
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from auricle.audio.identify import AUDIO_SUFFIXES
from auricle.corpus.columns import listed
from auricle.errors import AuricleError, CorpusError
from auricle.storage import FORMULA, read_cell
from auricle.words import counted

_BLOCK = 1 << 22
# Different texts of which one object each is kept.
_SHARED = 100_000
_DELIMITERS = ",;\t|"
# A cell that is quoted as a whole; in tables with tabs all other quotes are text.
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')


@dataclass(frozen=True)
class TextTable:
    """A table of text.

    Attributes:
        path: the file.
        columns: name -> values; None where a cell is blank.
        line: returns the line of the file that a row (counted from 0) ends on.
        delimiter: between values.
    """

    path: Path
    columns: dict[str, list[str | None]]
    line: Callable[[int], int]
    delimiter: str


@contextmanager
def reading(path: Path, what: str, remedy: str = "write it again") -> Iterator[None]:
    """Turn whatever a library raises on somebody else's file into an error that names the file.

    Args:
        path: the file.
        what: kind of file, such as `Parquet file`.
        remedy: what to do.

    Raises:
        CorpusError: the file can't be read.
    """
    try:
        yield
    except AuricleError:
        raise
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise CorpusError(f"{path} is no readable {what} ({reason}); {remedy}") from error


def read_csv(path: Path) -> dict[str, list[str | None]]:
    """Read a CSV or TSV with a header into columns of text; blanks become None (see `read_text_table`)."""
    return read_text_table(path).columns


def read_text_table(path: Path, known: Sequence[str] = ()) -> TextTable:
    """Read a CSV or TSV with a header into columns of text.

    Accepted: a byte order mark, a first line `sep=;`, blank lines, rows of separators only, separators at the end of
    lines, columns without name and values, spaces around values, and an apostrophe before a sign that begins a formula
    (see `storage.csv_lines`). Between tabs, quotes are text unless a whole value is quoted.

    Args:
        path: the file.
        known: names that one column should have, by which the delimiter is found.

    Raises:
        CorpusError: the file can't be read, is empty or not UTF-8; a line has too many or too few values; a value
            with a line break in it seems to swallow other lines, because a quote is not closed.
    """
    with reading(path, "table"):
        skip, header, delimiter, quotes = _begin(path, known)
        # Between tabs a quote is text, and Arrow does not know quotes after a space.
        slow = quotes == "odd" or (quotes and delimiter == "\t")
        found = None if slow else _read_fast(path, skip, header, delimiter, bool(quotes))
        columns, line = found or _read_slowly(path, skip, header, delimiter)
    count = max(map(len, columns.values()), default=0)
    if not count:
        raise CorpusError(f"{path} lists nothing; expected a header such as file,label and one line per clip")
    return TextTable(path, columns, line, delimiter)


def _begin(path: Path, known: Sequence[str]) -> tuple[int, list[str], str, Literal["", "plain", "odd"]]:
    """Return the number of lines up to and with the header, the header, the delimiter, and what quotes there are."""
    quotes: Literal["", "plain", "odd"] = ""
    given, begin, skip, last = "", None, 0, b""
    with path.open("rb") as raw:
        while block := raw.read(_BLOCK):
            if b"\x00" in block or block[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise CorpusError(f"{path} is not UTF-8 (it looks like UTF-16, or is no text); save it as UTF-8")
            if b'"' in block and quotes != "odd":
                quotes = "odd" if b' "' in block or (last == b" " and block[:1] == b'"') else "plain"
            last = block[-1:]
    with path.open(encoding="utf-8-sig", newline="") as file:
        for text in file:
            line = text.rstrip("\r\n")
            skip += 1
            if skip == 1 and (found := re.fullmatch(r'"?sep=(.)"?', line.strip())):
                given = found[1]
            elif line.strip(f"{_DELIMITERS} "):
                begin = line
                break
    if begin is None:
        return skip, [], given or ",", quotes
    delimiter = given or _delimiter(path, begin, known)
    return skip, _cells(begin, delimiter), delimiter, quotes


def _cells(line: str, delimiter: str) -> list[str]:
    if delimiter == "\t":
        return [_bare(cell) for cell in line.rstrip("\r\n").split(delimiter)]
    return [read_cell(cell.strip()) for cell in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))]


def _bare(cell: str) -> str:
    found = _QUOTED.fullmatch(cell.strip())
    return read_cell((found[1].replace('""', '"') if found else cell).strip())


def _delimiter(path: Path, header: str, known: Sequence[str]) -> str:
    # Only the header shows the delimiter: below it a semicolon joins labels.
    order = "\t,;|" if path.suffix.lower() == ".tsv" else _DELIMITERS
    names = {name.lower() for name in known}
    fitting = [sign for sign in order if names & {cell.lower() for cell in _cells(header, sign)} and sign in header]
    if fitting:
        return fitting[0]
    if path.suffix.lower() == ".tsv":
        return "\t"
    return max(",;\t", key=header.count) if "," not in header else ","


def _names(path: Path, header: Sequence[str]) -> list[str]:
    named = [name for name in header if name]
    if len(set(named)) < len(named):
        raise CorpusError(f"{path} names a column twice: {', '.join(named)}; rename one")
    nameless = [i for i, name in enumerate(header) if not name]
    # An index written by pandas has no name; a second one needs some.
    return [name or ("" if nameless[0] == i else f"column {i + 1}") for i, name in enumerate(header)]


def _wrong_length(path: Path, line: int, found: int, expected: int, delimiter: str) -> CorpusError:
    quotes = "between tabs no value may hold a tab or a line break"
    rule = quotes if delimiter == "\t" else "quote values with a separator or a line break in them"
    what = f"{counted(found, 'value')}, but the header names {expected}"
    return CorpusError(f"{path}, line {line}: {what}; fix the line ({rule})")


def _read_fast(
    path: Path, skip: int, header: list[str], delimiter: str, quoted: bool
) -> tuple[dict[str, list[str | None]], Callable[[int], int]] | None:
    """Read a file by Arrow; None: it needs the reader that names the line."""
    names = [f"{i}" for i in range(len(header))]
    options = {
        "read_options": pa_csv.ReadOptions(column_names=names, skip_rows=skip, block_size=_BLOCK),
        "parse_options": pa_csv.ParseOptions(delimiter=delimiter, quote_char='"' if quoted else False),
        "convert_options": pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), null_values=[]),
    }
    try:
        table = pa_csv.read_csv(path, **options)
    except pa.ArrowInvalid:
        # A line that is too long or too short, a file of only a header, bytes that are no UTF-8.
        return None
    if quoted and any(_matches(column, '["\r\n]') for column in table.columns):
        return None
    filled = None
    for i, column in enumerate(table.columns):
        column = pc.utf8_trim_whitespace(column)
        if _matches(column, f"^'{FORMULA}"):
            column = pc.replace_substring_regex(column, f"^'({FORMULA})", r"\1")
        some = pc.not_equal(column, "")
        filled = some if filled is None else pc.or_(filled, some)
        table = table.set_column(i, names[i], column)
    if not pc.all(filled).as_py():
        table = table.filter(filled)
    kept: dict[str, list[str | None]] = {}
    for column, name, title in zip(table.columns, _names(path, header), header, strict=True):
        blank = pc.equal(column, "")
        if title or not pc.all(blank).as_py():
            kept[name] = listed(pc.if_else(blank, pa.scalar(None, pa.string()), column))

    @cache
    def lines() -> NDArray[np.int64]:
        return _line_numbers(path, skip, header, delimiter)

    return kept, lambda row: int(lines()[row])


def _matches(column: pa.ChunkedArray, pattern: str) -> bool:
    return any(pc.any(pc.match_substring_regex(chunk, pattern)).as_py() for chunk in column.chunks)


def _line_numbers(path: Path, skip: int, header: list[str], delimiter: str) -> NDArray[np.int64]:
    # Arrow does not say where its rows come from: a second pass does, once and only where messages name rows.
    with path.open(encoding="utf-8-sig", newline="") as file:
        numbers = (number for number, _ in _rows(file, skip, len(header), delimiter, path))
        return np.fromiter(numbers, dtype=np.int64)


def _read_slowly(
    path: Path, skip: int, header: list[str], delimiter: str
) -> tuple[dict[str, list[str | None]], Callable[[int], int]]:
    columns: list[list[str | None]] = [[] for _ in header]
    lines, known = array("q"), dict[str, str]()
    with path.open(encoding="utf-8-sig", newline="") as file:
        for line, row in _rows(file, skip, len(header), delimiter, path):
            lines.append(line)
            for column, value in zip(columns, row, strict=True):
                # Equal texts are one object, as long as there are few.
                column.append((known.setdefault(value, value) if len(known) < _SHARED else value) or None)
    named = zip(_names(path, header), columns, header, strict=True)
    return {name: values for name, values, title in named if title or any(values)}, lambda row: lines[row]


def _rows(file: Iterator[str], skip: int, width: int, delimiter: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not blank with the line on which it ends."""
    for _ in range(skip):
        next(file)
    if delimiter == "\t":
        split = ((i, _cells(line, delimiter)) for i, line in enumerate(file, 1))
    else:
        reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
        split = ((reader.line_num, [read_cell(cell.strip()) for cell in row]) for row in reader)
    for number, row in split:
        if not any(row):
            continue
        if delimiter != "\t":
            _refuse_swallowed(path, skip + number, row, delimiter)
        if len(row) < width or any(row[width:]):
            raise _wrong_length(path, skip + number, len(row), width, delimiter)
        yield skip + number, row[:width]


def _refuse_swallowed(path: Path, number: int, row: Sequence[str], delimiter: str) -> None:
    """Refuse values with line breaks that hold other rows: a quote that is not closed takes the lines below it."""
    for value in row:
        if "\n" not in value and "\r" not in value:
            continue
        for inner in re.split(r"\r\n|\r|\n", value)[1:]:
            cells = [cell.strip(' "') for cell in inner.split(delimiter)]
            audio = any(PurePosixPath(cell).suffix.lower() in AUDIO_SUFFIXES for cell in cells)
            if (audio and len(cells) > 1) or len(cells) >= len(row) > 1:
                begun = number - value.count("\n")
                raise CorpusError(
                    f"{path}, line {begun}: a quote opens here and closes on line {number}, so that the lines between "
                    'would be one value; close the quote, or write "" for a quote in a value'
                )
