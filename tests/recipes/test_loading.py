from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from toy_pretraining import toy_recipe

from auricle.errors import CheckpointError
from auricle.recipes import Recipe, get_recipe, load, load_recipe, pretrain, random_control


@pytest.fixture(scope="module")
def run(toy_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrain(toy_recipe(), toy_corpus, tmp_path_factory.mktemp("runs") / "toy", progress=False)


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))


def test_the_latest_weights_and_the_corpus_statistics(run: Path) -> None:
    encoder = load(run)
    stored = load_file(run / "checkpoints/step-00000010/encoder.safetensors")
    assert all(torch.equal(tensor, stored[name]) for name, tensor in encoder.encoder.state_dict().items())
    assert encoder.frontend.config == load_recipe(run).frontend
    assert encoder.name == "toy"
    assert "step 10 of 10" in encoder.notes[0]


def test_embedding_is_one_line(run: Path) -> None:
    wave = np.sin(np.arange(8000) / 10).astype(np.float32)
    vector = load(run).embed(wave, 8000)
    assert vector.shape == (24,)
    assert np.isfinite(vector).all()
    assert np.array_equal(vector, load(run / "checkpoints" / "step-00000010").embed(wave, 8000))


def test_an_earlier_step(run: Path) -> None:
    early, late = load(run, step=4), load(run)
    assert early.fingerprint != late.fingerprint
    with pytest.raises(CheckpointError, match="it has 4, 8, 10"):
        load(run, step=5)
    with pytest.raises(CheckpointError, match="is a checkpoint already"):
        load(run / "checkpoints" / "step-00000004", step=4)


def test_the_random_control_differs_by_its_weights_only(run: Path) -> None:
    trained, control, other = load(run), random_control(run, 0), random_control(run, 1)
    assert control.frontend.config == trained.frontend.config
    assert type(control.encoder) is type(trained.encoder)
    assert len({trained.fingerprint, control.fingerprint, other.fingerprint}) == 3
    assert random_control(run, 0).fingerprint == control.fingerprint


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no run folder"):
        load(tmp_path / "none")
    with pytest.raises(CheckpointError, match=r"no recipe.json"):
        load(tmp_path)


def test_a_truncated_checkpoint(copy: Path) -> None:
    file = copy / "checkpoints/step-00000010/encoder.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"truncated or damaged.*step-00000008"):
        load(copy)


def test_overwritten_weights_of_the_right_size(copy: Path) -> None:
    file = copy / "checkpoints/step-00000010/encoder.safetensors"
    data = bytearray(file.read_bytes())
    data[-40:] = b"\xff" * 40
    file.write_bytes(data)
    # The format itself has no check: only the SHA-256 beside it can tell.
    assert not all(tensor.isfinite().all() for tensor in load_file(file).values())
    for path in (copy, file.parent):
        with pytest.raises(CheckpointError, match=r"not what was written.*step-00000008"):
            load(path)


def test_a_damaged_training_state(copy: Path) -> None:
    (copy / "checkpoints/step-00000010/training.json").write_text('{"step": "abc"}')
    with pytest.raises(CheckpointError, match=r"training.json is damaged"):
        load(copy)


def test_a_run_without_a_checkpoint(copy: Path) -> None:
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(
        CheckpointError, match=r"continue the run \(auricle pretrain --resume .*\), which begins at step 0"
    ):
        load(copy)


def test_a_pickled_checkpoint(copy: Path) -> None:
    file = copy / "checkpoints/step-00000010/encoder.safetensors"
    torch.save({name: tensor.clone() for name, tensor in load_file(file).items()}, file)
    with pytest.raises(CheckpointError, match="is a pickle"):
        load(copy)


def test_the_checkpoint_of_another_encoder(copy: Path) -> None:
    text = (copy / "recipe.json").read_text()
    (copy / "run.json").unlink()  # as auricle 0.2 made it: without a sum
    (copy / "recipe.json").write_text(text.replace('"depth": 2', '"depth": 3'))
    with pytest.raises(CheckpointError, match=r"another model.*missing: blocks.2"):
        load(copy)


@pytest.mark.parametrize("change", [{"kind": "Nothing"}, {"colour": 3}, {"encoder": {"kind": "Unheard"}}])
def test_a_recipe_that_cant_be_read(copy: Path, change: dict) -> None:
    recipe = json.loads((copy / "recipe.json").read_text())
    (copy / "recipe.json").write_text(json.dumps(recipe | change))
    with pytest.raises(CheckpointError, match=r"was edited: .* or open .*step-00000010"):
        load(copy)
    (copy / "run.json").unlink()
    with pytest.raises(CheckpointError, match="can't be read"):
        load(copy)


def test_recipes_of_the_first_version_are_still_read() -> None:
    """Then NT-Xent's temperature and the projector's widths stood in the objective itself."""
    data = get_recipe("audiomosaic").to_json()
    data["objective"] = {
        "kind": "ContrastiveConfig", "temperature": 0.2, "projector": [64, 32], "chunk": 7,
        "mask": data["objective"]["mask"],
    }  # fmt: skip
    notes = data.pop("notes")
    data |= {"reference": notes["reference"], "deviations": notes["deviations"]}
    del data["previous"], data["begin"]
    for name in ("stride", "block_norm", "shared_layers"):
        del data["encoder"][name]
    del data["train"]["schedule"]
    recipe = Recipe.from_json(data)
    assert recipe.notes.deviations == get_recipe("audiomosaic").notes.deviations
    objective = recipe.objective
    assert (objective.loss.temperature, objective.loss.chunk) == (0.2, 7)
    assert (objective.projector.hidden, objective.projector.out) == ((64,), 32)
