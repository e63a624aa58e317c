"""Runs that are damaged, and folders that are none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from bad_input_command import QUICK, TINY, Command
from bad_input_data import cut
from safetensors.torch import load_file


def weights(run: Path) -> Path:
    return max((run / "checkpoints").glob("step-*")) / "encoder.safetensors"


def other_encoder(run: Path) -> str:
    recipe = json.loads((run / "recipe.json").read_text())
    recipe["encoder"]["depth"] = 3
    (run / "recipe.json").write_text(json.dumps(recipe))
    return "was edited"


def truncated(run: Path) -> str:
    cut(weights(run), 0.7)
    return "truncated"


def pickled(run: Path) -> str:
    torch.save({name: tensor.clone() for name, tensor in load_file(weights(run)).items()}, weights(run))
    return "pickle"


def damaged_recipe(run: Path) -> str:
    cut(run / "recipe.json", 0.5)
    return "recipe.json"


def without_checkpoints(run: Path) -> str:
    shutil.rmtree(run / "checkpoints")
    return "no checkpoint"


@pytest.mark.parametrize("harm", [other_encoder, truncated, pickled, damaged_recipe, without_checkpoints])
@pytest.mark.parametrize("verb", ["embed", "probe"])
def test_a_run_that_cant_be_read(
    auricle: Command, copy: Path, good: Path, tmp_path: Path, harm: Callable[[Path], str], verb: str
) -> None:
    said = harm(copy)
    out = tmp_path / "out"
    tail = ["--out", out / "v.parquet"] if verb == "embed" else ["--task", "folder", "--out", out, *QUICK]
    message = auricle.refused(verb, copy, "--data", good, *tail)
    assert said in message
    assert str(copy) in message
    assert not out.exists()


@pytest.mark.parametrize("harm", [truncated, pickled])
def test_resuming_from_a_damaged_checkpoint(
    auricle: Command, copy: Path, good: Path, harm: Callable[[Path], str]
) -> None:
    harm(copy)
    arguments = ["pretrain", "audiomosaic", "--data", good, "--out", copy, "--resume", *TINY, "--train.steps", "6"]
    message = auricle.refused(*arguments)
    assert str(copy) in message


def test_a_folder_that_is_no_run(auricle: Command, good: Path, tmp_path: Path) -> None:
    message = auricle.refused("embed", good, "--data", good, "--out", tmp_path / "v.parquet")
    assert str(good) in message
    assert "recipe.json" in message
    assert str(good) in auricle.refused("report", good, "--out", tmp_path / "report.html")
