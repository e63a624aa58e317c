from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

import auricle
from auricle.cli import main

TINY = [
    "--loader.batch", "8", "--train.steps", "3", "--train.warmup-steps", "1", "--train.log-every", "1",
    "--train.threads", "1", "--train.save-every", "2",
    "--encoder.depth", "2", "--encoder.width", "48", "--encoder.frames", "64", "--window.seconds", "0.64",
]  # fmt: skip


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes that differ in pitch, in sub-folders; one of the recordings is no audio."""
    folder = tmp_path_factory.mktemp("labelled")
    generator = np.random.default_rng(0)
    for label, pitch in (("low", 200.0), ("high", 2000.0)):
        (folder / label).mkdir()
        for number in range(15):
            time = np.arange(12000) / 16000
            wave = 0.3 * np.sin(2 * np.pi * pitch * generator.uniform(0.9, 1.1) * time)
            soundfile.write(folder / label / f"{number}.wav", wave + 0.01 * generator.standard_normal(12000), 16000)
    (folder / "low" / "broken.wav").write_bytes(b"RIFF but not a recording")
    return folder


@pytest.fixture(scope="module")
def run(labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(["pretrain", "audiomosaic", "--data", str(labelled), "--out", str(out), *TINY]) == 0
    return out


def test_the_five_commands_go_from_a_folder_to_a_report(
    labelled: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["corpus", "scan", str(labelled), "--out", str(tmp_path / "table.parquet")]) == 0
    assert "broken.wav" in capsys.readouterr().out
    assert main(["embed", str(run), "--data", str(labelled), "--out", str(tmp_path / "vectors.parquet")]) == 0
    table = pq.read_table(tmp_path / "vectors.parquet")
    assert table.num_rows == 30
    assert len(table["embedding"][0]) == 48
    wave, rate = soundfile.read(labelled / table["file"][7].as_py(), dtype="float32")
    np.testing.assert_allclose(auricle.load(run).embed(wave, rate), table["embedding"][7].as_py(), atol=1e-4)
    arguments = ["probe", str(run), "--task", "folder", "--data", str(labelled), "--probes", "linear", "--seeds", "1"]
    assert main(arguments) == 0
    results = [json.loads(line) for line in (run / "probes/folder/results.jsonl").read_text().splitlines()]
    assert {r["role"] for r in results} == {"pretrained", "random", "log-mel", "mfcc"}
    assert all(r["low"] <= r["value"] <= r["high"] for r in results)
    # Two pitches an order of magnitude apart: anything that reads the spectrum tells them apart.
    assert next(r["value"] for r in results if r["role"] == "log-mel") > 0.9
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert "log-mel" in page
    assert "http://" not in page.split("<body")[0].replace("http://www.w3.org", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["corpsu"], "corpus"),
        (["corpus", "scna"], "scan"),
        (["corpus", "scan", "/nowhere"], "/nowhere"),
        (["pretrain", "audiomosiac", "--data", "x", "--out", "y"], "audiomosaic"),
        (["pretrain", "audiomosaic", "--size", "tyni", "--data", "x", "--out", "y"], "tiny"),
        (["pretrain", "audiomosaic", "--data", "/nowhere", "--out", "y"], "/nowhere"),
        (["probe", "/nowhere", "--task", "esc11"], "esc10"),
        (["probe", "/nowhere", "--task", "scenes", "--data", "/nowhere"], "/nowhere"),
        (["embed", "/nowhere", "--data", "/nowhere", "--out", "y.parquet"], "/nowhere"),
        (["report"], "run folder"),
        (["report", "/nowhere"], "/nowhere"),
    ],
)
def test_mistakes_get_one_clear_line_and_exit_code_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert said in message
    assert "Traceback" not in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--objective.mask.tim", "0.6", "--objective.mask.time"),
        ("--train.steps", "many", "many"),
        ("--objective.mask.grid", "wrong", "released"),
    ],
)
def test_unknown_fields_and_wrong_types_are_refused_with_the_nearest_name(
    flag: str, value: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["pretrain", "audiomosaic", "--data", "x", "--out", "y", flag, value])
    assert stopped.value.code == 2
    captured = capsys.readouterr()
    assert said in captured.out + captured.err


def test_a_run_is_not_overwritten_and_a_complete_one_is_left_as_it_is(
    labelled: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["pretrain", "audiomosaic", "--data", str(labelled), "--out", str(run), *TINY]
    assert main(arguments) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*arguments, "--resume"]) == 0
    assert "is complete: all its 3 steps are done" in capsys.readouterr().err


def test_a_folder_of_one_class_can_be_pretrained_on_but_not_probed(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "only").mkdir()
    for number in range(6):
        wave = np.random.default_rng(number).standard_normal(8000) * 0.1
        soundfile.write(tmp_path / "only" / f"{number}.wav", wave, 16000)
    assert main(["probe", str(run), "--task", "folder", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "class" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["corpus", "pretrain", "embed", "probe", "report", "recipes", "tasks", "demo"])
def test_every_command_explains_itself(verb: str) -> None:
    arguments = [sys.executable, "-m", "auricle.cli", verb, *(["scan"] if verb == "corpus" else []), "--help"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert f"auricle {verb}" in done.stdout
    assert len(done.stdout.splitlines()) > 4


@pytest.mark.parametrize("words", ["--help", "tasks --help", "pretrain --help", "recipes"])
@pytest.mark.parametrize("buffered", [True, False])
def test_a_reader_that_goes_away_ends_the_command_quietly(words: str, buffered: bool) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    if not buffered:
        environment["PYTHONUNBUFFERED"] = "1"
    command = [sys.executable, "-m", "auricle.cli", *words.split()]
    try:
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, env=environment, check=False)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    said = capsys.readouterr().out
    assert all(f"  {verb}" in said for verb in ("corpus", "pretrain", "embed", "probe", "report", "recipes", "tasks"))


def test_recipes_and_tasks_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    assert "audiomosaic" in capsys.readouterr().out
    assert main(["tasks"]) == 0
    said = capsys.readouterr().out
    assert "esc10" in said
    assert "folder" in said
