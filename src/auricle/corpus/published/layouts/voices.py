"""Vocal sounds and numbers of speakers: VocalSound, Vocal Imitation Set, LibriCount, COUGHVID."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from auricle.corpus.published.layouts.contract import Content, Layout
from auricle.corpus.published.layouts.tables import (
    audio_below,
    columns_of,
    index_audio,
    number,
    parts_of,
    read_rows,
    read_text,
)
from auricle.errors import CorpusError


def _vocalsound(root: Path) -> Content:
    made: list[dict[str, Any]] = []
    for table, split in (("tr", "train"), ("val", "valid"), ("te", "test")):
        revised = root / "datafiles" / f"{table}_rev.json"
        path = revised if revised.is_file() else root / "datafiles" / f"{table}.json"
        try:
            listed = [Path(entry["wav"]).name for entry in json.loads(read_text(path))["data"]]
        except (ValueError, KeyError, TypeError) as error:
            raise CorpusError(f'{path} is no list of recordings; expected {{"data": [{{"wav": ...}}]}}') from error
        for name in listed:
            speaker, _, label = parts_of(name, 3, "_", "VocalSound")
            row = {"file": f"audio_16k/{name}", "label": label, "split": split, "source": speaker}
            made.append(row | {"gender": {"f": "female", "m": "male"}.get(speaker[0])})
    return Content(columns_of(made))


def _vocal_imitation(root: Path) -> Content:
    """Label = the imitated recording, as in HEAR; only imitations that the publishers include."""
    path = root / "vocal_imitations.txt"
    rows = read_rows(path, ("imitation_filename", "reference_filename", "included"), delimiter="\t")
    made = [
        {
            "file": f"vocal_imitations/included/{row['imitation_filename']}",
            "label": row["reference_filename"],
            "participant": row.get("participantID") or row.get("participant_ID"),
        }
        for row in rows
        if row["included"].lower() in ("1", "true")
    ]
    return Content(columns_of(made), notes=("one participant's imitations may fall into several folds, as in HEAR",))


def _libricount(root: Path) -> Content:
    files = audio_below(root, "test/*")
    return Content({"file": files, "label": [Path(file).name.partition("_")[0] for file in files]})


def _coughvid(root: Path) -> Content:
    """As in HEAR: cough detected with more than 0.8, and a status reported by the person."""
    path = root / "metadata_compiled.csv"
    rows = read_rows(path, ("uuid", "cough_detected", "status"))
    have = index_audio(root)
    kept = [
        row
        for row in rows
        if row["status"] and row["cough_detected"] and number(row["cough_detected"], path, "cough_detected") > 0.8
    ]
    here = [row for row in kept if row["uuid"] in have]
    if not here:
        raise CorpusError(
            f"{root} has COUGHVID's table but none of its {len(kept)} usable recordings as .wav, .ogg or .flac; "
            "recordings in .webm have to be converted first"
        )
    columns = {
        "file": [have[row["uuid"]] for row in here],
        "label": [row["status"] for row in here],
        "source": [row["uuid"] for row in here],
    }
    return Content(columns, left={"missing or in another format": len(kept) - len(here)})


LAYOUTS = (
    Layout("vocalsound", "VocalSound", ("audio_16k", "datafiles/te*.json"), _vocalsound),
    Layout(
        "vocal_imitation",
        "Vocal Imitation Set",
        ("vocal_imitations.txt", "vocal_imitations/included"),
        _vocal_imitation,
    ),
    Layout("libricount", "LibriCount", ("test/*_*.wav",), _libricount, known_by_marks=False),
    Layout("coughvid", "COUGHVID", ("metadata_compiled.csv",), _coughvid),
)
