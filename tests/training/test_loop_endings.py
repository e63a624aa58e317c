"""How a run begins and ends: preparation, signals, memory, and the counters that it carries over."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from metrics_lines import read_metrics

from auricle.errors import CheckpointError, ConfigError, TrainingError
from auricle.storage import sealed
from auricle.training.checkpoint import checkpoint_bytes, find_checkpoints, read_tensors
from auricle.training.loop import train
from auricle.training.monitors import Interval, SkipCounter
from auricle.training.ranks import Ranks
from auricle.training.run_folder import RunFolder
from auricle.training.saving import space_needed
from auricle.training.signals import stop_signals
from auricle.training.train_config import TrainConfig

CPU = torch.device("cpu")


def prepared(toy, prepare, resume: bool = False) -> str:
    encoder, objective = toy.parts()
    run = RunFolder.open(toy.path) if resume else RunFolder.create(toy.path, toy.recipe)
    return train(
        run=run, loader=toy.loader, augment=toy.augment, encoder=encoder, objective=objective, config=toy.config,
        resume=resume, progress=False, ranks=Ranks(0, 1, CPU), prepare=lambda log: prepare(log, encoder),
    )  # fmt: skip


def test_preparation_runs_once_and_its_result_is_the_checkpoint_of_step_0(toy) -> None:
    calls = []

    def prepare(log, encoder) -> None:
        calls.append(1)
        log("counted 7 clusters")
        with torch.no_grad():
            next(encoder.parameters()).fill_(0.125)

    toy.loader.end = 2
    with pytest.raises(TrainingError):
        prepared(toy, prepare)
    (folder,) = find_checkpoints(toy.path / "checkpoints").values()
    assert folder.name == "step-00000000"
    name = next(iter(dict(toy.parts()[0].named_parameters())))
    assert bool((read_tensors(folder / "encoder.safetensors")[name] == 0.125).all())
    assert "counted 7 clusters" in (toy.path / "events.log").read_text()
    toy.loader.end = None
    assert prepared(toy, prepare, resume=True) == "complete"
    assert calls == [1]
    assert [line["step"] for line in read_metrics(toy.path)] == list(range(1, 9))


def test_a_preparation_that_fails_ends_the_run_before_its_first_step(toy) -> None:
    def prepare(log, encoder) -> None:
        raise ConfigError("fewer clips than clusters; set fewer")

    with pytest.raises(ConfigError, match="fewer clips than clusters; set fewer"):
        prepared(toy, prepare)
    assert find_checkpoints(toy.path / "checkpoints") == {}
    assert RunFolder.idle(toy.path), "a new run may use the folder"


def test_memory_that_is_used_up_names_the_setting_that_helps(toy) -> None:
    def augment(audio, views, generator):
        raise torch.OutOfMemoryError("tried to allocate 20 GiB\nlong table")

    toy.augment = augment
    with pytest.raises(TrainingError, match=r"used up \(tried to allocate 20 GiB\); set --train.micro-batch"):
        toy.go()
    assert toy.loader.closed


def test_the_first_signal_asks_and_the_second_interrupts() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with stop_signals() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(2)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_handlers_are_put_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="inside"), stop_signals():
        raise ValueError("inside")
    assert signal.getsignal(signal.SIGINT) is before


def test_a_handler_that_came_from_c_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    found = signal.getsignal
    monkeypatch.setattr(signal, "getsignal", lambda number: None if number == signal.SIGTERM else found(number))
    with stop_signals() as stop:
        assert found(signal.SIGTERM) is before
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()


def test_the_space_of_a_run_that_keeps_all_is_not_that_of_steps_which_its_time_forbids(toy) -> None:
    one = checkpoint_bytes(*toy.parts())
    config = TrainConfig(steps=1000, save_every=10, keep=0)
    assert space_needed(*toy.parts(), config) == 101 * one
    assert space_needed(*toy.parts(), config.replace(minutes=1)) == 2 * one
    assert space_needed(*toy.parts(), config.replace(minutes=1, keep=3)) == 4 * one


def test_outside_the_main_thread_a_run_trains_without_signals(toy) -> None:
    endings = []
    thread = threading.Thread(target=lambda: endings.append(toy.go()[0]))
    thread.start()
    thread.join()
    assert endings == ["complete"]


VALUES = st.one_of(st.floats(width=32), st.floats(-10, 10, width=32))


@given(steps=st.lists(st.dictionaries(st.sampled_from("ab"), VALUES), max_size=12), cut=st.integers(0, 12))
def test_an_interval_that_was_saved_has_the_mean_of_one_that_was_not(steps: list[dict], cut: int) -> None:
    whole, before = Interval(), Interval()
    for values in steps:
        whole.add({name: torch.tensor(value) for name, value in values.items()})
    for values in steps[:cut]:
        before.add({name: torch.tensor(value) for name, value in values.items()})
    resumed = Interval(json.loads(json.dumps(before.state())))
    for values in steps[cut:]:
        resumed.add({name: torch.tensor(value) for name, value in values.items()})
    means = whole.means()
    assert json.dumps(resumed.means(), sort_keys=True) == json.dumps(means, sort_keys=True)
    for name, mean in means.items():
        finite = [v[name] for v in steps if name in v and abs(v[name]) < float("inf")]
        assert mean == pytest.approx(sum(finite) / len(finite), rel=1e-5, abs=1e-5) if finite else mean != mean
    assert whole.means() == {}


@given(flags=st.lists(st.booleans(), max_size=30), cut=st.integers(0, 30), limit=st.integers(1, 6))
def test_skipped_steps_are_counted_across_a_restart(flags: list[bool], cut: int, limit: int) -> None:
    counter = SkipCounter(CPU, limit)
    for place, flag in enumerate(flags):
        if place == cut:
            counter = SkipCounter(CPU, limit, json.loads(json.dumps(counter.state())))
        counter.add(torch.tensor(float(flag)))
    longest = max(map(len, "".join("x" if flag else " " for flag in flags).split()), default=0)
    if longest >= limit:
        with pytest.raises(TrainingError, match=rf"^{longest} steps in a row .*train.skip_limit is {limit}"):
            counter.check()
    else:
        assert counter.check() == sum(flags)


@pytest.mark.parametrize("skips", [[1.0], [0.0, 0.0, 0.0, 0.0], ["x", 0, 0]])
def test_damaged_counts_of_skipped_steps_are_named(toy, skips: list) -> None:
    toy.loader.end = 4
    with pytest.raises(TrainingError):
        toy.go()
    toy.loader.end = None
    file = toy.path / "checkpoints" / "step-00000003" / "training.json"
    state = json.loads(file.read_text())
    state["progress"]["skips"] = skips
    file.write_text(sealed(state))
    with pytest.raises(CheckpointError, match=r"progress in .*training.json is damaged.*delete that folder"):
        toy.go(resume=True)


def test_a_run_folder_that_is_damaged_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no run folder .*auricle pretrain"):
        RunFolder.open(tmp_path / "none")
    with pytest.raises(CheckpointError, match=r"has no recipe.json; .*with auricle pretrain"):
        RunFolder.open(tmp_path)
    (tmp_path / "recipe.json").write_text('{"kind": ')
    with pytest.raises(CheckpointError, match=r"recipe.json is damaged .*copy the run folder again"):
        RunFolder.open(tmp_path)
