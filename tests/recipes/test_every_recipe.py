"""What every recipe promises: documented, one screen, a run that is killed and resumed comes to the same weights."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from auricle.recipes import Recipe, get_recipe, pretrain, recipes
from auricle.recipes.building import build
from auricle.recipes.matrix import make_ready, shown
from auricle.training.checkpoint import find_checkpoints
from auricle.training.ranks import Ranks
from auricle.training.step import TrainingStep

ENTRIES = {entry.name: entry for entry in recipes()}
ALL = [(name, size) for name, entry in ENTRIES.items() for size in entry.sizes]
# Two recipes may share a file; a file still is a page or two.
LONGEST = 175
# Parameters of an encoder of the sizes that are for little audio.
MOST = {"tiny": 8e6, "small": 25e6}


def shrunk(recipe: Recipe, **train: object) -> Recipe:
    """Return the recipe with a small batch and few steps; its stages before likewise."""
    settings = {
        "steps": 4,
        "warmup_steps": 1,
        "save_every": 2,
        "log_every": 1,
        "threads": 1,
        "precision": "fp32",
        "device": "cpu",
    }
    previous = None if recipe.previous is None else shrunk(recipe.previous)
    objective = recipe.objective
    if recipe.name == "beats":
        # A tokenizer of four steps gives few codes.
        (term,) = objective.terms
        objective = objective.replace(terms=(term.replace(target=term.target.replace(gate=0.0)),))
    return recipe.replace(
        previous=previous,
        objective=objective,
        loader=recipe.loader.replace(batch=4, workers=0, batch_seconds=None),
        train=recipe.train.replace(**(settings | train), micro_batch=None),
    )


@pytest.mark.parametrize(("name", "size"), ALL)
def test_json_is_exact_and_holds_no_path(name: str, size: str) -> None:
    recipe = get_recipe(name, size)
    text = json.dumps(recipe.to_json())
    assert Recipe.from_json(json.loads(text)) == recipe
    assert (recipe.name, recipe.size) == (name, size)
    assert str(Path.home()) not in text


@pytest.mark.parametrize(("name", "size"), ALL)
def test_it_is_documented(name: str, size: str) -> None:
    recipe = get_recipe(name, size)
    assert ENTRIES[name].summary.endswith(".")
    notes = recipe.notes
    assert notes.method == name
    assert notes.reference.title
    assert notes.reference.arxiv or notes.reference.section
    assert notes.faithful
    assert notes.deviations or size == "paper"
    for field in ("faithful", "deviations", "not_specified"):
        said = getattr(notes, field)
        assert len(set(said)) == len(said), field
        assert all(len(line) > 5 for line in said), field
    assert len(notes.cost) > 10
    assert len(notes.when_to_use) > 10


@pytest.mark.parametrize("name", list(ENTRIES))
def test_it_fits_a_screen(name: str) -> None:
    file = importlib.util.find_spec(ENTRIES[name].module).origin
    source = Path(file).read_text()
    assert len(source.splitlines()) <= LONGEST, file
    # Choices, not mechanisms.
    assert "torch" not in source
    assert "class " not in source.replace("class token", "").replace("per-class", "")


@pytest.mark.parametrize(("name", "size"), [(name, size) for name, size in ALL if size in MOST])
def test_it_takes_steps_and_every_parameter_learns(name: str, size: str) -> None:
    steps = 3 if size == "tiny" else 2
    recipe = shrunk(get_recipe(name, size), steps=steps)
    frontend, encoder, objective = build(recipe, 0)
    assert 2e4 < sum(p.numel() for p in encoder.parameters()) < MOST[size]
    make_ready(recipe, frontend, encoder, objective)
    step = TrainingStep(
        encoder, objective, recipe.augment.build(frontend), recipe.train, Ranks(0, 1, torch.device("cpu"))
    )
    reached: set[str] = set()
    named = {f"encoder.{n}": p for n, p in encoder.named_parameters()} | {
        f"objective.{n}": p for n, p in objective.named_parameters()
    }
    for number in range(steps):
        result = step(number, shown(recipe, frontend, objective, seed=number))
        assert float(result.skipped) == 0
        assert torch.isfinite(result.values["loss"])
        assert all(torch.isfinite(value) for value in result.watch.values())
        reached |= {n for n, p in named.items() if p.grad is not None and bool(p.grad.any())}
    assert objective.step == steps
    idle = {n for n, p in named.items() if p.requires_grad} - reached
    # What only the clip vector uses is not trained by what is predicted of tokens.
    assert {n for n in idle if "fc_norm" not in n and not n.endswith("cls_token")} == set()


@pytest.mark.parametrize("name", list(ENTRIES))
def test_a_stopped_run_comes_to_the_same_weights(name: str, toy_corpus: Path, tmp_path: Path) -> None:
    recipe = shrunk(get_recipe(name, "tiny"))
    data: object = toy_corpus
    if build(recipe, 0)[2].columns:
        from toy_captions import captioned

        data = captioned(toy_corpus, tmp_path)
    whole, part = tmp_path / "whole", tmp_path / "part"
    pretrain(recipe, data, whole, progress=False)
    pretrain(recipe.replace(train=recipe.train.replace(minutes=1e-9)), data, part, progress=False)
    assert max(find_checkpoints(part / "checkpoints")) < 4
    pretrain(recipe, data, part, resume=True, progress=False)
    for file in ("encoder", "objective", "views"):
        one, two = (folder / "checkpoints" / "step-00000004" / f"{file}.safetensors" for folder in (whole, part))
        assert one.exists() == two.exists()
        if one.exists():
            a, b = load_file(one), load_file(two)
            assert a.keys() == b.keys()
            for key in a:
                assert torch.equal(a[key], b[key]), f"{file} {key}"
