"""The verb `predict`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from auricle.cli.arguments import ComputeArguments, ReadingArguments, parse


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictArguments(ReadingArguments, ComputeArguments):
    """Arguments of `auricle predict`."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """Fitted model: the folder that `auricle fit` or `auricle finetune` wrote."""
    data: str
    """Recordings: folder of audio, table or shards, whatever `auricle corpus scan` reads."""
    out: Path
    """Table to write; its ending decides the format: .csv, .parquet or .jsonl, or a folder .raven (selection tables) or
    .audacity (label tracks). Columns: file, start, end, label, score; of anomalies also threshold, anomalous, nearest
    and nearest_distance."""
    segment: float | None = None
    """Seconds of a window; by default those that the model was fitted on."""
    hop: float | None = None
    """Seconds between the starts of two windows; by default --segment, of events half of it."""
    threshold: float | None = None
    """Least score of a row; by default the model's own of each class. 0 keeps all."""
    top: int | None = None
    """At most so many labels a window, those with the highest scores."""
    merge: float | None = None
    """Join windows of a label that are at most this many seconds apart to one event, with the highest score (`0`: those
    that overlap or touch). By default one row per window; events of frames are joined where they touch."""
    shortest: float | None = None
    """Drop events shorter than this many seconds; by default the model's own for events of frames."""
    batch: int = 16
    """Windows encoded at once, at most."""
    shard: str | None = None
    """Do a share of the work, such as 2/4; the process that ends last writes the table. `torchrun` sets it."""
    engine: Literal["local", "ray"] = "local"
    """`ray`: predict on the workers of a Ray cluster (of this machine where none is connected to)."""
    workers: int | None = None
    """With --engine ray, how many workers; by default one for each processor."""
    resume: bool = False
    """Continue a call that was killed, with the same arguments: the same table comes out."""
    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Replace what is in --out, whatever it is. Without it only the same predictions may be there."""
    trust_remote_code: bool = False
    """Run the Python code that a Hub repository brings; only for `hf:` models whose authors you trust."""


def predict(argv: Sequence[str]) -> None:
    """Write a table of what a fitted model finds."""
    about = (
        "Apply a fitted model to recordings of any length and write one row per window and label above the threshold "
        "(of events: one row per event). Recordings stream in constant memory; damaged stretches are listed with their "
        "times and the rest goes on."
    )
    args = parse(PredictArguments, argv, "predict", about)
    from auricle.answers.predicting import predict as run
    from auricle.words import counted

    settings = {field.name: getattr(args, field.name) for field in dataclasses.fields(args)}
    named = [settings.pop(name) for name in ("model", "data", "out")]
    del settings["config"]
    table = run(*named, **settings)
    if table.rows is not None:
        print(f"{counted(table.rows, 'prediction')}: {table.path}")
        print(table.ledger.sentence)
    for note in table.notes:
        print(f"note: {note}", file=sys.stderr)
    for name, reason in table.broken.items():
        print(f"skipped {name!r}: {reason}", file=sys.stderr)
