"""Verbs that ask a run in words: `zero-shot` and `text-retrieval`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from auricle.cli.arguments import ModelArguments, command, expand, parse


@dataclasses.dataclass(frozen=True, kw_only=True)
class _TextArguments(ModelArguments):
    """Arguments of both verbs."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """Run folder of an encoder of audio and text (recipe `clap`), or one of its checkpoints."""
    data: str
    """Folder of audio, table or shards: whatever `auricle corpus scan` reads."""
    source: str = "source"
    """Column that names what a clip was recorded from: the bootstrap draws clips of one source together."""
    controls: bool = True
    """Evaluate the same towers with random weights as well."""
    resamples: int = 1000
    """Bootstrap samples of the intervals."""
    confidence: float = 0.95
    """Coverage of the intervals."""
    seed: int = 0
    """Seed of the bootstrap and of the control's weights."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ZeroShotArguments(_TextArguments):
    """What `auricle zero-shot` takes."""

    labels: str = "label"
    """Column of the labels; several of a clip are joined by `;`, and underscores are read as spaces."""
    template: tuple[str, ...] = ("a sound of {}",)
    """Texts with one place {} for the class; the vectors of several are averaged."""
    out: Path | None = None
    """File to write; by default RUN/zero-shot/CORPUS.json (CORPUS-COLUMN.json for another column than `label`)."""


def zero_shot(argv: Sequence[str]) -> None:
    """Classify by the texts of the classes: `auricle zero-shot RUN --data FOLDER --labels label`."""
    about = (
        "Give each clip the class whose text is nearest. Prints the scores with bootstrap intervals, beside chance and "
        "the same towers with random weights, and writes them, with the class found for each clip, into the run folder."
    )
    args = parse(ZeroShotArguments, expand(argv), "zero-shot", about)
    from auricle.evaluation.audio_text.run import study_zero_shot

    _show(
        study_zero_shot(
            args.run,
            args.data,
            labels=args.labels,
            templates=args.template,
            source=args.source,
            control=args.control,
            resamples=args.resamples,
            confidence=args.confidence,
            seed=args.seed,
            out=args.out,
            command=command(),
        )
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextRetrievalArguments(_TextArguments):
    """What `auricle text-retrieval` takes."""

    columns: tuple[str, ...] = ()
    """Columns that hold captions; by default `caption`, or all of the table whose name begins or ends so."""
    captions: Path | None = None
    """Table with a column `file` and columns of captions; by default the data's own columns, or, where it has no
    column `caption`, the captions.csv in its folder."""
    out: Path | None = None
    """File to write; by default RUN/text-retrieval/CORPUS.json (CORPUS-COLUMNS.json where columns are named)."""


def text_retrieval(argv: Sequence[str]) -> None:
    """Search clips by captions, captions by clips: `auricle text-retrieval RUN --data FOLDER`."""
    about = (
        "Rank all clips for each caption, and all captions for each clip: recall at 1, 5 and 10, mean reciprocal rank "
        "and mean average precision, with bootstrap intervals, beside chance and the same towers with random weights. "
        "Writes them into the run folder."
    )
    args = parse(TextRetrievalArguments, expand(argv), "text-retrieval", about)
    from auricle.evaluation.audio_text.run import study_text_retrieval

    _show(
        study_text_retrieval(
            args.run,
            args.data,
            columns=args.columns,
            captions=args.captions,
            source=args.source,
            control=args.control,
            resamples=args.resamples,
            confidence=args.confidence,
            seed=args.seed,
            out=args.out,
            command=command(),
        )
    )


def _show(study: Any) -> None:
    console = Console()
    console.print(study.render())
    console.print(f"written: {study.path}", soft_wrap=True)
