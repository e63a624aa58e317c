from __future__ import annotations

import errno
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from metrics_lines import read_metrics
from safetensors.torch import load_file
from torch import nn

from auricle import storage
from auricle.errors import CheckpointError, ConfigError, NeedError, StorageError, TrainingError
from auricle.objectives.contract import Loss
from auricle.storage import sealed, unseal

EXPECTED = {
    "step", "epoch", "loss", "accuracy", "alignment", "uniformity", "rank_z", "rank_f", "grad_norm", "lr",
    "clips_per_second", "wait_share", "memory_gb", "skipped", "padding", "seconds",
}  # fmt: skip
TIMES = {"clips_per_second", "wait_share", "memory_gb", "seconds"}


def numbers(path: Path) -> list[dict]:
    return [{k: v for k, v in line.items() if k not in TIMES} for line in read_metrics(path)]


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in one.state_dict().items())


class Wrapped(nn.Module):
    """An objective that does something odd at some steps, around the real one."""

    def __init__(self, objective: nn.Module, encoder: nn.Module) -> None:
        super().__init__()
        self.inner, self.views, self.calls = objective, 2, 0

    def check(self, encoder: nn.Module) -> None:
        pass

    def after_step(self, encoder: nn.Module, step: int) -> None:
        pass

    def forward(self, encoder, views, generator) -> Loss:
        loss = self.inner(encoder, views, generator)
        self.calls += 1
        return self.change(loss)

    def change(self, loss: Loss) -> Loss:
        return loss


def test_a_run_writes_metrics_events_and_checkpoints(toy) -> None:
    ending, _, _ = toy.go()
    assert ending == "complete"
    lines = read_metrics(toy.path)
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert lines[0].keys() >= EXPECTED
    assert all(0 <= line["wait_share"] <= 1 for line in lines)
    assert lines[0]["lr"] == 0
    assert lines[-1]["lr"] == pytest.approx(toy.config.min_lr)
    assert [p.name for p in sorted((toy.path / "checkpoints").iterdir())] == ["step-00000006", "step-00000008"]
    events = (toy.path / "events.log").read_text()
    assert "started: 8 steps on cpu, 1 thread, fp32" in events
    assert "complete: 8 steps\n" in events
    assert toy.loader.closed


def test_training_learns(toy) -> None:
    # The clips of a batch differ by their ripple, which both masked views show.
    toy.go(steps=120, lr=3e-3, log_every=20)
    lines = read_metrics(toy.path)
    assert lines[-1]["loss"] < lines[0]["loss"] - 0.3
    assert lines[-1]["accuracy"] > lines[0]["accuracy"] + 0.1


def test_lines_hold_means_over_their_interval(toy, tmp_path: Path) -> None:
    toy.go()
    every = read_metrics(toy.path)
    toy.path = tmp_path / "other"
    toy.go(log_every=4)
    lines = read_metrics(toy.path)
    assert [line["step"] for line in lines] == [4, 8]
    assert lines[0]["loss"] == pytest.approx(sum(line["loss"] for line in every[:4]) / 4, abs=1e-9)


@pytest.mark.parametrize("micro_batch", [None, 3])
def test_resuming_gives_the_numbers_of_an_uninterrupted_run(toy, tmp_path: Path, micro_batch: int | None) -> None:
    toy.config = toy.config.replace(micro_batch=micro_batch)
    _, encoder, objective = toy.go()
    whole, toy.path = toy.path, tmp_path / "resumed"
    toy.loader.end = 5
    with pytest.raises(TrainingError, match="loader ended after step 5"):
        toy.go()
    toy.loader.end = None
    ending, resumed_encoder, resumed_objective = toy.go(resume=True)
    assert ending == "complete"
    assert numbers(toy.path) == numbers(whole)
    assert same_weights(encoder, resumed_encoder)
    assert same_weights(objective, resumed_objective)
    assert "resumed at step 3" in (toy.path / "events.log").read_text()


def test_resuming_inside_an_interval_keeps_its_mean(toy, tmp_path: Path) -> None:
    toy.go(log_every=4)
    whole, toy.path = toy.path, tmp_path / "resumed"
    toy.loader.end = 7
    with pytest.raises(TrainingError):
        toy.go(log_every=4)
    toy.loader.end = None
    toy.go(resume=True, log_every=4)
    assert numbers(toy.path) == numbers(whole)


def test_a_complete_run_says_so(toy) -> None:
    toy.go()
    with pytest.raises(TrainingError, match=r"is complete: all its 8 steps"):
        toy.go(resume=True)


def test_resuming_without_a_checkpoint_begins_at_step_0(toy, tmp_path: Path) -> None:
    _, encoder, _ = toy.go()
    whole, toy.path = toy.path, tmp_path / "resumed"
    toy.loader.end = 1
    with pytest.raises(TrainingError):
        toy.go()
    toy.loader.end = None
    _, again, _ = toy.go(resume=True)
    assert numbers(toy.path) == numbers(whole)
    assert same_weights(encoder, again)


@pytest.mark.parametrize("progress", [{}, {"seconds": "x"}, {"seconds": 1.0, "interval": 3, "skips": None}])
def test_damaged_progress_is_named(toy, progress: dict) -> None:
    toy.loader.end = 4
    with pytest.raises(TrainingError):
        toy.go()
    toy.loader.end = None
    file = toy.path / "checkpoints" / "step-00000003" / "training.json"
    file.write_text(sealed(unseal(file.read_text()) | {"progress": progress}))
    with pytest.raises(CheckpointError, match=r"progress in .*training.json is damaged"):
        toy.go(resume=True)


def test_another_seed_gives_other_numbers_and_the_same_seed_the_same(toy, tmp_path: Path) -> None:
    toy.go()
    first = numbers(toy.path)
    toy.path = tmp_path / "again"
    toy.go()
    assert numbers(toy.path) == first
    toy.path = tmp_path / "other"
    toy.go(seed=7)
    assert numbers(toy.path)[3]["loss"] != first[3]["loss"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_saves_and_says_how_to_go_on(toy, number: int) -> None:
    class Stopping(Wrapped):
        def change(self, loss: Loss) -> Loss:
            if self.calls == 2:
                os.kill(os.getpid(), number)
            return loss

    toy.wrap = Stopping
    before = signal.getsignal(number)
    ending, _, _ = toy.go()
    assert ending == {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[number]
    assert signal.getsignal(number) is before
    assert (toy.path / "checkpoints" / "step-00000002").is_dir()
    typed = f"auricle pretrain --resume {toy.path} --data FOLDER, or the same call with resume=True"
    assert f"saved step 2 of 8; continue with: {typed}" in (toy.path / "events.log").read_text()
    assert toy.loader.closed
    toy.wrap = Wrapped
    assert toy.go(resume=True)[0] == "complete"


def test_minutes_end_a_run_cleanly(toy) -> None:
    ending, _, _ = toy.go(minutes=1e-9)
    assert ending == "out of time"
    assert (toy.path / "checkpoints" / "step-00000001").is_dir()
    assert "train.minutes" in (toy.path / "events.log").read_text()
    assert toy.go(resume=True)[0] == "complete"


def test_a_step_that_is_not_finite_changes_nothing(toy, tmp_path: Path) -> None:
    class Poisoned(Wrapped):
        bad = frozenset({3})

        def change(self, loss: Loss) -> Loss:
            return Loss(loss.total * float("nan"), loss.parts, loss.watch) if self.calls in self.bad else loss

    toy.wrap = Poisoned
    _, encoder, objective = toy.go(steps=3)
    lines = read_metrics(toy.path)
    assert [line["skipped"] for line in lines] == [0, 0, 1]
    assert lines[2]["loss"] is None
    toy.path, Poisoned.bad = tmp_path / "two", frozenset()
    _, expected_encoder, _ = toy.go(steps=3)
    # The third step of the clean run moves the weights; the poisoned one left those of step 2 and its BatchNorm.
    assert not same_weights(encoder, expected_encoder)
    toy.path, toy.loader.end = tmp_path / "three", 2
    with pytest.raises(TrainingError):
        toy.go(steps=3, save_every=2)
    state = load_file(toy.path / "checkpoints/step-00000002/encoder.safetensors")
    assert all(torch.equal(tensor, state[name]) for name, tensor in encoder.state_dict().items())
    state = load_file(toy.path / "checkpoints/step-00000002/objective.safetensors")
    assert all(torch.equal(tensor, state[name]) for name, tensor in objective.state_dict().items())


def test_steps_that_were_skipped_are_told_of(toy, capsys: pytest.CaptureFixture[str]) -> None:
    class Poisoned(Wrapped):
        def change(self, loss: Loss) -> Loss:
            return Loss(loss.total * float("nan"), loss.parts, loss.watch) if self.calls > 3 else loss

    toy.wrap = Poisoned
    assert toy.go(progress=True)[0] == "complete"
    told = "complete: 8 steps; 5 of the 8 steps were skipped, having no finite loss or gradient: lower --train.lr"
    assert told in (toy.path / "events.log").read_text()
    shown = capsys.readouterr().err
    assert told in shown
    assert "waiting for data, 5 steps skipped" in shown


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_encoder_that_is_not_finite_is_not_saved(toy, value: float) -> None:
    class Ruining(Wrapped):
        def after_step(self, encoder: nn.Module, step: int) -> None:
            if step == 4:
                with torch.no_grad():
                    next(encoder.parameters()).view(-1)[0] = value

    toy.wrap = Ruining
    expected = r"after step 6, 1 of the encoder's \d+ tensors hold weights.*step-00000003: lower --train.lr"
    with pytest.raises(TrainingError, match=expected):
        toy.go()
    assert [p.name for p in (toy.path / "checkpoints").iterdir()] == ["step-00000003"]
    # The same settings come to the same end, also at the last step.
    with pytest.raises(TrainingError, match=r"there is no earlier checkpoint"):
        replace(toy, path=toy.path.with_name("other")).go(save_every=100)


def test_too_many_such_steps_end_the_run_and_say_what_to_do(toy) -> None:
    class Poisoned(Wrapped):
        def change(self, loss: Loss) -> Loss:
            return Loss(loss.total * float("inf"), loss.parts, loss.watch) if self.calls > 2 else loss

    toy.wrap = Poisoned
    with pytest.raises(TrainingError, match=r"in a row had no finite loss.*--train.lr.*--train.clip-norm"):
        toy.go(skip_limit=3, save_every=100)


def test_a_collapsed_space_is_warned_of_once_with_what_to_do(toy, capsys: pytest.CaptureFixture[str]) -> None:
    class Collapsed(Wrapped):
        def change(self, loss: Loss) -> Loss:
            watch = {"rank_z": torch.tensor(1.01), "uniformity": torch.tensor(-0.001), "accuracy": torch.tensor(0.1)}
            return Loss(loss.total, loss.parts, watch)

    toy.wrap = Collapsed
    toy.go(progress=True)
    events = (toy.path / "events.log").read_text()
    assert events.count("collapse at step") == 1
    assert "--window.short repeat" in events
    assert "collapse at step 1" in capsys.readouterr().err


def test_a_full_disk_at_a_checkpoint(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    write = storage.os.fsync

    def full_later(handle: int) -> None:
        if (toy.path / "checkpoints" / "step-00000003").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(handle)

    monkeypatch.setattr(storage.os, "fsync", full_later)
    with pytest.raises(StorageError, match=r"no space left to write .*--resume"):
        toy.go()
    monkeypatch.undo()
    assert toy.loader.closed
    assert toy.go(resume=True)[0] == "complete"
    assert [line["step"] for line in read_metrics(toy.path)] == list(range(1, 9))


def test_too_little_space_is_refused_before_the_first_step(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auricle.training.saving.free_bytes", lambda path: 1000)
    with pytest.raises(StorageError, match=r"checkpoints of this run take .* MB and 0 MB are free.*--train.keep"):
        toy.go()


def test_broken_files_are_listed_once(toy) -> None:
    toy.loader.broken = {"a b\n.wav": "truncated"}
    toy.go()
    assert (toy.path / "events.log").read_text().count("truncated") == 1


def test_clipping_bounds_the_gradient_but_reports_its_norm(toy) -> None:
    toy.go(steps=1, clip_norm=1e-3)
    assert read_metrics(toy.path)[0]["grad_norm"] > 1e-2
    state = load_file(toy.path / "checkpoints/step-00000001/optimiser.safetensors")
    # After one step AdamW's first moment is (1 - 0.9) times the clipped gradient.
    squares = sum(t.double().square().sum() for name, t in state.items() if name.startswith("exp_avg/"))
    assert squares.sqrt().item() == pytest.approx(0.1 * 1e-3, rel=1e-3)


def test_tensorboard_scalars_equal_the_metrics(toy) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    toy.go(tensorboard=True)
    events = EventAccumulator(str(toy.path / "tensorboard"))
    events.Reload()
    scalars = events.Scalars("loss")
    assert [event.step for event in scalars] == list(range(1, 9))
    assert [event.value for event in scalars] == pytest.approx([line["loss"] for line in read_metrics(toy.path)])


def test_tensorboard_without_its_package_names_the_extra(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match=r"auricle\[tensorboard\]"):
        toy.go(tensorboard=True)


def test_an_encoder_that_lacks_a_need_is_refused_before_anything_runs(toy) -> None:
    class Needy(Wrapped):
        def check(self, encoder: nn.Module) -> None:
            raise NeedError("needs CAUSAL")

    toy.wrap = Needy
    with pytest.raises(NeedError):
        toy.go()


def test_checkpoints_carry_the_recipe(toy) -> None:
    from safetensors import safe_open

    toy.go()
    with safe_open(toy.path / "checkpoints/step-00000008/encoder.safetensors", "pt") as file:
        assert json.loads(file.metadata()["recipe"]) == toy.recipe


def test_bf16_trains_with_float32_parameters_and_loss(toy) -> None:
    _, encoder, _ = toy.go(precision="bf16")
    assert all(parameter.dtype == torch.float32 for parameter in encoder.parameters())
    assert all(line["skipped"] == 0 for line in read_metrics(toy.path))
    assert "bf16 autocast" in (toy.path / "events.log").read_text()
