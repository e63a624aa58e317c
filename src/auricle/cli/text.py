"""Verbs about audio and text: `zero-shot` and `text-retrieval`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from auricle.cli.arguments import ComputeArguments, ReadingArguments, command, parse


@dataclasses.dataclass(frozen=True, kw_only=True)
class _TextArguments(ReadingArguments, ComputeArguments):
    """Arguments of both verbs."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """Run folder of an encoder of audio and text (recipe `clap`), or one of its checkpoints."""
    data: str
    """Folder of audio, table or shards: whatever `auricle corpus scan` reads."""
    source: str = "source"
    """Column that names what a clip was recorded from: intervals count sources, not clips."""
    controls: bool = True
    """Evaluate the same towers with random weights as well."""
    on_leak: Literal["warn", "refuse", "drop"] = "warn"
    """Clips that were seen in training with their captions, or are copies of such (equal bytes, equal samples, the same
    sound encoded again): a note on the result, an error, or they are removed."""
    confidence: float = 0.95
    """Coverage of the intervals."""
    seed: int = 0
    """Seed of the control's weights."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ZeroShotArguments(_TextArguments):
    """Arguments of `auricle zero-shot`."""

    labels: str = "label"
    """Column of the labels; several of a clip are joined by `;`, and underscores are read as spaces."""
    template: tuple[str, ...] = ("a sound of {}",)
    """Texts with one place {} for the class; the vectors of several are averaged."""
    out: Path | None = None
    """File to write; by default RUN/zero-shot/CORPUS.json (CORPUS-COLUMN.json for another column than `label`)."""


def zero_shot(argv: Sequence[str]) -> None:
    """Classify by the texts of the classes."""
    about = (
        "Give each clip the class with the nearest text. Print the scores with intervals, chance and the "
        "same towers with random weights, and write them, with the class of each clip, into the run folder."
    )
    args = parse(ZeroShotArguments, argv, "zero-shot", about)
    from auricle.evaluation.audio_text.run import zero_shot as run

    _show(run(args.model, args.data, labels=args.labels, templates=args.template, **_shared(args)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextRetrievalArguments(_TextArguments):
    """Arguments of `auricle text-retrieval`."""

    columns: tuple[str, ...] = ()
    """Columns that hold captions; by default `caption`, or all of the table whose name begins or ends so."""
    captions: Path | None = None
    """Table with a column `file` and columns of captions; by default the data's own columns, or, where it has no
    column `caption`, the captions.csv in its folder."""
    out: Path | None = None
    """File to write; by default RUN/text-retrieval/CORPUS.json (CORPUS-COLUMNS.json where columns are named)."""


def text_retrieval(argv: Sequence[str]) -> None:
    """Search clips by captions, and captions by clips."""
    about = (
        "Rank all clips for each caption, and all captions for each clip: recall at 1, 5 and 10, mean reciprocal rank "
        "and mean average precision, with intervals, chance and the same towers with random weights. Write "
        "them into the run folder."
    )
    args = parse(TextRetrievalArguments, argv, "text-retrieval", about)
    from auricle.evaluation.audio_text.run import text_retrieval as run

    _show(run(args.model, args.data, columns=args.columns, captions=args.captions, **_shared(args)))


def _shared(args: Any) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(_TextArguments)} - {"model", "data", "config"}
    return {**{name: getattr(args, name) for name in names}, "out": args.out, "command": command()}


def _show(results: Any) -> None:
    console = Console()
    console.print(results.render())
    console.print(f"written: {results.path}", soft_wrap=True)
