"""The report of a scan, and its tables in the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from auricle.corpus.ledger import Ledger, one_line
from auricle.corpus.table import Corpus
from auricle.words import counted, plural


@dataclass(frozen=True)
class ScanReport:
    """The result of a scan.

    Attributes:
        corpus: the usable clips, with the columns `scan_rate` (Hz), `scan_channels`, `scan_format`, `scan_peak`,
            `scan_level_db`, `scan_silent`, `scan_clipped` and `scan_digest`.
        duplicates: groups of clips with equal audio, by file names.
        silent: silent clips.
        clipped: clips with many samples at full scale.
        table: path of the written table, or None.
        notes: remarks on the corpus.
    """

    corpus: Corpus
    duplicates: tuple[tuple[str, ...], ...]
    silent: tuple[str, ...]
    clipped: tuple[str, ...]
    table: Path | None
    notes: tuple[str, ...] = field(default=())

    @property
    def ledger(self) -> Ledger:
        """What came in, what of it is used, and why the rest is not; the list beside the table names it."""
        return self.corpus.ledger

    @property
    def broken(self) -> dict[str, str]:
        """Recordings that were skipped -> the reason."""
        return self.ledger.reasons()

    @property
    def hours(self) -> float:
        """Length of all usable clips."""
        return self.corpus.seconds / 3600

    @property
    def rates(self) -> dict[int, int]:
        """Sample rate in Hz -> number of clips."""
        return dict(Counter(self.corpus.column("scan_rate")).most_common())

    @property
    def channels(self) -> dict[int, int]:
        """Channels -> number of clips."""
        return dict(Counter(self.corpus.column("scan_channels")).most_common())

    @property
    def formats(self) -> dict[str, int]:
        """File format -> number of clips."""
        return dict(Counter(self.corpus.column("scan_format")).most_common())

    @property
    def label_counts(self) -> dict[str, int]:
        """Label -> number of clips with it, most frequent first."""
        return dict(Counter(label for labels in self.corpus.labels for label in labels).most_common())

    @property
    def unlabelled(self) -> int:
        """Clips without a label."""
        return sum(not labels for labels in self.corpus.labels)

    def durations(self) -> dict[str, float]:
        """Return shortest, 5th percentile, median, 95th percentile, longest clip and mean, in seconds."""
        seconds = np.asarray(self.corpus.column("seconds"), dtype=np.float64)
        names = ("shortest", "5 %", "median", "95 %", "longest")
        quantiles = np.quantile(seconds, [0, 0.05, 0.5, 0.95, 1])
        return {**dict(zip(names, map(float, quantiles), strict=True)), "mean": float(seconds.mean())}

    def render(self, console: Console | None = None, *, longest: int = 20) -> None:
        """Print the report as tables; lists are cut off after `longest` lines."""
        console = console or Console()
        console.print(_summary(self))
        counts = self.label_counts
        if counts:
            table = Table(title=f"labels ({len(counts)})")
            table.add_column("label")
            table.add_column("clips", justify="right")
            table.add_column("share", justify="right")
            for label, count in list(counts.items())[:longest]:
                table.add_row(escape(label), str(count), f"{count / len(self.corpus):.1%}")
            if len(counts) > longest:
                table.add_row(f"... and {len(counts) - longest} more", "", "")
            console.print(table)
        if self.ledger.entries:
            console.print(self.ledger.table(longest))
        _list(console, "duplicates", ("  =  ".join(one_line(f) for f in g) for g in self.duplicates), longest)
        _list(console, "clipped", (one_line(file) for file in self.clipped), longest)
        for note in self.notes:
            console.print(f"note: {escape(note)}")
        console.print(escape(self.ledger.sentence), soft_wrap=True)
        if self.table is not None:
            console.print(f"table: {escape(str(self.table))}", soft_wrap=True)


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
    table.add_row("sources", str(len(sources)) if sources else "none")
    for kind, came in report.ledger.came.items():
        if came:
            table.add_row(plural(kind), f"{report.ledger.used.get(kind, 0):,} of {came:,} used")
    if corpus.event_table is not None:
        known = len(corpus.annotated & set(corpus.column("file")))
        where = counted(known, "annotated recording")
        table.add_row("events", f"{len(corpus.events):,}, in {where}; the others are unknown")
    table.add_row(
        "duplicates", f"{counted(len(report.duplicates), 'group')}, {counted(sum(map(len, report.duplicates)), 'clip')}"
    )
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
