"""A scan's report in the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from auricle.corpus.scan import ScanReport


def render(report: ScanReport, console: Console, longest: int) -> None:
    """Print a report; lists are cut after `longest` lines."""
    console.print(_summary(report))
    counts = report.label_counts
    if counts:
        table = Table(title=f"labels ({len(counts)})")
        table.add_column("label")
        table.add_column("clips", justify="right")
        table.add_column("share", justify="right")
        for label, count in list(counts.items())[:longest]:
            table.add_row(escape(label), str(count), f"{count / len(report.corpus):.1%}")
        if len(counts) > longest:
            table.add_row(f"... and {len(counts) - longest} more", "", "")
        console.print(table)
    if report.broken:
        table = Table(title=f"left out ({len(report.broken)})")
        table.add_column("recording", overflow="fold")
        table.add_column("reason", overflow="fold")
        for file, reason in list(report.broken.items())[:longest]:
            table.add_row(_one_line(file), escape(reason))
        if len(report.broken) > longest:
            table.add_row(f"... and {len(report.broken) - longest} more", "see ScanReport.broken")
        console.print(table)
    _list(console, "the same sound", ("  =  ".join(_one_line(f) for f in g) for g in report.duplicates), longest)
    _list(console, "silent", (_one_line(file) for file in report.silent), longest)
    _list(console, "clipped", (_one_line(file) for file in report.clipped), longest)
    for note in report.notes:
        console.print(f"note: {escape(note)}")
    if report.table is not None:
        console.print(f"table: {escape(str(report.table))}", soft_wrap=True)


def _summary(report: ScanReport) -> Table:
    corpus = report.corpus
    table = Table(title=escape(corpus.name), show_header=False)
    table.add_column("what")
    table.add_column("value", overflow="fold")
    table.add_row("clips", f"{len(corpus)} ({report.unlabelled} unlabelled)")
    table.add_row("hours", f"{report.hours:.3f}")
    table.add_row("seconds a clip", ", ".join(f"{name} {value:.3g}" for name, value in report.durations().items()))
    table.add_row("sample rates", _counted((f"{rate} Hz", count) for rate, count in report.rates.items()))
    table.add_row("channels", _counted((str(n), count) for n, count in report.channels.items()))
    table.add_row("formats", _counted(report.formats.items()))
    splits = {s for s in corpus.column("split") if s}
    folds = {f for f in corpus.column("fold") if f is not None}
    sources = {s for s in corpus.column("source") if s}
    table.add_row("splits", ", ".join(sorted(splits)) or "none")
    table.add_row("folds", str(len(folds)) if folds else "none")
    table.add_row("sources", str(len(sources)) if sources else "not told")
    table.add_row("left out", str(len(report.broken)))
    table.add_row("duplicates", f"{len(report.duplicates)} groups, {sum(map(len, report.duplicates))} clips")
    table.add_row("silent, clipped", f"{len(report.silent)}, {len(report.clipped)}")
    return table


def _counted(pairs: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{escape(name)}: {count}" for name, count in pairs)


def _list(console: Console, title: str, lines: Iterable[str], longest: int) -> None:
    listed = list(lines)
    if not listed:
        return
    console.print(f"[bold]{title}[/bold] ({len(listed)})")
    for line in listed[:longest]:
        console.print(f"  {line}", soft_wrap=True)
    if len(listed) > longest:
        console.print(f"  ... and {len(listed) - longest} more")


def _one_line(name: str) -> str:
    """A file's name may hold line breaks and other control characters; a terminal must not obey them."""
    return escape("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name))
