"""What a resumed run takes back besides weights: banks of earlier views; and checks before a checkpoint is written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from metrics_lines import read_metrics
from torch import Tensor, nn

from auricle.audio.batch import Audio, Features
from auricle.audio.views import MadeView
from auricle.errors import CheckpointError, TrainingError
from auricle.storage import sealed
from auricle.training.checkpoint import (
    checkpoint_name,
    find_checkpoints,
    load_tensors,
    read_tensors,
    read_views,
    save_checkpoint,
    verify_file,
)
from auricle.training.optimiser import build_optimiser
from auricle.training.train_config import TrainConfig

TIMES = {"clips_per_second", "wait_share", "memory_gb", "seconds"}


class Remembering(nn.Module):
    """Views with an echo of the batch before, kept in a buffer: a memory bank of one batch."""

    memory: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("memory", torch.zeros(8, 64, 32))

    def forward(self, audio: Audio, views: int, generator: torch.Generator) -> tuple[MadeView, ...]:
        made = []
        for _ in range(views):
            gain = torch.rand(len(audio), generator=generator) + 0.5
            x = audio.wave.view(-1, 64, 32) * gain[:, None, None] + 0.3 * self.memory
            made.append(MadeView(Features(x, torch.full((len(audio),), 64), 100.0), {"gain": gain}))
        self.memory.copy_(audio.wave.view(-1, 64, 32))
        return tuple(made)


def numbers(path: Path) -> list[dict]:
    return [{k: v for k, v in line.items() if k not in TIMES} for line in read_metrics(path)]


def test_a_bank_of_views_is_resumed_exactly(toy, tmp_path: Path) -> None:
    whole = replace(toy, augment=Remembering())
    whole.go()
    # The first session ends after step 5, and its last checkpoint is that of step 3.
    stopped = replace(toy, path=tmp_path / "again", augment=Remembering())
    stopped.loader.end = 5
    with pytest.raises(TrainingError, match="the loader ended after step 5 of 8"):
        stopped.go()
    stopped.loader.end = None
    bank = read_views(stopped.path / "checkpoints" / checkpoint_name(3), "rank0")
    assert bank["memory"].abs().sum() > 0
    replace(stopped, augment=Remembering()).go(resume=True)
    assert numbers(stopped.path) == numbers(whole.path)
    # Without the bank the numbers would be others.
    plain = replace(toy, path=tmp_path / "plain")
    plain.go()
    assert numbers(plain.path) != numbers(whole.path)


def test_a_rank_that_is_new_begins_with_an_empty_bank_and_says_so(toy) -> None:
    toy.augment, toy.loader.end = Remembering(), 4
    with pytest.raises(TrainingError):
        toy.go()
    folder = toy.path / "checkpoints" / checkpoint_name(3)
    assert read_views(folder, "rank1") == {}
    state = json.loads((folder / "training.json").read_text())
    del state["files"]["views.safetensors"]
    (folder / "training.json").write_text(sealed(state))
    toy.augment, toy.loader.end = Remembering(), None
    toy.go(resume=True)
    assert "this rank's memory of earlier views begins empty" in (toy.path / "events.log").read_text()


def test_a_damaged_bank_is_named(toy) -> None:
    toy.augment, toy.loader.end = Remembering(), 4
    with pytest.raises(TrainingError):
        toy.go()
    file = toy.path / "checkpoints" / checkpoint_name(3) / "views.safetensors"
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    toy.augment, toy.loader.end = Remembering(), None
    with pytest.raises(CheckpointError, match=r"views.safetensors is damaged"):
        toy.go(resume=True)


def saved(toy, folder: Path, step: int, **changes) -> Path:
    encoder, objective = toy.parts()
    return save_checkpoint(
        folder, step=step, encoder=encoder, objective=objective,
        optimiser=build_optimiser(encoder, objective, TrainConfig()), progress={}, recipe={}, keep=0, **changes,
    )  # fmt: skip


def test_banks_of_several_ranks_stay_apart(toy, tmp_path: Path) -> None:
    banks = {f"rank{r}.inner.bank": torch.full((2, 3), float(r)) for r in (0, 1, 10)}
    folder = saved(toy, tmp_path, 1, views=banks)
    for rank in (0, 1, 10):
        assert read_views(folder, f"rank{rank}")["inner.bank"].tolist() == [[float(rank)] * 3] * 2
    assert read_views(saved(toy, tmp_path, 2), "rank0") == {}


def test_the_same_step_can_be_written_again(toy, tmp_path: Path) -> None:
    first = saved(toy, tmp_path, 4)
    before = (first / "encoder.safetensors").read_bytes()
    toy.width = 48
    assert saved(toy, tmp_path, 4) == first
    assert (first / "encoder.safetensors").read_bytes() != before
    assert list(find_checkpoints(tmp_path)) == [4]
    assert [p.name for p in tmp_path.iterdir()] == [checkpoint_name(4)]


def test_folders_that_are_no_checkpoints_are_passed_over(toy, tmp_path: Path) -> None:
    saved(toy, tmp_path, 12)
    for name in ("step-", "step-abc", "step--0000001", "step-00000001.bak", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "step-00000013").write_text("a file")
    assert list(find_checkpoints(tmp_path)) == [12]
    assert find_checkpoints(tmp_path / "none") == {}


def test_a_missing_file_and_an_unreadable_one_are_named_with_the_way_out(toy, tmp_path: Path) -> None:
    folder = saved(toy, tmp_path, 1)
    state = json.loads((folder / "training.json").read_text())
    (folder / "objective.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"has no objective.safetensors; there is no other checkpoint .*train"):
        verify_file(folder, "objective.safetensors", state)
    saved(toy, tmp_path, 9)
    with pytest.raises(CheckpointError, match=r"delete the folder .*step-00000001 to continue from step-00000009"):
        verify_file(folder, "objective.safetensors", state)
    (folder / "encoder.safetensors").write_bytes(b"no safetensors at all")
    with pytest.raises(CheckpointError, match=r"truncated or damaged \(21 bytes"):
        read_tensors(folder / "encoder.safetensors")


def test_tensors_that_were_read_are_independent_of_the_file(toy, tmp_path: Path) -> None:
    folder = saved(toy, tmp_path, 1)
    tensors = read_tensors(folder / "encoder.safetensors")
    copies = {name: tensor.clone() for name, tensor in tensors.items()}
    file = folder / "encoder.safetensors"
    file.write_bytes(bytes(len(file.read_bytes())))
    assert all(torch.equal(tensor, copies[name]) for name, tensor in tensors.items())


def test_buffers_that_grow_with_the_data_take_the_shape_they_were_saved_with() -> None:
    class Growing(nn.Module):
        grows = ("seen",)

        def __init__(self, rows: int) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(rows, 2))
            self.register_buffer("fixed", torch.zeros(3))

        def _load_from_state_dict(self, state, prefix, *args) -> None:
            self.seen = state[f"{prefix}seen"].clone()
            super()._load_from_state_dict(state, prefix, *args)

    outer = nn.Sequential(Growing(1))
    load_tensors(outer, {"0.seen": torch.ones(5, 2), "0.fixed": torch.ones(3)}, "file")
    assert outer[0].seen.shape == (5, 2)
    with pytest.raises(CheckpointError, match=r"1 of another shape: 0.fixed \(4,\) instead of \(3,\)"):
        load_tensors(outer, {"0.seen": torch.ones(5, 2), "0.fixed": torch.ones(4)}, "file")
