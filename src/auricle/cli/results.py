"""The verb `results`: list, filter, compare and export results."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from auricle.cli.arguments import FileArguments, parse
from auricle.errors import AuricleError
from auricle.words import counted

if TYPE_CHECKING:
    from auricle.results.book import ResultBook


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResultsArguments(FileArguments):
    """Arguments of `auricle results`."""

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[PATH ...]")] = (Path(),)
    """Run folders, folders of runs, or results.jsonl files; by default all below the current folder."""
    task: tuple[str, ...] = ()
    """Tasks to show, by name or pattern (`esc*`)."""
    encoder: tuple[str, ...] = ()
    """Encoders, by name, pattern or fingerprint, or `random`, `log-mel` and `mfcc`."""
    probe: tuple[str, ...] = ()
    """Probes, by name or pattern."""
    role: tuple[Literal["pretrained", "random", "log-mel", "mfcc"], ...] = ()
    """Only pretrained encoders, or only controls."""
    type_: Annotated[tuple[str, ...], tyro.conf.arg(name="type")] = ()
    """Types of tasks: clips, events, regression ..."""
    protocol: tuple[str, ...] = ()
    """Protocols: strict (ours), hear, evar, xares ..."""
    metric: str | None = None
    """Another metric than each task's headline."""
    compare: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FIRST SECOND")] = ()
    """Two encoders (or two probes): a paired test of their difference with its interval, and Wilcoxon over tasks."""
    ranks: bool = False
    """Average ranks with critical differences, and how stable ranks are (Kendall's tau)."""
    format: Literal["table", "markdown", "csv", "latex"] = "table"
    """Format of the output."""
    out: Path | None = None
    """File to write; by default the output goes to the screen."""
    confidence: float = 0.95
    """Coverage of the intervals of comparisons."""
    seed: int = 0
    """Seed of the permutations of ranks."""


def results(argv: Sequence[str]) -> None:
    """List, compare and export results."""
    about = (
        "List results: one table for each task, metric, corpus and protocol. --compare tests the difference of two "
        "encoders or probes, --ranks ranks them over tasks. Names are patterns."
    )
    args = parse(ResultsArguments, argv, "results", about)
    from rich.console import Console

    from auricle.results.book import ResultBook
    from auricle.results.comparison import compare_results
    from auricle.results.export import render_sheets, to_csv, to_latex, to_markdown
    from auricle.results.ranks import rank_results
    from auricle.results.tables import compare_sheets, list_sheets, noted, rank_sheets
    from auricle.storage import write_atomic

    if not 0 < args.confidence < 1:
        raise AuricleError(f"confidence is {args.confidence}; expected a number between 0 and 1: set --confidence 0.95")
    book = ResultBook.collect(args.paths).where(
        task=args.task,
        encoder=args.encoder,
        probe=args.probe,
        role=args.role,
        type_name=args.type_,
        protocol=args.protocol,
        metric=args.metric,
    )
    sheets = []
    if args.compare:
        first, second = _two(args.compare, book)
        sheets += compare_sheets(compare_results(book, first, second, confidence=args.confidence))
    if args.ranks:
        sheets += rank_sheets([rank_results(book, axis, seed=args.seed) for axis in ("encoder", "probe")])
    # A list of results has these notes in its tables.
    sheets = noted(sheets, book.caveats) if sheets else list_sheets(book)
    if args.format == "table":
        shown = render_sheets(sheets)
        if args.out is None:
            Console().print(shown)
            return
        console = Console(width=160, color_system=None)
        with console.capture() as captured:
            console.print(shown)
        text = captured.get()
    else:
        text = {"markdown": to_markdown, "csv": to_csv, "latex": to_latex}[args.format](sheets)
    if args.out is None:
        print(text, end="")
        return
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(args.out, text.encode())
    print(args.out)


def _two(names: Sequence[str], book: ResultBook) -> tuple[str, str]:
    """Return the two names of a comparison.

    Raises:
        AuricleError: there are more or fewer; says what to write.
    """
    if len(names) == 2:
        return names[0], names[1]
    probes, encoders = sorted({found.result.probe for found in book.found}), sorted(set(book.labels().values()))
    known = probes if names[0] in probes or len(encoders) < 2 else encoders
    pair = list(dict.fromkeys((*(name for name in names if name in known), *known)))[:2]
    remedy = f"; write --compare {shlex.join(pair)}" if len(pair) == 2 else ""
    raise AuricleError(
        f"--compare has {counted(len(names), 'name')}: {', '.join(names)}; expected two encoders or two probes{remedy}"
    )
