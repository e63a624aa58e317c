"""The verb `fit`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from auricle.cli.arguments import MODEL, ComputeArguments, ReadingArguments, TrustArguments, command, parse
from auricle.cli.evaluation import card_of, with_card


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitArguments(ReadingArguments, ComputeArguments, TrustArguments):
    """Arguments of `auricle fit`."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(help=MODEL, metavar="MODEL")]
    data: str | None = None
    """Labelled recordings: sub-folders named by class, a metadata.csv (file,label), or long recordings with an
    events.csv (file,onset,offset,label) or label files of Raven or Audacity beside them."""
    out: Path
    """Folder of the fitted model: it needs no other file, and every command takes it as MODEL."""
    task: str = "folder"
    """Task: `folder` for labelled clips of your own, `folder_events`, `folder_regression`, `folder_anomaly`,
    `folder_verification`, `folder_sequence`, or one that `auricle tasks` lists."""
    goal: str = "f1"
    """What the threshold of each class is chosen for, on validation clips: `f1`, `precision=0.9` or `recall=0.9`."""
    probes: tuple[str, ...] = ()
    """Probes to choose from; by default those usual for the task, or linear ones and prototypes of few labels."""
    segment: float | None = None
    """Length in seconds of the windows that recordings are divided into; by default clips stay whole."""
    hop: float | None = None
    """Seconds between the starts of two windows; by default half of --segment where calls are marked."""
    min_overlap: float = 0.5
    """A window has the label of a call that covers this share of the shorter of the two; windows that a call touches by
    less are not used."""
    background: bool = False
    """Unmarked stretches of the marked recordings hold none of the classes. Without it they are not used."""
    labels_format: str | None = None
    """Format of the files that mark calls, of those that crowsetta reads: `textgrid`, `aud-seq`, `timit` ..."""
    labels: Path | None = None
    """Folder of these files; by default they are beside the recordings."""
    false_alarms: float | None = None
    """Of anomalies: share of normal clips that may be taken for anomalies, by default 0.05. Of verification: share of
    wrong identities that may be accepted; by default as many as right ones are missed."""
    on_leak: Literal["warn", "refuse", "drop"] = "warn"
    """Test clips that are copies of training clips: `warn` notes it, `refuse` ends, `drop` removes them."""
    seed: int = 0
    """Seed of divisions, random starts and draws."""
    overwrite: bool = False
    """Replace a fitted model in --out."""


def fit(argv: Sequence[str]) -> None:
    """Fit a model to labels."""
    about = (
        "Fit a head to labels and keep it with its encoder: a model that predicts. The probe, its setting, thresholds "
        "and calibration are chosen on validation clips; the expected performance is measured on test clips of other "
        "recordings, which choose nothing. Twenty labelled calls are enough to begin."
    )
    args: Any = parse(with_card(FitArguments, argv, default="folder"), argv, "fit", about, brief=())
    from auricle.answers.fit import fit as run

    names = {field.name for field in dataclasses.fields(FitArguments)} - {"config", "model", "task"}
    model = run(args.model, task=card_of(args), command=command(), **{name: getattr(args, name) for name in names})
    from rich.console import Console

    from auricle.answers.fitting.summary import render_card

    Console().print(render_card(model.card, args.out))
    for note in model.card["notes"]:
        print(f"note: {note}", file=sys.stderr)
