"""Verbs about audio: `corpus scan` and `embed`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from auricle.cli import inner_command
from auricle.cli.arguments import MODEL, ComputeArguments, ReadingArguments, TrustArguments, parse


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScanArguments(ReadingArguments):
    """Arguments of `auricle corpus scan`."""

    path: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="PATH")]
    """Folder of audio, table (CSV, Parquet), folder of shards, `hub:user/name` or `builtin:scenes`."""
    out: Path | None = None
    """File to write the table of clips to (.parquet), or a folder; by default `auricle-corpus.parquet` in the folder
    itself."""
    exclude: tuple[str, ...] = ()
    """Corpora (sub-folders with a metadata.csv of their own) to exclude."""
    rate: int = 16000
    """Sample rate in Hz of the encoder that the corpus is for: recordings far from it are noted."""


def corpus(argv: Sequence[str]) -> None:
    """Check recordings before training."""
    usage = "usage: auricle corpus scan PATH [--out TABLE.parquet]\n\n`auricle corpus scan --help` lists the options."
    if inner_command("corpus", argv, usage) is None:
        return
    args = parse(
        ScanArguments,
        argv[1:],
        "corpus scan",
        "Read every recording once: counts, hours, rates, durations, label balance, duplicates, silent and broken "
        "files with the reason. Writes the table of clips, which every other command takes as --data.",
    )
    from rich.console import Console

    from auricle.corpus.scan import scan

    report = scan(
        args.path,
        out=args.out,
        exclude=args.exclude,
        channel=args.channel,
        time_expansion=args.time_expansion,
        rate=args.rate,
    )
    report.render(Console())


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbedArguments(ReadingArguments, ComputeArguments, TrustArguments):
    """Arguments of `auricle embed`."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(help=MODEL, metavar="MODEL")]
    data: str
    """Folder of audio, table or shards: whatever `auricle corpus scan` reads."""
    out: Path
    """File to write; its ending decides the format: .parquet, .csv, .jsonl or .npz. One row per clip: the columns of
    its table and `embedding`, the vector (in a CSV, one column per number)."""
    batch: int = 16
    """Clips encoded at once, at most."""
    segment: float | None = None
    """Cut longer recordings into segments of this many seconds: one row per segment, with its `start` and `seconds`."""
    hop: float | None = None
    """Seconds between the starts of two segments; by default --segment, without overlap."""
    resume: bool = False
    """Continue a call that was killed, with the same arguments: the same file comes out."""
    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Replace the file in --out, whatever it holds. Without it only the same vectors of the same clips may be there."""


def embed(argv: Sequence[str]) -> None:
    """Turn clips into vectors."""
    about = "Encode every clip once and write one row per clip, with the clip's columns and its embedding."
    args = parse(EmbedArguments, argv, "embed", about)
    from auricle.models.embedding import embed as run
    from auricle.tokens.embedding_files import check_ending
    from auricle.words import counted

    check_ending(args.out)
    table = run(
        args.model,
        args.data,
        args.out,
        segment=args.segment,
        hop=args.hop,
        channel=args.channel,
        time_expansion=args.time_expansion,
        batch=args.batch,
        resume=args.resume,
        overwrite=args.overwrite,
        device=args.device,
        precision=args.precision,
        trust_remote_code=args.trust_remote_code,
        features=args.features,
    )
    print(f"{counted(table.clips, 'clip')}, {counted(table.width, 'number')} each: {args.out}")
    print(table.ledger.sentence)
    for note in table.notes:
        print(f"note: {note}", file=sys.stderr)
    for file, reason in table.broken.items():
        print(f"skipped {file!r}: {reason}", file=sys.stderr)
