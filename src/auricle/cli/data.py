"""The verb `data`: published data sets, where they come from and how to fetch them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import tyro
from rich.console import Console

from auricle.cli.arguments import no_arguments, parse
from auricle.config import nearest
from auricle.errors import AuricleError


@dataclasses.dataclass(frozen=True)
class DownloadArguments:
    """What `auricle data download` takes."""

    name: tyro.conf.Positional[str]
    """Data set; `auricle data list` shows all."""
    to: Path
    """Folder to put it in."""
    yes: bool = False
    """Do not ask: the licence was read and the size is known."""
    unpacked: bool = True
    """Unpack archives after their sums were checked."""


def data(argv: Sequence[str]) -> None:
    """Published data sets: `auricle data list`, `auricle data download NAME --to FOLDER`."""
    verbs = ("list", "download")
    if not argv or argv[0] not in verbs:
        if argv and argv[0] not in ("-h", "--help"):
            raise AuricleError(f"`auricle data` has no command {argv[0]!r}{nearest(argv[0], verbs)}")
        print("usage: auricle data list | auricle data download NAME --to FOLDER\n\nEach takes --help.")
        return
    if argv[0] == "list":
        no_arguments("data list", argv[1:], "List the data sets: size, licence, and whether they can be downloaded.")
        from auricle.corpus.published.download import render_data_sets

        Console().print(render_data_sets())
        return
    args = parse(
        DownloadArguments,
        argv[1:],
        "data download",
        "Fetch a data set: size and licence are shown first; a cut download goes on where it was; sums are checked.",
    )
    from auricle.corpus.published.download import download

    print(download(args.name, args.to, yes=args.yes, unpacked=args.unpacked))
