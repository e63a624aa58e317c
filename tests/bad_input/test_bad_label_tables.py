"""Label tables that name missing files or are damaged, and too few labelled clips."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from bad_input_command import QUICK, TINY, Command
from bad_input_data import write_tones


def test_a_label_table_that_names_missing_files(auricle: Command, run: Path, good: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(good, tmp_path / "data"))
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.wav"))
    rows = [f"{name},{name[:6]}" for name in [*names, "class0/gone.wav", "class1/lost one.wav"]]
    (folder / "metadata.csv").write_text("file,label\n" + "\n".join(rows) + "\n")
    assert auricle("corpus", "scan", folder, "--out", tmp_path / "t.parquet") == 0
    assert "gone.wav" in auricle.out
    assert "lost one.wav" in auricle.out
    assert "metadata.csv names it, but there is no such file" in auricle.out
    assert auricle("embed", run, "--data", folder, "--out", tmp_path / "v.parquet") == 0
    assert "gone.wav" in auricle.err
    assert pq.read_table(tmp_path / "v.parquet").num_rows == len(names)
    assert auricle("probe", run, "--task", "folder", "--data", folder, "--out", tmp_path / "out", *QUICK) == 0
    result = json.loads((tmp_path / "out" / "results.jsonl").read_text())
    assert set(result["missing"]) == {"class0/gone.wav", "class1/lost one.wav"}
    out = tmp_path / "run"
    assert auricle("pretrain", "audiomosaic", "--data", folder, "--out", out, *TINY) == 0
    assert len(json.loads((out / "corpus.json").read_text())["broken"]) == 2


def test_a_label_table_that_names_nothing_but_missing_files(auricle: Command, good: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(good, tmp_path / "data"))
    (folder / "metadata.csv").write_text("file,label\na.wav,x\nb.wav,y\n")
    message = auricle.refused("corpus", "scan", folder)
    assert "metadata.csv" in message
    assert "'a.wav'" in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,label\nclass0/good0.wav,a,b\n", "line 2"),
        ("name,label\nclass0/good0.wav,a\n", "`file`"),
        ("file,fold\nclass0/good0.wav,first\n", "'first'"),
        ("", "lists nothing"),
    ],
)
def test_a_damaged_label_table(auricle: Command, good: Path, tmp_path: Path, text: str, said: str) -> None:
    folder = Path(shutil.copytree(good, tmp_path / "data"))
    (folder / "metadata.csv").write_text(text)
    message = auricle.refused("corpus", "scan", folder)
    assert "metadata.csv" in message
    assert said in message


@pytest.mark.parametrize(
    ("classes", "clips", "said"), [(1, 8, "expected at least two classes"), (2, 2, "4 labelled clips for 5 folds")]
)
def test_one_class_only_and_fewer_clips_than_folds(
    auricle: Command, run: Path, tmp_path: Path, classes: int, clips: int, said: str
) -> None:
    folder = write_tones(tmp_path / "data", classes, clips)
    arguments = ["probe", run, "--task", "folder", "--data", folder, "--out", tmp_path / "out", *QUICK]
    message = auricle.refused(*arguments)
    assert said in message
    assert not list(tmp_path.rglob("results.jsonl"))


def test_fewer_clips_than_a_batch(auricle: Command, tmp_path: Path) -> None:
    folder, out = write_tones(tmp_path / "data", 1, 5), tmp_path / "run"
    message = auricle.refused("pretrain", "audiomosaic", "--data", folder, "--out", out, *TINY)
    assert "8" in message
    assert "5" in message
    assert "batch" in message
