"""Runs that were killed, edited, begun by an earlier version, or go on on other ranks.

`benchmarks/reliability` holds the figures of the whole forms.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from auricle.errors import CheckpointError
from auricle.recipes import pretrain, resume
from auricle.recipes import pretraining as module
from auricle.recipes.request import read_request
from auricle.training.ranks import Ranks
from auricle.training.run_folder import RunFolder

FOLDER = Path(__file__).parents[2] / "benchmarks" / "reliability"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["crash_points.py", "--sample", "3", "--seed", "7"], "| two stages |"),
        (["edited_recipes.py", "--edits", "30", "--seed", "7"], "refused in words"),
    ],
)
def test_runs_survive(words: list[str], expected: str) -> None:
    """Killed at some file operations of each kind of run, and opened after some edits of a recipe by hand."""
    done = subprocess.run([sys.executable, FOLDER / words[0], *words[1:]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout


def test_a_run_without_a_setting_that_is_new_is_resumed(make_recipe, toy_corpus: Path, tmp_path: Path) -> None:
    """An earlier version wrote neither `hold_steps` nor its default."""
    run = pretrain(make_recipe(steps=3, save_every=2), toy_corpus, tmp_path / "run", progress=False)
    weights = run / "checkpoints" / "step-00000003" / "encoder.safetensors"
    before = load_file(weights)
    shutil.rmtree(weights.parent)
    recipe, asked = json.loads((run / "recipe.json").read_text()), read_request(run)
    assert asked is not None
    request = asked.recipe.to_json()
    del recipe["train"]["hold_steps"], request["train"]["hold_steps"]
    (run / "recipe.json").write_text(json.dumps(recipe))
    folder = RunFolder(run, recipe)
    folder.seal("recipe.json")
    folder.record(recipe=request)
    resume(run, progress=False)
    after = load_file(weights)
    assert all(torch.equal(before[name], after[name]) for name in before)
    # A setting that differs is refused as before.
    shutil.rmtree(weights.parent)
    recipe["train"]["lr"] = 0.5
    (run / "recipe.json").write_text(json.dumps(recipe))
    folder.seal("recipe.json")
    with pytest.raises(CheckpointError, match=r"another recipe: train.lr: 0.5 then, 0.0006 now"):
        resume(run, progress=False)


def test_a_lowered_batch_is_resumed_on_ranks_that_share_it(
    make_recipe, toy_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(steps=2, save_every=1)
    recipe = recipe.replace(loader=recipe.loader.replace(batch=64))
    run = pretrain(recipe, toy_corpus, tmp_path / "run", progress=False)
    shutil.rmtree(run / "checkpoints" / "step-00000002")
    batch = RunFolder.open(run).recipe["loader"]["batch"]
    assert 24 <= batch < 64
    assert f"is lowered to {batch}, the learning rate stays" in (run / "events.log").read_text()
    world = next(number for number in range(3, 9) if batch % number)
    fewer = max(number for number in range(1, world) if batch % number == 0)
    ranks = Ranks(0, world, torch.device("cpu"))
    monkeypatch.setattr(Ranks, "start", lambda device: ranks)
    monkeypatch.setattr(Ranks, "wait", lambda self: None)
    monkeypatch.setattr(module, "_train", lambda *given: pytest.fail("it was trained"))
    with pytest.raises(CheckpointError, match=rf"{batch} clips, which {world} ranks can't .*Resume on {fewer} ranks?$"):
        resume(run, progress=False)
