"""The verb `data`: list and download published data sets."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from auricle.cli import inner_command
from auricle.cli.arguments import FileArguments, no_arguments, parse


@dataclasses.dataclass(frozen=True, kw_only=True)
class DownloadArguments(FileArguments):
    """Arguments of `auricle data download`."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")]
    """Data set; `auricle data list` lists all."""
    to: Path
    """Folder to download into."""
    yes: bool = False
    """Download without asking: you have read the licence and know the size."""
    unpacked: bool = True
    """Unpack archives after their checksums are verified."""


def data(argv: Sequence[str]) -> None:
    """List or download published data sets."""
    usage = "usage: auricle data list | auricle data download NAME --to FOLDER\n\nEach takes --help."
    called = inner_command("data", argv, usage)
    if called is None:
        return
    if called == "list":
        no_arguments("data list", argv[1:], "List the data sets: size, licence, and whether they can be downloaded.")
        from rich.console import Console

        from auricle.corpus.published.download import render_data_sets

        Console().print(render_data_sets())
        return
    args = parse(
        DownloadArguments,
        argv[1:],
        "data download",
        "Download a data set. Size and licence are shown first; interrupted downloads continue; sums are verified.",
    )
    from auricle.corpus.published.download import download

    print(download(args.name, args.to, yes=args.yes, unpacked=args.unpacked))
