from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from auricle import storage
from auricle.errors import CheckpointError, StorageError
from auricle.storage import sealed
from auricle.training.checkpoint import (
    checkpoint_bytes,
    find_checkpoints,
    load_weights,
    read_state,
    read_tensors,
    restore_checkpoint,
    save_checkpoint,
)
from auricle.training.optimiser import build_optimiser, named_parameters
from auricle.training.train_config import TrainConfig


class Parts:
    def __init__(self, toy, stepped: bool = True) -> None:
        self.encoder, self.objective = toy.parts()
        self.optimiser = build_optimiser(self.encoder, self.objective, TrainConfig(lr=0.1))
        if stepped:
            for _, parameter in named_parameters(self.encoder, self.objective):
                parameter.grad = torch.full_like(parameter, 0.1)
            self.optimiser.step()

    def save(self, folder: Path, step: int, keep: int = 0) -> Path:
        return save_checkpoint(
            folder,
            step=step,
            encoder=self.encoder,
            objective=self.objective,
            optimiser=self.optimiser,
            progress={"seconds": 1.5},
            recipe={"kind": "Toy", "text": "ü"},
            keep=keep,
        )

    def restore(self, folder: Path) -> dict:
        return restore_checkpoint(folder, encoder=self.encoder, objective=self.objective, optimiser=self.optimiser)


def test_everything_comes_back_exactly(toy, tmp_path: Path) -> None:
    saved, fresh = Parts(toy), Parts(toy, stepped=False)
    folder = saved.save(tmp_path, 7)
    state = fresh.restore(folder)
    assert state["step"] == 7
    assert state["progress"] == {"seconds": 1.5}
    assert state["recipe"] == {"kind": "Toy", "text": "ü"}
    for mine, other in ((saved.encoder, fresh.encoder), (saved.objective, fresh.objective)):
        theirs = other.state_dict()
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in mine.state_dict().items())
    written = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    assert checkpoint_bytes(saved.encoder, saved.objective) <= written < 1.5 * written


def test_nothing_in_a_checkpoint_is_a_pickle(toy, tmp_path: Path) -> None:
    folder = Parts(toy).save(tmp_path, 1)
    assert sorted(p.name for p in folder.iterdir()) == [
        "encoder.safetensors",
        "objective.safetensors",
        "optimiser.safetensors",
        "training.json",
    ]


def test_the_latest_are_kept(toy, tmp_path: Path) -> None:
    parts = Parts(toy)
    for step in (5, 10, 15):
        parts.save(tmp_path, step, keep=2)
    assert list(find_checkpoints(tmp_path)) == [10, 15]


def test_a_half_written_checkpoint_is_not_one(toy, tmp_path: Path) -> None:
    Parts(toy).save(tmp_path, 1)
    (tmp_path / ".writing-step-00000002").mkdir()
    assert list(find_checkpoints(tmp_path)) == [1]


@pytest.mark.parametrize("name", ["encoder.safetensors", "optimiser.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_named_with_the_way_out(toy, tmp_path: Path, name: str, share: float) -> None:
    parts = Parts(toy)
    parts.save(tmp_path, 1)
    folder = parts.save(tmp_path, 2)
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CheckpointError, match=r"truncated or damaged.*step-00000001"):
        parts.restore(folder)
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        read_tensors(folder / name)


def test_a_flipped_bit_is_found(toy, tmp_path: Path) -> None:
    parts = Parts(toy)
    folder = parts.save(tmp_path, 1)
    data = bytearray((folder / "encoder.safetensors").read_bytes())
    data[-3] ^= 1
    (folder / "encoder.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match="not what was written"):
        parts.restore(folder)


def test_a_damaged_training_state_is_named(toy, tmp_path: Path) -> None:
    folder = Parts(toy).save(tmp_path, 1)
    text = (folder / "training.json").read_text()
    (folder / "training.json").write_text(text[: len(text) // 2])
    with pytest.raises(CheckpointError, match=r"training.json is damaged"):
        read_state(folder)
    (folder / "training.json").write_text(json.dumps({"format": 99, "step": 1}))
    with pytest.raises(CheckpointError, match="format 99"):
        read_state(folder)
    (folder / "training.json").unlink()
    with pytest.raises(CheckpointError, match="not a checkpoint of auricle"):
        read_state(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"step": "abc"},
        {"step": True},
        {"step": -1},
        {"format": "one"},
        {"files": ["encoder"]},
        {"files": {"encoder.safetensors": {"bytes": "many", "sha256": "0"}}},
        {"progress": None},
        {"recipe": "tiny"},
    ],
)
def test_a_value_of_another_type_in_the_training_state_is_damage(toy, tmp_path: Path, change: dict) -> None:
    folder = Parts(toy).save(tmp_path, 1)
    state = json.loads((folder / "training.json").read_text())
    (folder / "training.json").write_text(sealed(state | change))
    with pytest.raises(CheckpointError, match=r"training.json is damaged"):
        read_state(folder)


def test_a_file_that_the_training_state_does_not_list_is_not_trusted(toy, tmp_path: Path) -> None:
    parts = Parts(toy)
    folder = parts.save(tmp_path, 1)
    state = json.loads((folder / "training.json").read_text())
    del state["files"]["objective.safetensors"]
    (folder / "training.json").write_text(sealed(state))
    with pytest.raises(CheckpointError, match=r"does not list objective.safetensors"):
        parts.restore(folder)


def test_a_checkpoint_of_another_encoder_is_refused_with_the_names(toy, tmp_path: Path) -> None:
    folder = Parts(toy).save(tmp_path, 1)
    toy.width = 48
    other = Parts(toy, stepped=False)
    with pytest.raises(CheckpointError, match=r"another model than SpectrogramTransformer.*of another shape"):
        other.restore(folder)
    with pytest.raises(CheckpointError, match=r"missing: .*unexpected: "):
        load_weights(other.objective, folder / "encoder.safetensors")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_is_refused_and_never_run(tmp_path: Path, legacy: bool) -> None:
    class Boom:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"model": Boom()}, tmp_path / "encoder.safetensors", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match="is a pickle"):
        read_tensors(tmp_path / "encoder.safetensors")
    assert not (tmp_path / "ran").exists()
    (tmp_path / "encoder.safetensors").rename(tmp_path / "encoder.pt")
    with pytest.raises(CheckpointError, match=r"encoder.pt: pickles can run code"):
        read_tensors(tmp_path / "encoder.safetensors")
    with pytest.raises(CheckpointError, match="pickles can run code"):
        read_state(tmp_path)


def test_a_full_disk_leaves_the_earlier_checkpoint(toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts(toy)
    parts.save(tmp_path, 1)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(storage.os, "fsync", full)
    with pytest.raises(StorageError, match=r"no space left to write .*No space left.*--resume"):
        parts.save(tmp_path, 2)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]
    assert parts.restore(tmp_path / "step-00000001")["step"] == 1


def test_a_real_limit_on_file_size_is_reported(tmp_path: Path) -> None:
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from auricle.storage import write_atomic\n"
        "from auricle.errors import StorageError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    write_atomic(Path(sys.argv[1]), b'x' * 5000)\n"
        "except StorageError as error:\n"
        "    print(error)\n"
    )
    assert resource.RLIMIT_FSIZE is not None
    (tmp_path / "file").write_text("old")
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "file"], capture_output=True, text=True, check=True)
    assert "no space left to write" in done.stdout
    assert (tmp_path / "file").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_cant_be_written_is_named(toy, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"can't write .*choose a folder"):
        Parts(toy).save(tmp_path / "file", 1)
