"""Genres, instruments, strokes and singers: GTZAN, NSynth, FMA, Mridangam, Beijing Opera, VocalSet, Medley-solos-DB."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from auricle.corpus.published.layouts.contract import Content, Layout
from auricle.corpus.published.layouts.tables import (
    audio_below,
    columns_of,
    index_audio,
    read_lines,
    read_rows,
    read_text,
)
from auricle.corpus.readers.label_table import tidy_split
from auricle.errors import CorpusError

GTZAN = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
TECHNIQUES = (
    *("belt", "breathy", "inhaled", "lip_trill", "spoken", "straight", "trill", "trillo", "vibrato", "vocal_fry"),
)


def _gtzan(root: Path) -> Content:
    """Ten folders of genres. The fault-filtered split is read from its lists if these are in the folder.

    These lists (`train_filtered.txt`, `valid_filtered.txt`, `test_filtered.txt`: 443, 197 and 290 clips) are used by
    EVAR; without them there is no split, and made folds share artists between training and test.
    """
    files = [file for file in audio_below(root, "*/*") if file.partition("/")[0] in GTZAN]
    split_of: dict[str, str] = {}
    lists = {split: root / f"{split}_filtered.txt" for split in ("train", "valid", "test")}
    if all(path.is_file() for path in lists.values()):
        split_of = {name: split for split, path in lists.items() for name in read_lines(path)}
        note = "the fault-filtered split; clips outside of it are excluded"
    else:
        note = "no split is published with GTZAN: made folds share artists between training and test"
    columns: dict[str, list[Any]] = {"file": files, "label": [file.partition("/")[0] for file in files]}
    if split_of:
        columns["split"] = [split_of.get(file) for file in files]
    return Content(columns, notes=(note,))


def _gtzan_speech(root: Path) -> Content:
    files = audio_below(root, "*_wav/*")
    return Content({"file": files, "label": [file.partition("_wav/")[0] for file in files]})


def _nsynth(root: Path) -> Content:
    """`nsynth-{train,valid,test}/examples.json`; label is the instrument's family, `pitch` its MIDI note."""
    made: list[dict[str, Any]] = []
    for split in ("train", "valid", "test"):
        path = root / f"nsynth-{split}" / "examples.json"
        try:
            notes = json.loads(read_text(path))
            for name, note in notes.items():
                made.append(
                    {"file": f"nsynth-{split}/audio/{name}.wav", "label": note["instrument_family_str"]}
                    | {"split": split, "source": note["instrument_str"], "pitch": int(note["pitch"])}
                    | {"velocity": int(note["velocity"])}
                )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorpusError(
                f"{path} is no list of notes ({error}); unpack the archive nsynth-{split} again"
            ) from error
    return Content(columns_of(made))


def _fma_small(root: Path) -> Content:
    """`fma_metadata/tracks.csv` has a header of three lines; genre is the top one, the split FMA's own."""
    path = root / "fma_metadata/tracks.csv"
    lines = csv.reader(io.StringIO(read_text(path), newline=""))
    header = list(zip(next(lines, []), next(lines, []), strict=False))
    places = {}
    for wanted in (("set", "split"), ("set", "subset"), ("track", "genre_top"), ("artist", "id")):
        if wanted not in header:
            raise CorpusError(f"{path} has no column {'.'.join(wanted)}; it is not FMA's tracks.csv")
        places[wanted[1]] = header.index(wanted)
    made: list[dict[str, Any]] = []
    for row in lines:
        if not row or not row[0].isdigit() or row[places["subset"]] != "small":
            continue
        track = f"{int(row[0]):06d}"
        made.append(
            {"file": f"fma_small/{track[:3]}/{track}.mp3", "label": row[places["genre_top"]]}
            | {"split": tidy_split(row[places["split"]]), "source": row[places["id"]]}
        )
    return Content(columns_of(made))


def _freesound_packs(root: Path, where: str) -> list[tuple[str, list[str]]]:
    """Return files of Freesound packs (`224030__user__bheem-b-001.wav`) with the pieces of the last part."""
    made = []
    for file in audio_below(root):
        pieces = Path(file).stem.split("__")
        if len(pieces) < 3 or "-" not in pieces[-1]:
            raise CorpusError(
                f"{file!r} is no recording of {where}; expected a name such as 224030__user__ta-b-001.wav"
            )
        made.append((file, pieces[-1].split("-")))
    return made


def _mridangam(root: Path) -> Content:
    """Label is the stroke, `tonic` the instrument's tuning; all of one player."""
    made = _freesound_packs(root, "the Mridangam Stroke set")
    columns = {
        "file": [file for file, _ in made],
        "label": [pieces[-3] for _, pieces in made],
        "tonic": [pieces[-2] for _, pieces in made],
    }
    return Content(columns, notes=("all strokes are of one player: scores do not generalise to others",))


def _beijing_opera(root: Path) -> Content:
    made = _freesound_packs(root, "the Beijing Opera percussion set")
    return Content({"file": [file for file, _ in made], "label": [pieces[-2] for _, pieces in made]})


def _vocalset(root: Path) -> Content:
    """Label is the technique (the ten of MARBLE), by folder; the publisher's lists split the singers.

    `singer` is for identification, where every singer has to be in training and test.
    """
    tests = {_singer(line) for line in read_lines(root / "test_singers_technique.txt")}
    made: list[dict[str, Any]] = []
    for file in audio_below(root, "FULL/*/**/*"):
        parts = file.split("/")
        singer, technique = _singer(parts[1]), parts[-2]
        split = "test" if singer in tests else "train"
        label = technique if technique in TECHNIQUES else None
        made.append({"file": file, "label": label, "split": split, "source": singer, "singer": singer})
    return Content(columns_of(made))


def _singer(text: str) -> str:
    return text.strip().rstrip(",").lower()


def _medley_solos(root: Path) -> Content:
    rows = read_rows(root / "Medley-solos-DB_metadata.csv", ("subset", "instrument", "song_id", "uuid4"))
    have = {stem.rpartition("_")[2].removesuffix(".wav"): file for stem, file in index_audio(root).items()}
    made = [
        {
            "file": have.get(row["uuid4"], f"Medley-solos-DB_{row['subset']}_{row['uuid4']}.wav"),
            "label": row["instrument"],
            "split": tidy_split(row["subset"]),
            "source": f"song-{row['song_id']}",
        }
        for row in rows
    ]
    return Content(columns_of(made))


LAYOUTS = (
    Layout("gtzan", "GTZAN genres", tuple(f"{genre}/{genre}.*" for genre in GTZAN), _gtzan),
    Layout("gtzan_music_speech", "GTZAN music and speech", ("music_wav", "speech_wav"), _gtzan_speech),
    Layout("nsynth", "NSynth", tuple(f"nsynth-{s}/examples.json" for s in ("train", "valid", "test")), _nsynth),
    Layout("fma_small", "FMA small", ("fma_metadata/tracks.csv", "fma_small"), _fma_small),
    Layout("mridangam", "Mridangam Stroke", ("*__*__*-*-*.wav",), _mridangam, known_by_marks=False),
    Layout("beijing_opera", "Beijing Opera percussion", ("*__*__*-*.wav",), _beijing_opera, known_by_marks=False),
    Layout("vocalset", "VocalSet", ("FULL", "test_singers_technique.txt"), _vocalset),
    Layout("medley_solos_db", "Medley-solos-DB", ("Medley-solos-DB_metadata.csv",), _medley_solos),
)
