"""The verb `label`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from auricle.cli.arguments import FileArguments, parse


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelArguments(FileArguments):
    """Arguments of `auricle label`."""

    library: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="LIBRARY")]
    """Folder that `auricle index` made."""
    classes: tuple[str, ...] = ()
    """What to label: one name, or up to nine. Those of earlier labels are there anyway."""
    labels: Path | None = None
    """File of the labels, which is read and continued; by default `labels.jsonl` in the library."""
    first: tuple[int, ...] = ()
    """Rows to label first, by the ids that `auricle search` lists."""
    port: int = 0
    """Port of the page; 0 takes any that is free."""
    model: str | None = None
    """Refuse a library that was not made by this model."""
    context: float = 2.0
    """Seconds shown and played before and after a segment."""
    out: Path | None = None
    """Folder that the page's export writes; by default `labels` in the library."""
    open_browser: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Open the page in the default browser."""


def label(argv: Sequence[str]) -> None:
    """Label segments of a library on a local page."""
    about = (
        "Serve a page on this machine only: listen to segments and label them by keys; detectors are fitted meanwhile, "
        "propose what to label next, and are scored on a random sample that they are never trained on. Labels are "
        "saved one by one."
    )
    args = parse(LabelArguments, argv, "label", about)
    from auricle.answers.label_session import label as run

    run(
        args.library,
        labels=args.labels,
        classes=args.classes,
        first=args.first,
        port=args.port,
        model=args.model,
        context=args.context,
        out=args.out,
        open_browser=args.open_browser,
    )
