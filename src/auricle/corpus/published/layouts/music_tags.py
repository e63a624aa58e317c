"""Tags, keys and moods of songs: MagnaTagATune, MTG-Jamendo, emoMusic, GiantSteps."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from auricle.corpus.published.layouts.contract import Content, Layout
from auricle.corpus.published.layouts.tables import columns_of, index_audio, number, read_lines, read_rows, read_text
from auricle.corpus.readers.label_table import tidy_split
from auricle.errors import CorpusError

TOP_TAGS = 50


def _magnatagatune(root: Path) -> Content:
    """The 50 most frequent tags; the usual split by folder: 0 to b train, c valid, d to f test."""
    rows = read_rows(root / "annotations_final.csv", ("clip_id", "mp3_path"), delimiter="\t")
    tags = [name for name in rows[0] if name not in ("clip_id", "mp3_path")] if rows else []
    counts = Counter(tag for row in rows for tag in tags if row[tag] == "1")
    top = {tag for tag, _ in counts.most_common(TOP_TAGS)}
    made: list[dict[str, Any]] = []
    for row in rows:
        folder, _, name = row["mp3_path"].partition("/")
        if folder not in set("0123456789abcdef") or not name:
            raise CorpusError(f"annotations_final.csv names {row['mp3_path']!r}; expected a folder 0 to f and a file")
        split = "train" if folder in "0123456789ab" else "valid" if folder == "c" else "test"
        labels = sorted(tag for tag in top if row[tag] == "1")
        # A clip's name is the song and the range in it.
        song = Path(name).stem.rsplit("-", 2)[0]
        made.append({"file": row["mp3_path"], "label": ";".join(labels) or None, "split": split, "source": song})
    return Content(columns_of(made))


_JAMENDO = ("genre", "instrument", "moodtheme", "top50tags")


def _jamendo(root: Path, tags: str) -> Content:
    """Split 0 of `autotagging_TAGS-{train,validation,test}.tsv`; tags follow the fifth column."""
    have = {stem.removesuffix(".low"): file for stem, file in index_audio(root).items()}
    made: list[dict[str, Any]] = []
    for side in ("train", "validation", "test"):
        name = f"autotagging_{tags}-{side}.tsv"
        path = next(iter(sorted(root.glob(f"**/split-0/{name}"))), root / name)
        for line in read_lines(path)[1:]:
            fields = line.split("\t")
            if len(fields) < 5:
                raise CorpusError(f"{path}: {line!r} is not understood; expected five columns, then tags")
            track, artist, _, at, _, *listed = fields
            labels = sorted({tag.split("---")[-1] if tags != "top50tags" else tag for tag in listed})
            made.append(
                {"file": have.get(Path(at).stem, at), "label": ";".join(labels), "split": tidy_split(side)}
                | {"source": artist, "track": track}
            )
    return Content(columns_of(made))


def _emomusic(root: Path) -> Content:
    """Mean arousal and valence of each 45 s clip as columns; development clips for training, evaluation for testing."""
    path = root / "annotations/static_annotations.csv"
    means = {row["song_id"]: row for row in read_rows(path, ("song_id", "mean_arousal", "mean_valence"))}
    info = read_rows(root / "annotations/songs_info.csv", ("song_id", "Mediaeval 2013 set"))
    made: list[dict[str, Any]] = []
    for row in info:
        mean = means.get(row["song_id"])
        if mean is None:
            continue
        split = "train" if row["Mediaeval 2013 set"].startswith("dev") else "test"
        values = {name: number(mean[f"mean_{name}"], path, name) for name in ("arousal", "valence")}
        made.append({"file": f"clips_45sec/{row['song_id']}.mp3", "split": split, "source": row.get("Artist")} | values)
    return Content(columns_of(made))


def _giantsteps(root: Path) -> Content:
    """24 keys; published as a test set only, so folds are made."""
    made: list[dict[str, Any]] = []
    for path in sorted((root / "annotations/key").glob("*.key")):
        key = read_text(path).strip()
        if key and key != "-":
            made.append({"file": f"audio/{path.stem}.mp3", "label": key, "source": path.stem.partition(".")[0]})
    if not made:
        raise CorpusError(f"{root / 'annotations/key'} has no keys (*.key)")
    return Content(columns_of(made))


LAYOUTS = (
    Layout("magnatagatune", "MagnaTagATune", ("annotations_final.csv", "0", "f"), _magnatagatune),
    *(
        Layout(
            f"mtg_jamendo_{tags}",
            f"MTG-Jamendo ({tags})",
            (f"**/autotagging_{tags}-train.tsv", f"**/autotagging_{tags}-test.tsv"),
            partial(_jamendo, tags=tags),
            known_by_marks=False,
        )
        for tags in _JAMENDO
    ),
    Layout(
        "emomusic",
        "emoMusic",
        ("annotations/static_annotations.csv", "annotations/songs_info.csv", "clips_45sec"),
        _emomusic,
    ),
    Layout("giantsteps_key", "GiantSteps key", ("annotations/key/*.key", "audio"), _giantsteps),
)
