"""Tables of predictions: every format is read back, by crowsetta where it reads it; hostile names stay text."""

from __future__ import annotations

import csv
import errno
import shutil
from pathlib import Path

import crowsetta
import numpy as np
import pyarrow as pa
import pytest
import soundfile

from auricle.answers.prediction_table import ENDINGS, read_predictions, write_predictions
from auricle.corpus.sources import open_corpus
from auricle.errors import ConfigError, CorpusError, StorageError
from auricle.models.prediction_rows import table_schema

ROWS = [
    ("a.wav", 0.0, 5.0, "owl", 0.9),
    ("a.wav", 2.5, 7.5, 'ruff, "reeve"', 0.25),
    ("sub/b c.flac", 7199.99998125, 7203.5, "Grünspecht 鳥;x", 0.123456),
    ("=cmd|' /C calc'!A0.wav", 1e-05, 1 / 3, '=HYPERLINK("http://x")', 1.0),
    ("@x.wav", 0.0, 1.0, "-1", 0.5),
    ("d.wav", 0.0, 1.0, "line\nbreak\tand\rtab\u2028", 0.5),
]
NAMES = ("file", "start", "end", "label", "score")


def table(rows: list[tuple[object, ...]]) -> pa.Table:
    return pa.table({name: [row[i] for row in rows] for i, name in enumerate(NAMES)}, schema=table_schema(False))


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".jsonl"])
def test_what_is_written_in_chunks_is_read_back_to_the_bit(tmp_path: Path, ending: str) -> None:
    out = tmp_path / "new" / f"hits{ending}"
    assert write_predictions(out, iter([table(ROWS[:2]), table([]), table(ROWS[2:])])) == len(ROWS)
    assert read_predictions(out).equals(table(ROWS))
    write_predictions(out, iter([]))
    assert read_predictions(out).equals(table([]))


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".jsonl"])
def test_tables_of_anomalies_have_their_reasons(tmp_path: Path, ending: str) -> None:
    schema = table_schema(True)
    row = {"file": "a.wav", "start": 0.0, "end": 1.0, "label": "anomaly", "score": 3.25}
    held = [
        row | {"threshold": 2.5, "anomalous": True, "nearest": "+n.wav [0 s + 1 s]", "nearest_distance": 0.5},
        row | {"threshold": 2.5, "anomalous": False, "nearest": "n.wav", "nearest_distance": 0.125},
    ]
    out = tmp_path / f"x{ending}"
    write_predictions(out, [pa.Table.from_pylist(held, schema=schema)], schema=schema)
    assert read_predictions(out).to_pylist() == held
    write_predictions(out, [], schema=schema)
    assert read_predictions(out).num_rows == 0


def test_a_spreadsheet_runs_no_cell(tmp_path: Path) -> None:
    write_predictions(tmp_path / "x.csv", [table(ROWS)])
    with (tmp_path / "x.csv").open(newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert '\'=HYPERLINK("http://x")' in cells
    assert "./=cmd|' /C calc'!A0.wav" in cells
    assert not [c for c in cells if c[:1] in tuple("=+@\t\r") or (c[:1] == "-" and not c[1:].isdigit())]


def test_crowsetta_reads_selection_tables(tmp_path: Path) -> None:
    write_predictions(tmp_path / "x.raven", [table(ROWS)], files=["a.wav", "silent.wav"], highest=8000.0)
    read = crowsetta.formats.bbox.Raven.from_file(tmp_path / "x.raven" / "a.wav.Table.1.selections.txt")
    boxes = [(b.onset, b.offset, b.low_freq, b.high_freq, b.label) for b in read.to_bbox()]
    assert boxes == [(0.0, 5.0, 0.0, 8000.0, "owl"), (2.5, 7.5, 0.0, 8000.0, 'ruff, "reeve"')]
    assert read.df["Score"].tolist() == [0.9, 0.25]
    assert read.df["Selection"].tolist() == [1, 2]
    late = crowsetta.formats.bbox.Raven.from_file(tmp_path / "x.raven" / "sub" / "b c.flac.Table.1.selections.txt")
    assert (late.to_bbox()[0].onset, late.to_bbox()[0].label) == (7199.99998125, "Grünspecht 鳥;x")
    silent = (tmp_path / "x.raven" / "silent.wav.Table.1.selections.txt").read_text().splitlines()
    assert len(silent) == 1
    assert silent[0].startswith("Selection\tView")


def test_crowsetta_reads_label_tracks(tmp_path: Path) -> None:
    write_predictions(tmp_path / "x.audacity", [table(ROWS[:3]), table(ROWS[3:])], files=["silent.wav"])
    read = crowsetta.formats.seq.AudSeq.from_file(tmp_path / "x.audacity" / "a.wav.txt").to_seq()
    assert [(s.onset_s, s.offset_s, s.label) for s in read.segments] == [
        (0.0, 5.0, "owl"),
        (2.5, 7.5, 'ruff, "reeve"'),
    ]
    broken = crowsetta.formats.seq.AudSeq.from_file(tmp_path / "x.audacity" / "d.wav.txt").to_seq()
    assert [s.label.split() for s in broken.segments] == [["line", "break", "and", "tab"]]
    assert (tmp_path / "x.audacity" / "silent.wav.txt").read_bytes() == b""


@pytest.mark.parametrize("ending", [".raven", ".audacity"])
def test_files_beside_their_recordings_are_labels(tmp_path: Path, ending: str) -> None:
    """What is predicted can be corrected in Raven or Audacity and given back as labels."""
    (tmp_path / "new" / "sub").mkdir(parents=True)
    for name in ("a.wav", "a.flac", "sub/b c.flac"):
        soundfile.write(tmp_path / "new" / name, np.ones(16000 * 8) / 9, 16000)
    rows = [ROWS[0], ("a.flac", 1.0, 2.0, "ruff", 0.5), ("sub/b c.flac", 0.0625, 3.5, "Grünspecht", 0.25)]
    write_predictions(tmp_path / f"x{ending}", [table(rows)])
    shutil.copytree(tmp_path / f"x{ending}", tmp_path / "new", dirs_exist_ok=True)
    events = open_corpus(tmp_path / "new").events
    assert sorted((e.file, e.onset, e.offset, e.label) for e in events) == sorted(row[:4] for row in rows)


def test_no_name_leaves_the_folder(tmp_path: Path) -> None:
    names = [
        "../../up.wav",
        "/etc/x.wav",
        "a/../b.wav",
        "b.wav",
        "..",
        "x" * 300 + ".wav",
        "x" * 299 + "y.wav",
        "n\0l.wav",
    ]
    rows = [(name, 0.0, 1.0, "owl", 0.5) for name in names]
    write_predictions(tmp_path / "in" / "x.audacity", [table(rows)])
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    found = [p for p in (tmp_path / "in").rglob("*.txt") if p.is_file()]
    assert len(found) == len(names)
    assert all(path.read_text() == "0.0\t1.0\towl\n" for path in found)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_full_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(StorageError, match=r"no space left to write .*free some space or write elsewhere"):
        write_predictions(tmp_path / f"x{ending}", [table(ROWS)])
    monkeypatch.undo()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_other_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"hits\.xlsx ends in '\.xlsx', expected \.csv, \.parquet.*: .*hits\.csv"):
        write_predictions(tmp_path / "hits.xlsx", [])
    with pytest.raises(ConfigError, match="one file per recording"):
        read_predictions(tmp_path / "hits.raven")


@pytest.mark.parametrize("content", ["", "file,start\na.wav,1\n", "file,start,end,label,score\na.wav,x,1,owl,1\n",
                                     "file,start,end,label,score\na.wav,1\n"])  # fmt: skip
def test_another_table_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(CorpusError, match=r"x\.csv can't be read as a table of predictions .*predict again"):
        read_predictions(tmp_path / "x.csv")


@pytest.mark.parametrize("ending", [".raven", ".audacity"])
def test_a_folder_of_other_files_is_not_replaced(tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"season{ending}"
    out.mkdir()
    (out / "notes.txt").write_text("a week of work")
    with pytest.raises(StorageError, match=r"holds notes\.txt, and is no folder of predictions; choose another name"):
        write_predictions(out, [table(ROWS)])
    assert (out / "notes.txt").read_text() == "a week of work"
    ours = tmp_path / f"ours{ending}"
    for rows in (ROWS, ROWS[:1]):
        write_predictions(ours, [table(rows)])
    assert len(list(ours.rglob("*.txt"))) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([ours.name, out.name])
