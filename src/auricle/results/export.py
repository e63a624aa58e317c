"""Sheets for a terminal, and as Markdown, CSV or LaTeX."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, Group
from rich.table import Table
from rich.text import Text

from auricle.results.book import Found, ResultBook
from auricle.results.record import Result
from auricle.results.tables import Sheet, list_sheets
from auricle.storage import csv_lines

_TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "†": r"\textdagger{}",
    "‡": r"\textdaggerdbl{}",
}


def render_results(results: Sequence[Result]) -> Group:
    """Return results for a terminal, as `auricle results` shows them."""
    return render_sheets(list_sheets(ResultBook(tuple(Found(result, Path()) for result in results))))


def render_sheets(sheets: Sequence[Sheet]) -> Group:
    """Return the sheets for a terminal, the best cells bold, notes below each."""
    shown: list[_Fitted | Text] = []
    for sheet in sheets:
        shown += [_Fitted(sheet), Text("".join(f"{note}.\n" for note in sheet.notes), style="dim")]
    return Group(*shown)


class _Fitted:
    """A sheet as a table of the terminal's width; columns that do not fit follow in further parts with the row's names.

    Numbers and words are not broken: only a single word that is longer than the terminal is wide.
    """

    def __init__(self, sheet: Sheet) -> None:
        self.sheet = sheet

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table | Text]:
        sheet = self.sheet
        # Two spaces between columns.
        least = [2 + self._least(column) for column in range(len(sheet.head))]
        keys = list(range(sheet.keys))
        parts: list[list[int]] = [[]]
        for column in range(sheet.keys, len(sheet.head)):
            if parts[-1] and sum(least[x] for x in (*keys, *parts[-1], column)) > options.max_width:
                parts.append([])
            parts[-1].append(column)
        yield Text(sheet.title, style="italic")
        for number, part in enumerate(parts):
            if number:
                yield Text()
            yield self._table([*keys, *part])

    def _least(self, column: int) -> int:
        cells = [row[column] for row in self.sheet.rows]
        words = [word for cell in cells for word in ([cell] if _is_number(cell) else cell.split())]
        return max((len(word) for word in (*words, *self.sheet.head[column].split())), default=0)

    def _table(self, columns: Sequence[int]) -> Table:
        sheet = self.sheet
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)
        for x in columns:
            table.add_column(
                Text(sheet.head[x]),
                justify="left" if x < sheet.keys else "right",
                overflow="fold",
                min_width=None if x < sheet.keys else self._least(x),
                # Room is taken from columns that can be broken.
                no_wrap=max(map(len, [sheet.head[x], *(row[x] for row in sheet.rows)])) <= self._least(x),
            )
        for y, row in enumerate(sheet.rows):
            table.add_row(*(Text(row[x], style="bold" if (y, x) in sheet.best else "") for x in columns))
        return table


def _is_number(cell: str) -> bool:
    return cell.lstrip("<+-[ ")[:1].isdigit()


def to_markdown(sheets: Sequence[Sheet]) -> str:
    """Write the sheets as Markdown tables, the best cells bold."""
    parts = []
    for sheet in sheets:
        lines = [f"### {_mark(sheet.title)}", "", _line(map(_mark, sheet.head))]
        lines.append(_line(":--" if x == 0 else "--:" for x in range(len(sheet.head))))
        for y, row in enumerate(sheet.rows):
            lines.append(_line(f"**{_mark(c)}**" if (y, x) in sheet.best else _mark(c) for x, c in enumerate(row)))
        parts.append("\n".join([*lines, "", *(f"- {_mark(note)}" for note in sheet.notes)]))
    return "\n\n".join(parts) + "\n"


def to_csv(sheets: Sequence[Sheet]) -> str:
    """Write the records of all sheets in full precision, as stored (a metric in % as a share); `table` names the sheet.

    Undefined numbers are empty. Columns that only some sheets have are empty in the others' lines.
    """
    columns = list(dict.fromkeys(key for sheet in sheets for record in sheet.records for key in record))
    rows = (
        [sheet.title, *(_plain(record.get(name)) for name in columns)] for sheet in sheets for record in sheet.records
    )
    return "".join(csv_lines(["table", *columns], rows))


def to_latex(sheets: Sequence[Sheet]) -> str:
    """Write the sheets as LaTeX tables (package booktabs), the best cells bold, notes in the caption."""
    parts = []
    for sheet in sheets:
        lines = [r"\begin{table}[t]", r"\centering", rf"\begin{{tabular}}{{l{'r' * (len(sheet.head) - 1)}}}"]
        lines += [r"\toprule", " & ".join(map(_tex, sheet.head)) + r" \\", r"\midrule"]
        for y, row in enumerate(sheet.rows):
            cells = [rf"\textbf{{{_tex(c)}}}" if (y, x) in sheet.best else _tex(c) for x, c in enumerate(row)]
            lines.append(" & ".join(cells) + r" \\")
        notes = " ".join(f"{_tex(note)}." for note in sheet.notes)
        lines += [r"\bottomrule", r"\end{tabular}", rf"\caption{{{_tex(sheet.title)}. {notes}}}", r"\end{table}"]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _mark(text: str) -> str:
    """Escape what Markdown would read as its own signs; a cell can't hold a line break or a bar."""
    text = " ".join(text.split())
    for sign in "\\`*_[]<>|":
        text = text.replace(sign, f"\\{sign}")
    return text


def _tex(text: str) -> str:
    return "".join(_TEX.get(c, c) for c in " ".join(text.split()))


def _plain(value: Any) -> Any:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return value
