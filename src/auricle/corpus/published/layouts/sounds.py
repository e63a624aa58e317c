"""Sounds and scenes: ESC-50, UrbanSound8K, FSD50K, FSDKaggle2018, AudioSet, TAU Urban Acoustic Scenes, Clotho."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from auricle.corpus.published.layouts.contract import Content, Layout
from auricle.corpus.published.layouts.tables import column_of, columns_of, index_audio, number, read_lines, read_rows
from auricle.corpus.readers.label_table import tidy_split
from auricle.errors import CorpusError
from auricle.words import counted


def _esc50(root: Path) -> Content:
    rows = read_rows(root / "meta/esc50.csv", ("filename", "fold", "category", "esc10", "src_file"))
    return Content(
        {
            "file": [f"audio/{row['filename']}" for row in rows],
            "label": column_of(rows, "category"),
            "fold": [int(row["fold"]) for row in rows],
            "source": [f"freesound:{row['src_file']}" for row in rows],
            "esc10": [row["esc10"] == "True" for row in rows],
            # ESC-10 as a separate task: the other clips have no label there.
            "label_esc10": [row["category"] if row["esc10"] == "True" else None for row in rows],
        }
    )


def _us8k(root: Path) -> Content:
    path = root / "metadata/UrbanSound8K.csv"
    rows = read_rows(path, ("slice_file_name", "fsID", "fold", "class", "salience"))
    return Content(
        {
            "file": [f"audio/fold{row['fold']}/{row['slice_file_name']}" for row in rows],
            "label": column_of(rows, "class"),
            "fold": [int(row["fold"]) for row in rows],
            "source": [f"freesound:{row['fsID']}" for row in rows],
            "salience": [int(row["salience"]) for row in rows],
        },
        notes=("the ten folds are the publisher's; shuffling clips over folds leaks recordings",),
    )


def _fsd50k(root: Path) -> Content:
    made: list[dict[str, Any]] = []
    for table, folder in (("dev", "FSD50K.dev_audio"), ("eval", "FSD50K.eval_audio")):
        needed = ("fname", "labels", "split") if table == "dev" else ("fname", "labels")
        for row in read_rows(root / f"FSD50K.ground_truth/{table}.csv", needed):
            side = tidy_split(row["split"]) if table == "dev" else "test"
            label = row["labels"].replace(",", ";")
            made.append({"file": f"{folder}/{row['fname']}.wav", "label": label, "split": side, "source": row["fname"]})
    return Content(columns_of(made))


def _fsdkaggle2018(root: Path) -> Content:
    meta = root / "FSDKaggle2018.meta"
    made: list[dict[str, Any]] = []
    for table, split in (("train_post_competition", "train"), ("test_post_competition_scoring_clips", "test")):
        for row in read_rows(meta / f"{table}.csv", ("fname", "label")):
            made.append({"file": f"FSDKaggle2018.audio_{split}/{row['fname']}", "label": row["label"], "split": split})
            if "manually_verified" in row:
                made[-1]["manually_verified"] = row["manually_verified"] == "1"
    return Content(columns_of(made))


_AUDIOSET = {"balanced_train_segments": "train", "unbalanced_train_segments": "train", "eval_segments": "test"}


def _audioset(root: Path) -> Content:
    """AudioSet is published as lists of YouTube segments; each laboratory has a different part of the audio."""
    named = read_rows(root / "class_labels_indices.csv", ("mid", "display_name"))
    display = {row["mid"]: row["display_name"].replace(";", ",") for row in named}
    have = index_audio(root)
    # Files are named after the video, with or without a Y before it and the segment's start after it.
    by_video: dict[str, str] = {}
    for stem, file in have.items():
        by_video.setdefault(stem[:11], file)
        if stem.startswith("Y") and len(stem) >= 12:
            by_video.setdefault(stem[1:12], file)
    made: list[dict[str, Any]] = []
    notes, missing = [], 0
    for table, split in _AUDIOSET.items():
        path = root / f"{table}.csv"
        if table.startswith("unbalanced") and not path.is_file():
            continue
        listed = 0
        for line in read_lines(path):
            if line.startswith("#"):
                continue
            listed += 1
            fields = [part.strip() for part in line.split(",", 3)]
            if len(fields) != 4:
                raise CorpusError(f"{path}: {line!r} is not understood; expected `video, begin, end, labels`")
            video, start, _, mids = fields
            if video not in by_video:
                continue
            file = by_video[video]
            names = [display[mid] for mid in mids.strip('"').split(",") if mid in display]
            begin = number(start, path, f"the begin of {video}")
            made.append(
                {"file": file, "label": ";".join(names), "split": split, "source": video}
                | {"subset": table.removesuffix("_segments"), "video_start": begin}
            )
        here = sum(row["subset"] == table.removesuffix("_segments") for row in made)
        missing += listed - here
        notes.append(f"{here} of {counted(listed, 'segment')} of {table} are here")
    if not made:
        raise CorpusError(
            f"{root} has AudioSet's lists but no recording of them; put recordings there, named after their video "
            "(Yabcdefghijk.wav or abcdefghijk_30.000.wav)"
        )
    return Content(columns_of(made), notes=tuple(notes), left={"missing": missing})


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
        notes=(f"{counted(unused, 'clip')} in neither part of the publisher's split",) if unused else (),
    )


_CLOTHO = {"development": "train", "validation": "valid", "evaluation": "test"}


def _clotho(root: Path) -> Content:
    """Five captions a clip, in the columns `caption_1` to `caption_5`."""
    made: list[dict[str, Any]] = []
    names = [f"caption_{i}" for i in range(1, 6)]
    for folder, split in _CLOTHO.items():
        path = root / f"clotho_captions_{folder}.csv"
        if folder == "validation" and not path.is_file():
            continue  # version 1 has none
        for row in read_rows(path, ("file_name", *names)):
            made.append({"file": f"{folder}/{row['file_name']}", "split": split} | {n: row[n] or None for n in names})
    return Content(columns_of(made))


LAYOUTS = (
    Layout("esc50", "ESC-50", ("meta/esc50.csv", "audio"), _esc50),
    Layout("us8k", "UrbanSound8K", ("metadata/UrbanSound8K.csv", "audio"), _us8k),
    Layout(
        "fsd50k",
        "FSD50K",
        ("FSD50K.ground_truth/dev.csv", "FSD50K.ground_truth/eval.csv", "FSD50K.dev_audio", "FSD50K.eval_audio"),
        _fsd50k,
        hint="the split archives .z01 ... .zip have to be joined before they are unpacked",
    ),
    Layout(
        "fsdkaggle2018",
        "FSDKaggle2018",
        ("FSDKaggle2018.meta/train_post_competition.csv", "FSDKaggle2018.audio_train"),
        _fsdkaggle2018,
    ),
    Layout(
        "audioset",
        "AudioSet",
        ("class_labels_indices.csv", "balanced_train_segments.csv", "eval_segments.csv"),
        _audioset,
        hint="its three tables are at research.google.com/audioset/download.html",
    ),
    Layout(
        "tau_scenes",
        "TAU Urban Acoustic Scenes",
        ("meta.csv", "evaluation_setup/fold1_train.csv", "evaluation_setup/fold1_evaluate.csv", "audio"),
        _tau,
    ),
    Layout(
        "clotho",
        "Clotho",
        ("clotho_captions_development.csv", "clotho_captions_evaluation.csv", "development", "evaluation"),
        _clotho,
    ),
)
