"""The verb `label`: open a library, serve its page, write what was labelled."""

from __future__ import annotations

import io
import math
import secrets
import shlex
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import soundfile

from auricle.answers.label_log import NAME, LabelLog
from auricle.answers.label_segments import read_sound
from auricle.answers.label_server import LabelApp, bound, server_of
from auricle.answers.label_view import LabelView
from auricle.answers.labelling import Labelling
from auricle.answers.library import Library, check_made_by
from auricle.answers.prediction_table import SCHEMA, write_predictions
from auricle.answers.spaces import open_space
from auricle.errors import AudioError, ConfigError
from auricle.models.opening import Model
from auricle.storage import csv_lines, disk_errors, write_atomic, write_bytes
from auricle.training.lock import RunLock
from auricle.words import counted

BACKGROUND = "background"
TABLES = ("labels.csv", "labels.raven", "labels.audacity")


def label(
    library: str | Path,
    *,
    labels: str | Path | None = None,
    classes: Sequence[str] = (),
    first: Sequence[int] = (),
    port: int = 0,
    model: str | Path | Model | None = None,
    context: float = 2.0,
    out: str | Path | None = None,
    open_browser: bool = False,
) -> Labelling:
    """Serve a page on this machine, on which a person labels segments of a library; return when it is interrupted.

    Args:
        library: folder that `auricle.index` made.
        labels: file of the labels, read and continued; None: `labels.jsonl` in the library.
        classes: what to label, at most nine names; those of the file are there anyway.
        first: ids of rows to label first, as `auricle.search` lists them.
        port: of the page; 0: any that is free.
        model: that the library must have been made by, or what `load` opens; None: not checked.
        context: seconds shown and played before and after a segment.
        out: folder that the page's export writes; None: `labels` in the library.
        open_browser: open the page in the default browser.

    Returns:
        The labelling as it is at the end.

    Raises:
        ConfigError: a class is missing or odd, there is no such row, or the port is in use.
        CheckpointError: another process serves these labels.
        CorpusError: the library was made by another model.
        StorageError: there is no library, or it or the labels can't be read or written.
        MissingExtraError: starlette, uvicorn or LanceDB is not installed.

    Examples:
        >>> import auricle
        >>> auricle.label("library", classes=["owl"])  # doctest: +SKIP
    """
    if not (math.isfinite(context) and 0 <= context <= 60):
        raise ConfigError(f"context is {context} s; expected 0 to 60")
    opened = Library.open(library)
    file = opened.folder / NAME if labels is None else Path(labels)
    if model is not None:
        space = open_space(model, opened.record.space, precision=opened.record.precision)
        check_made_by(opened.record, opened.folder, space.fingerprint, space.name)
    remedy = "Use its page, stop it, or name another file with --labels"
    with RunLock(file.with_name(f".{file.name}.open"), "labels that another process serves", remedy):
        labelling = Labelling(opened, LabelLog.open(file), classes, first)
        folder = opened.folder / "labels" if out is None else Path(out)
        token = secrets.token_urlsafe(24)
        app = LabelApp(LabelView(labelling, context, lambda: export(labelling, folder)), token)
        with bound(port) as listening:
            address = f"http://127.0.0.1:{listening.getsockname()[1]}/{token}/"
            known = counted(len(labelling.log.labels), "label")
            print(f"{counted(len(opened), 'segment')}, {known} in {file}", flush=True)
            for note in labelling.notes:
                print(f"note: {note}", flush=True)
            print(f"Label at {address}\nCtrl-C ends; every label is saved at once.", flush=True)
            # What is known already is ranked from the start.
            labelling.fit()
            if open_browser:
                webbrowser.open(address)
            try:
                server_of(app).run(sockets=[listening])
            except KeyboardInterrupt:
                print()
    print(f"{counted(len(labelling.log.labels), 'label')} in {file}")
    return labelling


def export(labelling: Labelling, folder: Path) -> list[str]:
    """Write the labels as tables, and the labelled clips as a corpus; return in words what was written.

    - `tables/`: `labels.csv`, `labels.raven` and `labels.audacity` have the columns of predictions, a row per class of
      a segment, with score 1. Background and skipped segments have no row.
    - `clips/`: the sound of each segment, and `metadata.csv`, as `auricle fit` reads them. Split `test`
      is the random sample, `train` all others; segments without a class are `background`.

    Args:
        labelling: with the labels.
        folder: to write into; what an earlier call wrote is replaced.

    Raises:
        StorageError: the disk is full, or the folder can't be written.
    """
    segments, library = labelling.segments, labelling.library
    found = sorted(labelling.log.labels.values(), key=lambda each: each.key)
    listed = [(*each.key, name, 1.0) for each in found for name in each.classes or ()]
    table = pa.table([pa.array(column) for column in zip(*listed, strict=True)] or SCHEMA.empty_table().columns, SCHEMA)
    files = list(dict.fromkeys(each.key.file for each in found))
    for name in TABLES:
        write_predictions(folder / "tables" / name, [table], files=files, highest=library.rate / 2)
    clips = folder / "clips"
    rows: list[tuple[Any, ...]] = []
    broken = 0
    with disk_errors(clips):
        clips.mkdir(parents=True, exist_ok=True)
        for old in clips.glob("*.flac"):
            old.unlink()
    for each in found:
        row = segments.row(each.key)
        if each.classes is None or row is None:
            continue
        try:
            sound = read_sound(library, int(segments.ids[row]))
        except AudioError:
            broken += 1
            continue
        name = f"{int(segments.ids[row]):08d}.flac"
        file = io.BytesIO()
        soundfile.write(file, sound.wave.clip(-1, 1), sound.rate, format="FLAC", subtype="PCM_24")
        write_bytes(clips / name, file.getvalue())
        split = "train" if segments.trainable[row] else "test"
        rows.append((name, ";".join(each.classes) or BACKGROUND, split, *each.key))
    head = ("file", "label", "split", "original", "original_start", "original_end")
    write_atomic(clips / "metadata.csv", "".join(csv_lines(head, rows, paths=["file"])).encode())
    record = library.record
    command = ["auricle", "fit", record.model or "MODEL", "--data", str(clips), "--out", "FITTED"]
    command += [] if record.segment is None else ["--segment", f"{record.segment:g}"]
    lines = [
        f"{counted(len(rows), 'clip')} in {clips}, {counted(len(table), 'label')} for Raven and Audacity in "
        f"{folder / 'tables'}",
        f"Fit a model: {shlex.join(command)}",
    ]
    return [*lines, *([f"Skipped, because the recording can't be read: {counted(broken, 'clip')}"] if broken else [])]
