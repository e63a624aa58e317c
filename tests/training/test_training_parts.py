"""Threads, precision, randomness, progress line, memory."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console

from auricle.devices import autocast_dtype, cores, find_precision, processor_has_bf16
from auricle.errors import ConfigError
from auricle.training.monitors import memory_use
from auricle.training.progress import ProgressLine, describe, duration
from auricle.training.randomness import derive_seed, step_generator
from auricle.training.ranks import Ranks, _buckets
from auricle.training.threads import step_threads, threads

LINE = {"loss": 3.21, "accuracy": 0.25, "clips_per_second": 40.0, "wait_share": 0.031}


def test_the_rule_for_threads_depends_on_cores_and_ranks_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert step_threads(available=8) == 8
    assert step_threads(available=8, local_world=4) == 2
    assert step_threads(available=2, local_world=4) == 1
    assert step_threads(3, available=8) == 3
    assert 1 <= step_threads() <= cores()


@pytest.mark.parametrize(("asked", "threads"), [("3", 3), ("3,1", 3), ("0", None), ("many", None), ("", None)])
def test_threads_that_the_user_asks_for(asked: str, threads: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert step_threads(available=8) == (threads or 8)
    assert step_threads(2, available=8) == 2
    assert step_threads(available=8, local_world=4) == (threads or 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # by torchrun
    assert step_threads(available=8, local_world=4) == 2


def test_a_run_trains_with_the_threads_that_the_user_asks_for(tmp_path: Path) -> None:
    words = [
        sys.executable, "-m", "auricle.cli", "pretrain", "cola", "--data", "builtin:scenes?clips=2", "--train.steps",
        "1", "--train.warmup-steps", "0", "--loader.batch", "2", "--window.seconds", "1", "--out", str(tmp_path / "run")
    ]  # fmt: skip
    asked = str(cores() + 1)
    said = subprocess.run(
        words, env={**os.environ, "OMP_NUM_THREADS": asked}, capture_output=True, text=True, check=True
    )
    assert f"{asked} threads" in said.stderr
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["sessions"][0]["threads"] == int(asked)


def test_threads_are_set_and_put_back() -> None:
    before = torch.get_num_threads()
    with threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_precision_follows_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr("auricle.devices.processor_has_bf16", lambda: True)
    assert autocast_dtype("auto", cpu) is torch.bfloat16
    assert find_precision("auto", cpu) == "bf16"
    monkeypatch.setattr("auricle.devices.processor_has_bf16", lambda: False)
    assert autocast_dtype("auto", cpu) is None
    assert autocast_dtype("bf16", cpu) is torch.bfloat16
    assert autocast_dtype("fp32", cpu) is None


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="needs /proc/cpuinfo")
def test_the_processor_is_asked_as_torch_asks_it() -> None:
    oracle = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    assert processor_has_bf16() == oracle


def test_cuda_that_is_not_there_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ConfigError, match="no cuda device here"):
        Ranks.start("cuda")


def test_seeds_differ_by_every_argument_and_are_the_same_in_every_process() -> None:
    seeds = {
        derive_seed(seed, purpose, step, rank)
        for seed in range(4)
        for purpose in ("augment", "objective")
        for step in range(4)
        for rank in range(4)
    }
    assert len(seeds) == 4 * 2 * 4 * 4
    code = "from auricle.training.randomness import derive_seed; print(derive_seed(42, 'augment', 3, 1))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == derive_seed(42, "augment", 3, 1)
    one, other = (torch.rand(3, generator=step_generator(1, "augment", 5)) for _ in range(2))
    assert torch.equal(one, other)


def test_buckets_hold_every_tensor_once_by_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auricle.training.ranks.BUCKET_BYTES", 40)
    tensors = [torch.zeros(n, dtype=d) for n in (3, 8, 1, 20) for d in (torch.float32, torch.float64)]
    buckets = list(_buckets(tensors))
    assert sorted(id(t) for bucket in buckets for t in bucket) == sorted(id(t) for t in tensors)
    assert all(len({t.dtype for t in bucket}) == 1 for bucket in buckets)
    assert max(len(bucket) for bucket in buckets) < len(tensors) / 2


def test_without_a_terminal_lines_come_seldom() -> None:
    out = io.StringIO()
    with ProgressLine(100, console=Console(file=out, width=200), quiet_seconds=1000.0) as line:
        for step in range(1, 101):
            line.update(step, LINE if step % 10 == 0 else None)
        line.note("[odd] markup")
    text = out.getvalue()
    assert text.count("step ") == 1
    assert "step 100/100 loss 3.210, accuracy 25.0%, 40.0 clips/s, 3% waiting for data" in text
    assert "[odd] markup" in text


def test_in_a_terminal_the_line_is_live() -> None:
    out = io.StringIO()
    with ProgressLine(10, 5, console=Console(file=out, width=200, force_terminal=True)) as line:
        line.update(6, LINE)
    assert "step 6/10" in out.getvalue()
    assert "waiting for data" in out.getvalue()


def test_a_silent_line_prints_nothing() -> None:
    out = io.StringIO()
    with ProgressLine(1, enabled=False, console=Console(file=out)) as line:
        line.update(1, LINE)
        line.note("hello")
    assert out.getvalue() == ""


def test_words() -> None:
    assert "skipped" not in describe(LINE | {"skipped": 0})
    assert describe(LINE | {"skipped": 3}).endswith("3% waiting for data, 3 steps skipped")
    assert describe({k: v for k, v in LINE.items() if k != "accuracy"}).startswith("loss 3.210, 40.0 clips/s")
    assert [duration(s) for s in (5, 65, 3725)] == ["0:05", "1:05", "1:02:05"]
    assert memory_use(torch.device("cpu"))["memory_gb"] > 0.01
