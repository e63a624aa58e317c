"""Sound events with onsets and offsets: URBAN-SED, DESED, DCASE 2016 task 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from auricle.corpus.published.layouts.contract import Content, Layout
from auricle.corpus.published.layouts.tables import audio_below, columns_of, index_audio, number, read_rows
from auricle.errors import CorpusError


def event_list(path: Path) -> list[tuple[float, float, str]]:
    """Read lines `onset <tab> offset <tab> label`.

    Raises:
        CorpusError: a time is no number.
    """
    if not path.read_text(encoding="utf-8").strip():
        return []
    rows = read_rows(path, (), delimiter="\t", names=("onset", "offset", "label"))
    return [(number(r["onset"], path, "an onset"), number(r["offset"], path, "an offset"), r["label"]) for r in rows]


def _from_lists(root: Path, clips: list[tuple[str, str, Path]]) -> Content:
    """Return the content of clips (file, split, list of events); a clip's labels are those of its events."""
    made: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    for file, split, path in clips:
        found = event_list(path)
        label = ";".join(sorted({name for _, _, name in found})) or None
        made.append({"file": file, "label": label, "split": split})
        events += [{"file": file, "onset": on, "offset": off, "label": name} for on, off, name in found]
    if not made:
        raise CorpusError(f"{root} has no recording with a list of events beside it")
    return Content(columns_of(made), _events(events))


def _events(events: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [event[name] for event in events] for name in ("file", "onset", "offset", "label")}


def _urban_sed(root: Path) -> Content:
    clips = []
    for folder, split in (("train", "train"), ("validate", "valid"), ("test", "test")):
        for file in audio_below(root, f"audio/{folder}/*"):
            path = root / "annotations" / folder / f"{Path(file).stem}.txt"
            if path.is_file():
                clips.append((file, split, path))
    return _from_lists(root, clips)


_DCASE2016 = ("dcase2016_task2_train_dev/dcase2016_task2_dev", "dcase2016_task2_test_public")


def _dcase2016_task2(root: Path) -> Content:
    """Development recordings for training, public evaluation recordings for testing."""
    clips = []
    for part, split in zip(_DCASE2016, ("train", "test"), strict=True):
        for path in sorted((root / part / "annotation").glob("*.txt")):
            clips.append((f"{part}/sound/{path.stem}.wav", split, path))
    return _from_lists(root, clips)


_DESED_SPLITS = {"train": "train", "validation": "valid", "eval": "test"}


def _desed(root: Path) -> Content:
    """Every table below `metadata/`: strong ones (onset, offset, event_label) and weak ones (event_labels).

    Without the evaluation part the validation part is the test set, as in X-ARES, and validation clips are taken from
    the training clips.
    """
    made: dict[str, dict[str, Any]] = {}
    events: list[dict[str, Any]] = []
    for path in sorted((root / "metadata").rglob("*.tsv")):
        rows = read_rows(path, ("filename",), delimiter="\t")
        subset = path.relative_to(root / "metadata").with_suffix("").as_posix()
        have = _sound_of(root, path)
        strong = bool(rows) and "event_label" in rows[0]
        for row in rows:
            if not row["filename"]:
                continue
            file = have.get(Path(row["filename"]).stem, f"audio/{subset}/{row['filename']}")
            clip = made.setdefault(
                file, {"file": file, "labels": set(), "split": _DESED_SPLITS.get(subset.partition("/")[0])}
            )
            clip |= {"subset": subset, "strong": strong or clip.get("strong", False)}
            if not strong:
                clip["labels"] |= {label for label in row.get("event_labels", "").split(",") if label}
            elif row["event_label"]:
                clip["labels"].add(row["event_label"])
                on, off = (number(row[name], path, f"an {name}") for name in ("onset", "offset"))
                events.append({"file": file, "onset": on, "offset": off, "label": row["event_label"]})
    if not made:
        raise CorpusError(f"{root / 'metadata'} holds no table (.tsv) of recordings")
    notes = []
    if not any(clip["split"] == "test" for clip in made.values()):
        for clip in made.values():
            clip["split"] = "test" if clip["split"] == "valid" else clip["split"]
        notes.append("without the evaluation part the test set is the validation part; do not choose settings on it")
    for clip in made.values():
        clip["label"] = ";".join(sorted(clip.pop("labels"))) or None
    return Content(columns_of(list(made.values())), _events(events), tuple(notes))


def _sound_of(root: Path, table: Path) -> dict[str, str]:
    """Find a table's recordings: `audio/` has the folders of `metadata/`, with or without the table's name."""
    relative = table.relative_to(root / "metadata")
    for below in (relative.with_suffix(""), relative.parent):
        folder = root / "audio" / below
        found = index_audio(folder) if folder.is_dir() else {}
        if found:
            return {stem: (folder / name).relative_to(root).as_posix() for stem, name in found.items()}
    return {}


LAYOUTS = (
    Layout("urban_sed", "URBAN-SED", ("audio/train", "annotations/train/*.txt", "annotations/test/*.txt"), _urban_sed),
    Layout(
        "desed",
        "DESED",
        ("audio", "metadata/validation"),
        _desed,
        hint="merge the folders audio/ and metadata/ of its parts",
    ),
    Layout(
        "dcase2016_task2",
        "DCASE 2016 task 2",
        tuple(f"{part}/annotation" for part in _DCASE2016),
        _dcase2016_task2,
    ),
)
