"""Verbs about libraries: `index` and `search`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from auricle.cli.arguments import MODEL, ComputeArguments, DeviceArguments, ReadingArguments, TrustArguments, parse

# Hits that the terminal shows.
_SHOWN = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class IndexArguments(ReadingArguments, ComputeArguments, TrustArguments):
    """Arguments of `auricle index`."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(help=MODEL, metavar="MODEL")]
    data: str
    """Folder of audio, table or shards: whatever `auricle corpus scan` reads."""
    out: Path
    """Folder of the library, which is made where there is none; what it has is not encoded again."""
    segment: float | None = None
    """Divide longer recordings into segments of this many seconds: one row per segment. A library that is there keeps
    its own; a new one has whole clips without it."""
    hop: float | None = None
    """Seconds between the starts of two segments; by default --segment, without overlap."""
    space: Literal["encoder", "text"] | None = None
    """`encoder` (the default of a new library): the clip vectors of the model; `text`: the space that a run of audio
    and text (recipe `clap`) shares with texts, for `auricle search --text`."""
    batch: int = 16
    """Clips encoded at once, at most."""


def index(argv: Sequence[str]) -> None:
    """Add recordings to a library of vectors."""
    about = (
        "Encode recordings, or segments of them, into a library: a folder of vectors that `auricle search` searches "
        "and `auricle label` labels. Run it again to add recordings, or to continue after a kill: what is there is not "
        "encoded again, changed recordings are replaced, moved ones are found."
    )
    args = parse(IndexArguments, argv, "index", about)
    from auricle.answers.indexing import index as run
    from auricle.words import counted

    settings = {f.name: getattr(args, f.name) for f in dataclasses.fields(args) if f.name not in ("config", "model")}
    done = run(args.model, **settings)
    print(f"{counted(done.added, 'row')} added, {done.rows:,} in all: {done.path}")
    print(done.ledger.sentence)
    for note in done.notes:
        print(f"note: {note}", file=sys.stderr)
    for file, reason in done.broken.items():
        print(f"skipped {file!r}: {reason}", file=sys.stderr)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchArguments(DeviceArguments):
    """Arguments of `auricle search`."""

    library: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="LIBRARY")]
    """Folder that `auricle index` wrote."""
    sound: Path | None = None
    """Recording to search by: what sounds like it, or like its part between --from and --to."""
    from_: Annotated[float | None, tyro.conf.arg(name="from")] = None
    """Start in --sound, in seconds."""
    to: float | None = None
    """End in --sound, in seconds."""
    text: str | None = None
    """Text to search by, such as "an owl"; for a library that was indexed with --space text."""
    row: int | None = None
    """Id of a row of the library to search by; those that overlap it in its recording are no hits."""
    top: int = 50
    """Number of hits, at most."""
    exact: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Compare the vectors of all rows, also in a library so large that its search is approximate."""
    apart: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Of segments of one recording that overlap, keep only the one with the highest score."""
    label: str | None = None
    """Label of the hits in --out; by default the text, the name of the sound, or `row ID`."""
    out: Path | None = None
    """Table of the hits to write; its ending decides the format: .csv, .parquet, .jsonl, or .raven and .audacity: a
    folder of one selection table or label track per recording."""
    page: Path | None = None
    """HTML page of the hits to write, with spectrograms and sounds; it opens offline."""
    model: str | None = None
    """The model that made the library, where it is no longer where it was."""
    trust_remote_code: bool = False
    """Run the Python code that a Hub repository brings; only for `hf:` models whose authors you trust."""


def search(argv: Sequence[str]) -> None:
    """Search a library of vectors."""
    about = (
        "Find what sounds like a sound, fits a text, or is near a row of a library. Small libraries are searched "
        "exactly, large ones approximately: the output says which, and what share of the nearest rows that finds."
    )
    args = parse(SearchArguments, argv, "search", about)
    from rich.console import Console
    from rich.table import Table

    from auricle.answers.searching import search as run
    from auricle.corpus.ledger import one_line

    settings = {f.name: getattr(args, f.name) for f in dataclasses.fields(args) if f.name not in ("config", "library")}
    found = run(args.library, **settings)
    table = Table("score", "row", "file", "start", "end", "label", title=None, box=None)
    for row in found.rows.slice(0, _SHOWN).to_pylist():
        times = (f"{row[name]:.2f}" for name in ("start", "end"))
        table.add_row(
            f"{row['score']:.3f}", str(row["id"]), one_line(row["file"]), *times, one_line(row["known"] or "")
        )
    console = Console()
    console.print(table)
    if len(found) > _SHOWN:
        console.print(f"... and {len(found) - _SHOWN:,} more; --out writes all")
    console.print(found.how, soft_wrap=True, highlight=False)
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    for path in (args.out, args.page):
        if path is not None:
            console.print(f"written: {path}", soft_wrap=True, highlight=False)
