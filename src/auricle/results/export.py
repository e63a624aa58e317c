"""Sheets for a terminal, and as Markdown, CSV or LaTeX."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Group
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
}


def render_results(results: Sequence[Result]) -> Group:
    """Return results for a terminal, as `auricle results` shows them."""
    return render_sheets(list_sheets(ResultBook(tuple(Found(result, Path()) for result in results))))


def render_sheets(sheets: Sequence[Sheet]) -> Group:
    """Return the sheets for a terminal, the best cells bold, notes below each."""
    shown: list[Table | Text] = []
    for sheet in sheets:
        table = Table(title=Text(sheet.title), title_justify="left")
        for place, name in enumerate(sheet.head):
            table.add_column(Text(name), justify="left" if place == 0 else "right", overflow="fold")
        for y, row in enumerate(sheet.rows):
            table.add_row(*(Text(cell, style="bold" if (y, x) in sheet.best else "") for x, cell in enumerate(row)))
        shown += [table, Text("".join(f"{note}.\n" for note in sheet.notes), style="dim")]
    return Group(*shown)


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
