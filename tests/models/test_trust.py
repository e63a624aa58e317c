"""Data never decide whose Python code runs here: every kind of settings with such a field, through every loader."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import pkgutil
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from older_models import save_linear, write_older
from safetensors import safe_open
from safetensors.torch import save_file
from toy_pretraining import toy_recipe, write_corpus

import auricle
from auricle.cli import main
from auricle.config import Config
from auricle.errors import AuricleError, ConfigError
from auricle.models import load
from auricle.models.folder import checksum
from auricle.recipes import load_recipe, pretrain, random_control, resume
from auricle.storage import unseal, write_record

for found in pkgutil.walk_packages(auricle.__path__, "auricle."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
# Every kind of settings with a field of trust, whatever follows in its name.
TRUSTING = {
    kind: [field.name for field in dataclasses.fields(config) if "trust" in field.name]
    for kind, config in sorted(Config._known.items())
    if dataclasses.is_dataclass(config) and any("trust" in field.name for field in dataclasses.fields(config))
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    return pretrain(
        toy_recipe(steps=2, save_every=1), write_corpus(folder / "clips", 8), folder / "toy", progress=False
    )


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A model folder as a stranger would share it: whoever runs the code in it leaves a mark."""
    folder = tmp_path / "trap"
    folder.mkdir()
    kinds = ("configuration_evil.EvilConfig", "modeling_evil.EvilModel", "modeling_evil.EvilExtractor")
    parts = dict(zip(("AutoConfig", "AutoModel", "AutoFeatureExtractor"), kinds, strict=True))
    for name in ("config.json", "preprocessor_config.json"):
        (folder / name).write_text(json.dumps({"model_type": "evil", "auto_map": parts}))
    for name in ("configuration_evil.py", "modeling_evil.py"):
        (folder / name).write_text(f"from pathlib import Path\nPath({str(folder / 'mark')!r}).touch()\n")
    return folder


def evil(kind: str, trap: Path, trusted: Any = True) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(Config._known[kind])}
    return {
        "kind": kind,
        **dict.fromkeys(TRUSTING[kind], trusted),
        **({"model": str(trap)} if "model" in names else {}),
    }


def edited(run: Path, folder: Path, file: str, change: Callable[[dict[str, Any]], None]) -> Path:
    """Copy a run and change a record of it, its sums made right again."""
    copy = Path(shutil.copytree(run, folder))
    record = json.loads((copy / file).read_text())
    record.pop("sum", None)
    change(record)
    if file == "recipe.json":
        (copy / "run.json").unlink()
        (copy / file).write_text(json.dumps(record))
    else:
        write_record(copy / file, record)
    return copy


PLACES: dict[str, Callable[[dict[str, Any], dict[str, Any]], None]] = {
    "encoder": lambda recipe, settings: recipe.update(encoder=settings),
    "objective": lambda recipe, settings: recipe["objective"].update(projector=settings),
    "previous": lambda recipe, settings: recipe.update(previous={**recipe, "encoder": settings}),
    "list": lambda recipe, settings: recipe.update(augment=[settings]),
}


def loaders(run: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> dict[str, Callable[[], Any]]:
    """Return what opens a run whose recipe was changed, in each of the files that hold one."""
    checkpoint = Path("checkpoints/step-00000002")
    held = edited(run, folder / "a", "recipe.json", change)
    state = edited(run, folder / "b", str(checkpoint / "training.json"), lambda record: change(record["recipe"]))
    asked = edited(run, folder / "c", "run.json", lambda record: change(record["recipe"]))
    shutil.rmtree(asked / "checkpoints")
    settings = folder / "settings.json"
    settings.write_text((held / "recipe.json").read_text())
    data = str(run.parent / "clips")
    words = {
        "embed": ["embed", str(held), "--data", data, "--out", str(folder / "v.parquet")],
        "config": ["pretrain", "--config", str(settings), "--data", data, "--out", str(folder / "new")],
        "resume": ["pretrain", "--resume", str(asked)],
        "resume with data": ["pretrain", "--resume", str(held), "--data", data],
    }
    return {
        "run": lambda: load(held),
        "control": lambda: random_control(held),
        "recipe": lambda: load_recipe(held),
        "checkpoint": lambda: load(state / checkpoint),
        "request": lambda: resume(asked),
        **{name: lambda typed=typed: main(typed) for name, typed in words.items()},
    }


def test_there_are_such_settings() -> None:
    assert "TransformersEncoderConfig" in TRUSTING


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", TRUSTING)
def test_no_record_of_a_run_gives_trust(
    run: Path, trap: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, place: str
) -> None:
    for name, opened in loaders(run, tmp_path / "x", lambda recipe: PLACES[place](recipe, evil(kind, trap))).items():
        try:
            assert opened() == 2, name
            said = capsys.readouterr().err
        except AuricleError as error:
            said = str(error)
        assert "data does not decide whose Python code runs" in said, name
    assert not (trap / "mark").exists()


@pytest.mark.parametrize("trusted", [True, "yes", 1, [0], False])
def test_no_fine_tuned_file_gives_trust(run: Path, trap: Path, tmp_path: Path, trusted: Any) -> None:
    encoder = load(run, device="cpu").encoder
    folder = tmp_path / "tuned"
    file = write_older(folder, encoder, torch.nn.Linear(encoder.pooled_width, 2), ("a", "b"))
    with safe_open(file, framework="pt") as opened:
        record = json.loads(opened.metadata()["auricle.finetuned"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
    for kind in TRUSTING:
        for part in ("encoder", "frontend", "loss"):
            changed = json.dumps({**record, part: evil(kind, trap, trusted)})
            save_file(tensors, file, metadata={"auricle.finetuned": changed})
            with pytest.raises(
                AuricleError, match="data does not decide|expected settings of kind" if trusted else "."
            ):
                load(folder)
            assert (
                main(["embed", str(folder), "--data", str(run.parent / "clips"), "--out", str(tmp_path / "v.parquet")])
                == 2
            )
    assert not (trap / "mark").exists()


@pytest.mark.parametrize("trusted", [True, "yes"])
def test_no_fitted_model_gives_trust(trusted: object, run: Path, trap: Path, tmp_path: Path) -> None:
    """A record with a right sum is read all the same as data."""
    folder = save_linear(tmp_path / "fitted", load(run, device="cpu").encoder, ("a", "b"))
    file = folder / "model.safetensors"
    (folder / "model.json").unlink()
    with safe_open(file, framework="pt") as opened:
        record = json.loads(opened.metadata()["auricle.model"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
    for kind in TRUSTING:
        for part in ("encoder", "frontend"):
            text = json.dumps({**record, part: evil(kind, trap, trusted)})
            save_file(tensors, file, metadata={"auricle.model": text, "auricle.sum": checksum(text, tensors)})
            with pytest.raises(AuricleError, match=r"can't be read: |data does not decide"):
                load(folder)
    assert not (trap / "mark").exists()


def test_a_fitted_model_imports_no_code_that_only_its_folder_names(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stranger.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'mark')!r}).touch()\n"
        "class Mean:\n    rate, width = 8000, 1\n    def __call__(self, wave):\n        return wave.mean(1, True)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    own = load("stranger:Mean", device="cpu").encoder
    folder = save_linear(tmp_path / "fitted", own, ("a", "b"))
    monkeypatch.delitem(sys.modules, "stranger")
    (tmp_path / "mark").unlink()
    with pytest.raises(ConfigError, match=r"stranger:Mean; set --trust-remote-code \(Python: trust_remote_code=True\)"):
        load(folder, device="cpu")
    assert not (tmp_path / "mark").exists()
    assert load(folder, device="cpu", trust_remote_code=True).classes == ("a", "b")
    assert (tmp_path / "mark").exists()


def test_what_a_checkpoint_says_beside_its_weights_is_not_read(run: Path, trap: Path, tmp_path: Path) -> None:
    """The recipe in the metadata of `encoder.safetensors`, which the sums cover."""
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    file = copy / "checkpoints/step-00000002/encoder.safetensors"
    with safe_open(file, framework="pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
    save_file(tensors, file, metadata={"recipe": json.dumps(evil("TransformersEncoderConfig", trap))})
    with pytest.raises(AuricleError, match=r"is (truncated or )?damaged"):
        load(copy)
    state = unseal((file.parent / "training.json").read_text())
    data = file.read_bytes()
    state["files"][file.name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    write_record(file.parent / "training.json", state)
    load(copy)
    assert not (trap / "mark").exists()
