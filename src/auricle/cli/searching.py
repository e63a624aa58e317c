"""Verbs about libraries: `index` and `search`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from auricle.cli.arguments import MODEL, ComputeArguments, ReadingArguments, TrustArguments, parse


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
