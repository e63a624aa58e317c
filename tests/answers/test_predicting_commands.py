"""`auricle predict` as a command: a saved model, several processes of one launch, the messages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toy_heads import recording, toy_encoder

from auricle.answers.prediction_table import read_predictions
from auricle.cli import main
from auricle.models.clip_heads import LinearHead
from auricle.models.folder import save_model
from auricle.probes import get_loss


@pytest.fixture
def model(tmp_path: Path) -> Path:
    frozen = toy_encoder()
    draw = torch.Generator().manual_seed(0)
    head = LinearHead(
        kind="clips", classes=("a", "b"), thresholds=(0.4, 0.5), segment=2.0, loss=get_loss("bce"),
        weight=torch.randn(2, frozen.pooled_width, generator=draw), bias=torch.zeros(2),
    )  # fmt: skip
    return save_model(tmp_path / "model", frozen, head, card={})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for i in range(3):
        recording(tmp_path / "in" / f"{i}.wav", 300.0, ("low", 50.0 * i, 50.0 * i + 100), seed=i, rate=8000)
    return tmp_path / "in"


def test_the_command_writes_what_it_says(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", str(model), "--data", str(data), "--out", str(tmp_path / "hits.csv"), "--hop", "10"]
    (data / "broken.wav").write_bytes(b"no audio")
    assert main(words) == 0
    said = capsys.readouterr()
    count = read_predictions(tmp_path / "hits.csv").num_rows
    assert count > 0
    assert f"\n{count} predictions: {tmp_path / 'hits.csv'}\n3 of 4 recordings used; 1 skipped" in said.out
    assert "skipped 'broken.wav': " in said.err
    assert "at most half the encoder's rate" in said.err
    assert main([*words, "--threshold", "0.9"]) == 2
    assert "add --overwrite to replace" in capsys.readouterr().err
    assert main([*words, "--threshold", "0.9", "--overwrite"]) == 0
    assert main(["predict", str(model), "--data", str(data / "no"), "--out", str(tmp_path / "x.csv")]) == 2
    assert main(["predict", str(tmp_path / "no"), "--data", str(data), "--out", str(tmp_path / "x.csv")]) == 2


@pytest.mark.distributed
def test_processes_of_one_launch_write_one_table(model: Path, data: Path, tmp_path: Path) -> None:
    # A unit for each recording.
    words = ["predict", str(model), "--data", str(data), "--segment", "10", "--hop", "2.5", "--out"]
    assert main([*words, str(tmp_path / "whole.csv")]) == 0
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "auricle.cli",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, *words, str(tmp_path / "hits.csv")], env=environment, capture_output=True, text=True, check=True
    )
    assert (tmp_path / "hits.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert not list(tmp_path.glob(".*"))
    assert done.stdout.count("predictions: ") == 1
    assert "left to other shards; the last writes" in done.stderr
