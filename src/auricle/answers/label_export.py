"""What was labelled, as tables and as a corpus: written beside its place, and moved there when it is whole."""

from __future__ import annotations

import io
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import soundfile

from auricle.answers.label_segments import read_segment
from auricle.answers.labelling import Labelling
from auricle.answers.prediction_table import SCHEMA, write_predictions
from auricle.errors import AudioError, StorageError
from auricle.storage import csv_lines, disk_errors, unseal, write_atomic, write_bytes, write_record
from auricle.words import counted

BACKGROUND = "background"
TABLES = ("labels.csv", "labels.raven", "labels.audacity")
RECORD = "export.json"
_HEAD = ("file", "label", "split", "source", "original", "original_start", "original_end")
_ANOTHER = "name another folder with --out"


def export(labelling: Labelling, folder: Path) -> list[str]:
    """Write the labels as tables, and the labelled clips as a corpus; return in words what was written.

    - `tables/`: `labels.csv`, `labels.raven` and `labels.audacity` have the columns of predictions, a row per class of
      a segment, with score 1. Background and skipped segments have no row.
    - `clips/`: the sound of each segment, and `metadata.csv`, as `auricle fit` reads them. Split `test` is the random
      sample, `train` what detectors learn of; other held-out segments, and labels that did not ask about every class,
      are excluded. Segments without a class are `background`.

    Args:
        labelling: with the labels.
        folder: to write; an earlier export there is replaced as a whole, and stays as it is where this one fails.

    Raises:
        StorageError: the disk is full, the folder can't be written or holds other files, or an earlier export has
            clips of recordings that can't be read any more.
    """
    earlier = is_export(folder)
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        new = made / "new"
        lines, broken = _write(labelling, new, folder)
        if broken and earlier:
            raise StorageError(
                f"{counted(broken, 'labelled clip')} can't be read, and the earlier export {folder} may have them: it "
                f"was not changed. Put the recordings back, or {_ANOTHER}"
            )
        files = sorted(path.relative_to(new).as_posix() for path in new.rglob("*") if path.is_file())
        write_record(new / RECORD, {"files": files})
        with disk_errors(folder):
            if folder.exists():
                folder.rename(made / "old")
            try:
                new.rename(folder)
            except OSError:
                if (made / "old").exists():
                    (made / "old").rename(folder)
                raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return lines


def is_export(folder: Path) -> bool:
    """Return whether a folder holds an earlier export and nothing else; False: there is none, or nothing in it.

    Raises:
        StorageError: it holds other files, or is none.
    """
    with disk_errors(folder):
        if folder.exists() and not any(folder.iterdir()):
            folder.rmdir()
        if not folder.exists():
            return False
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    try:
        known = set(unseal((folder / RECORD).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        known = set()
    others = sorted(there - known - ({RECORD} if known else set()))
    if others:
        raise StorageError(
            f"{folder} holds {others[0]!r}, which no export of labels wrote; expected a new folder, or an earlier "
            f"export and nothing else: nothing was changed, {_ANOTHER}"
        )
    return True


def _write(labelling: Labelling, new: Path, folder: Path) -> tuple[list[str], int]:
    """Write an export; return what to say of it, and how many clips could not be read."""
    segments, library = labelling.segments, labelling.library
    found = sorted(labelling.log.labels.values(), key=lambda each: each.key)
    listed = [(*each.key, name, 1.0) for each in found for name in each.classes or ()]
    table = pa.table([pa.array(column) for column in zip(*listed, strict=True)] or SCHEMA.empty_table().columns, SCHEMA)
    files = list(dict.fromkeys(each.key.file for each in found))
    for name in TABLES:
        write_predictions(new / "tables" / name, [table], files=files, highest=library.rate / 2)
    clips = new / "clips"
    with disk_errors(clips):
        clips.mkdir(parents=True, exist_ok=True)
    drawn = {draw.key for draw in labelling.draws}
    rows: list[tuple[Any, ...]] = []
    slower: set[float] = set()
    broken = unasked = held = 0
    for each in found:
        row = segments.row(each.key)
        if each.classes is None or row is None:
            continue
        if not set(labelling.classes) <= set(each.of):
            unasked += 1
            continue
        if not (each.key in drawn or segments.trainable[row]):
            held += 1
            continue
        try:
            wave, rate, slowed, _ = read_segment(library, int(segments.ids[row]))
        except AudioError:
            broken += 1
            continue
        name = f"{int(segments.ids[row]):08d}.flac"
        file = io.BytesIO()
        soundfile.write(file, wave.clip(-1, 1), rate, format="FLAC", subtype="PCM_24")
        write_bytes(clips / name, file.getvalue())
        split = "test" if each.key in drawn else "train"
        rows.append((name, ";".join(each.classes) or BACKGROUND, split, each.key.file, *each.key))
        slower.add(slowed)
    write_atomic(clips / "metadata.csv", "".join(csv_lines(_HEAD, rows, paths=["file"])).encode())
    record = library.record
    command = ["auricle", "fit", record.model or "MODEL", "--data", str(folder / "clips"), "--out", "FITTED"]
    # Clips are as long as they play; where their lengths differ, each is read whole.
    if record.segment is not None and len(slower) <= 1:
        command += ["--segment", f"{record.segment * max(slower, default=1.0):g}"]
    lines = [
        f"{counted(len(rows), 'clip')} in {folder / 'clips'}, {counted(len(table), 'label')} for Raven and Audacity in "
        f"{folder / 'tables'}",
        f"Fit a model: {shlex.join(command)}",
    ]
    excluded = {
        "not every class was asked about (label them again)": unasked,
        "held out, and not drawn for the random sample": held,
        "the recording can't be read": broken,
    }
    return [*lines, *(f"Excluded clips, {why}: {number}" for why, number in excluded.items() if number)], broken
