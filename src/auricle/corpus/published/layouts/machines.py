"""Machines, normal and anomalous: MIMII, and the DCASE task 2 sets of 2020 (machine ids) and of 2021 on (sections)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from auricle.corpus.published.layouts.contract import Content, Layout
from auricle.corpus.published.layouts.tables import audio_below, columns_of
from auricle.errors import CorpusError

_IDS = re.compile(r"(?P<state>normal|anomaly)_(?P<unit>id_\d+)_\d+")
_SECTIONS = re.compile(r"(?P<unit>section_\d+)_(?P<domain>source|target)_(?:train|test)_(?P<state>normal|anomaly)_.*")


def _dcase(root: Path, pattern: re.Pattern[str], title: str) -> Content:
    """`MACHINE/train/*.wav` (normal only) and `MACHINE/test/*.wav`; names hold unit, domain and state."""
    made: list[dict[str, Any]] = []
    unnamed = 0
    for file in audio_below(root, "*/t[re]*/*"):
        machine, split, name = file.split("/")
        match = pattern.fullmatch(Path(name).stem)
        if match is None or split not in ("train", "test"):
            # The challenge's own evaluation clips have no state in their names.
            unnamed += 1
            continue
        said = match.groupdict()
        made.append(
            {"file": file, "label": said["state"], "split": split, "machine": machine}
            | {"unit": f"{machine}/{said['unit']}", "domain": said.get("domain")}
        )
    if not made:
        raise CorpusError(f"no recording of {root} has a name as {title} gives them (state and machine in the name)")
    return Content(columns_of(made), left={"without normal or anomaly in the name": unnamed})


def _dcase2020(root: Path) -> Content:
    return _dcase(root, _IDS, "DCASE 2020 task 2")


def _dcase2021(root: Path) -> Content:
    return _dcase(root, _SECTIONS, "DCASE task 2 (2021 and later)")


def _mimii(root: Path) -> Content:
    """`MACHINE/id_NN/{normal,abnormal}/*.wav`, as the archives unpack; no split is published.

    Split as in the DCASE challenges that followed: all abnormal recordings are for testing, and as many normal ones of
    the same unit, the last ones by name.
    """
    units: dict[str, dict[str, list[str]]] = {}
    for file in audio_below(root, "*/id_*/*/*"):
        machine, unit, state, _ = file.split("/")
        if state in ("normal", "abnormal"):
            units.setdefault(f"{machine}/{unit}", {"normal": [], "abnormal": []})[state].append(file)
    made: list[dict[str, Any]] = []
    for unit, states in units.items():
        tests = min(len(states["abnormal"]), len(states["normal"]) // 2)
        trained = len(states["normal"]) - tests
        rows = [(file, "normal", "train" if i < trained else "test") for i, file in enumerate(states["normal"])]
        rows += [(file, "anomaly", "test") for file in states["abnormal"]]
        machine = unit.partition("/")[0]
        made += [
            {"file": file, "label": label, "split": split, "machine": machine, "unit": unit}
            for file, label, split in rows
        ]
    if not made:
        raise CorpusError(f"{root} has no recordings in MACHINE/id_NN/normal and MACHINE/id_NN/abnormal")
    notes = ("the split is made here: the test clips are abnormal ones and as many normal ones of the same unit",)
    return Content(columns_of(made), notes=notes)


LAYOUTS = (
    Layout("mimii", "MIMII", ("*/id_*/normal", "*/id_*/abnormal"), _mimii),
    Layout("dcase2020_task2", "DCASE 2020 task 2", ("*/train/normal_id_*", "*/test/anomaly_id_*"), _dcase2020),
    Layout(
        "dcase_task2",
        "DCASE task 2 (2021 and later)",
        ("*/train/section_*", "*/test/section_*_anomaly_*"),
        _dcase2021,
    ),
)
