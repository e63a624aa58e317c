"""Verbs about audio: `corpus scan` and `embed`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import tyro
from rich.console import Console

from auricle.cli.arguments import parse
from auricle.config import nearest
from auricle.errors import AuricleError


@dataclasses.dataclass(frozen=True)
class ScanArguments:
    """What `auricle corpus scan` takes."""

    path: tyro.conf.Positional[str]
    """Folder of audio, table (CSV, Parquet), folder of shards, `hub:user/name` or `builtin:scenes`."""
    out: Path | None = None
    """Where the table of clips goes; by default `auricle-corpus.parquet` in the folder itself."""
    exclude: tuple[str, ...] = ()
    """Corpora (sub-folders with a metadata.csv of their own) to leave out."""


def corpus(argv: Sequence[str]) -> None:
    """Look at recordings before training: `auricle corpus scan PATH`."""
    if not argv or argv[0] != "scan":
        if argv and argv[0] not in ("-h", "--help"):
            raise AuricleError(f"`auricle corpus` has no command {argv[0]!r}{nearest(argv[0], ['scan'])}")
        print("usage: auricle corpus scan PATH [--out TABLE.parquet]\n\nauricle corpus scan --help says more.")
        return
    args = parse(
        ScanArguments,
        argv[1:],
        "corpus scan",
        "Read every recording once: counts, hours, rates, durations, label balance, duplicates, silent and broken "
        "files with the reason. Writes the table of clips, which every other command takes as --data.",
    )
    from auricle.corpus.scan import scan

    report = scan(args.path, out=args.out, exclude=args.exclude)
    report.render(Console())


@dataclasses.dataclass(frozen=True)
class EmbedArguments:
    """What `auricle embed` takes."""

    run: tyro.conf.Positional[str]
    """Run folder, one of its checkpoints, or `module:Class` of your own."""
    data: str
    """Folder of audio, table or shards: anything that `auricle corpus scan` reads."""
    out: Path
    """Parquet file to write: one row per clip with its table columns and `embedding`, a list of floats."""
    batch: int = 16
    """Clips encoded at once, at most."""
    cut: float | None = None
    """Cut longer recordings into clips of this many seconds: one row per piece, with its `start` and `seconds`."""


def embed(argv: Sequence[str]) -> None:
    """Turn clips into vectors: `auricle embed RUN --data FOLDER --out FILE.parquet`."""
    about = "Encode every clip once and write one row per clip, with the clip's columns and its embedding."
    args = parse(EmbedArguments, argv, "embed", about)
    from auricle.corpus.sources import open_corpus
    from auricle.evaluation.probing import open_encoder
    from auricle.tokens.embeddings import embed_corpus

    clips = open_corpus(args.data)
    if args.cut is not None:
        clips = clips.cut(args.cut)
    table = embed_corpus(open_encoder(args.run), clips, args.out, batch=args.batch)
    print(f"{table.clips} clips, {table.width} numbers each: {args.out}")
    for file, reason in table.broken.items():
        print(f"skipped {file!r}: {reason}", file=sys.stderr)
