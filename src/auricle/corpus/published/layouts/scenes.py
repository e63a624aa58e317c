"""Acoustic scenes: the TUT and TAU Urban Acoustic Scenes data sets of DCASE, 2018 to 2022."""

from __future__ import annotations

from pathlib import Path

from auricle.corpus.published.layouts.contract import Content, Layout
from auricle.corpus.published.layouts.tables import read_rows


def _tau(root: Path) -> Content:
    """`meta.csv` (tabs) and the publisher's split in `evaluation_setup`; clips in neither part have no split.

    The source is the place of recording (`identifier`): the split keeps places apart.
    """
    needed = ("filename", "scene_label", "identifier", "source_label")
    rows = read_rows(root / "meta.csv", needed, delimiter="\t")
    setup = root / "evaluation_setup"
    sides: dict[str, str] = {}
    for name, split in (("fold1_train", "train"), ("fold1_evaluate", "test")):
        for row in read_rows(setup / f"{name}.csv", ("filename",), delimiter="\t"):
            sides[row["filename"]] = split
    unused = sum(row["filename"] not in sides for row in rows)
    return Content(
        {
            "file": [row["filename"] for row in rows],
            "label": [row["scene_label"] for row in rows],
            "split": [sides.get(row["filename"]) for row in rows],
            "source": [row["identifier"] for row in rows],
            "device": [row["source_label"] for row in rows],
            "city": [row["identifier"].partition("-")[0] for row in rows],
        },
        notes=(f"{unused} clips are in neither part of the publisher's split",) if unused else (),
    )


LAYOUTS = (
    Layout(
        "tau_scenes",
        "TAU Urban Acoustic Scenes",
        ("meta.csv", "evaluation_setup/fold1_train.csv", "evaluation_setup/fold1_evaluate.csv", "audio"),
        _tau,
    ),
)
