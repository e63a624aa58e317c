"""Animals: BirdSet's regions, and beehives with and without their queen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from auricle.corpus.published.layouts.contract import Content, Layout
from auricle.corpus.published.layouts.tables import audio_below, columns_of, index_audio
from auricle.corpus.stores import FolderStore, Place, probe_seconds
from auricle.errors import CorpusError

BIRD_SECONDS = 5.0


def _birdset(root: Path) -> Content:
    """One region (`HSN`, `PER` ...): focal recordings for training, 5 s soundscape segments for testing.

    A training clip is the 5 s around the first detected event of a recording (or the first 5 s). Segments without any
    bird have no label.
    """
    train, test = _metadata(root, "metadata_train"), _metadata(root, "metadata_test_5s")
    have = index_audio(root)
    made: list[dict[str, Any]] = []
    absent = 0
    for rows, split in ((train, "train"), (test, "test")):
        for row in rows:
            name = str(row.get("filepath") or "")
            file = have.get(Path(name).stem)
            if file is None:
                absent += 1
                continue
            clip: dict[str, Any] = {
                "file": file,
                "label": _species(row),
                "split": split,
                "source": _recording(name, split),
            }
            if split == "train":
                clip["start"] = _start(row)
                clip["seconds"] = BIRD_SECONDS
            made.append(clip)
    if not made:
        raise CorpusError(
            f"{root} has BirdSet's tables but none of its recordings; unpack its archives (*_shard_*.tar.gz) there"
        )
    return Content(columns_of(_within_recordings(root, made)), left={"missing": absent})


def _metadata(root: Path, kind: str) -> list[dict[str, Any]]:
    path = next(iter(sorted(root.glob(f"*_{kind}.parquet"))))
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise CorpusError(f"{path} is no readable Parquet file ({error}); download it again") from error
    if "filepath" not in table.column_names and "__index_level_0__" in table.column_names:
        table = table.rename_columns(["filepath" if n == "__index_level_0__" else n for n in table.column_names])
    for needed in ("filepath", "ebird_code_multilabel"):
        if needed not in table.column_names:
            raise CorpusError(f"{path} has no column {needed!r}; found {', '.join(table.column_names)}")
    return table.to_pylist()


def _species(row: dict[str, Any]) -> str | None:
    codes: Sequence[Any] = row["ebird_code_multilabel"] or ()
    return ";".join(str(code) for code in codes) or None


def _recording(name: str, split: str) -> str:
    """Return a segment's soundscape; a focal recording is its own source."""
    stem = Path(name).stem
    return stem if split == "train" else stem.rsplit("_", 2)[0]


def _start(row: dict[str, Any]) -> float:
    detected = row.get("detected_events") or ()
    if not detected:
        return 0.0
    onset, offset = (float(time) for time in detected[0][:2])
    return max(0.0, (onset + offset) / 2 - BIRD_SECONDS / 2)


def _within_recordings(root: Path, made: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Move ranges into their recordings; take shorter recordings whole."""
    ranged = [row for row in made if "start" in row]
    lengths = probe_seconds(FolderStore(root), [Place(row["file"]) for row in ranged])
    for row, length in zip(ranged, lengths, strict=True):
        if isinstance(length, str) or length <= BIRD_SECONDS:
            del row["start"], row["seconds"]
        else:
            row["start"] = min(row["start"], length - BIRD_SECONDS)
    return made


def _beehive(root: Path) -> Content:
    """Fold = hive, as in HEAR, which trains on one and tests on the other in turn."""
    made: list[dict[str, Any]] = []
    for file in audio_below(root, "Hive*/**/*"):
        folder, _, name = file.partition("/")
        hive = folder.partition("_")[0].removeprefix("Hive")
        if not hive.isdigit():
            continue
        label = "no queen" if "NO" in Path(name).name else "queen"
        made.append({"file": file, "label": label, "fold": int(hive), "source": folder})
    if not made:
        raise CorpusError(f"{root} has no recordings in folders such as Hive1_12_06_2018")
    return Content(columns_of(made))


LAYOUTS = (
    Layout("birdset", "BirdSet", ("*_metadata_train.parquet", "*_metadata_test_5s.parquet"), _birdset),
    Layout("beehive", "Beehive States", ("Hive1_*", "Hive3_*"), _beehive),
)
