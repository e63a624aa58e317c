"""Training on two processes started by `accelerate launch`, against one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from metrics_lines import read_metrics
from safetensors.torch import load_file
from toy_pretraining import write_corpus

from auricle.devices import cores

pytestmark = pytest.mark.distributed
SCRIPT = Path(__file__).parent / "train_ranks.py"
# `--multi_gpu` is what makes accelerate start several processes, also where there is no GPU; `--cpu` starts one only.
LAUNCH = [
    "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
    "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0",
]  # fmt: skip
# With its usual eps AdamW turns the rounding noise of a gradient that should be zero into a whole step.
PLAIN = {"steps": 4, "warmup_steps": 0, "lr": 1e-3, "eps": 1e-3}
FULL = {"steps": 6, "save_every": 3}


def start(launch: list[str], corpus: Path, *jobs: tuple[Path, str, bool, dict[str, object]]) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    text = json.dumps([(str(path), *rest) for path, *rest in jobs])
    done = subprocess.run(
        [sys.executable, *launch, SCRIPT, corpus, text], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process: `one`, `norm-one`. Two: `direct` and `cached` do as `one`, `norm` does as `norm-one`.

    `whole`, and `part`, which is stopped and resumed, are of two, too.
    """
    folder = tmp_path_factory.mktemp("ranks")
    corpus = write_corpus(folder / "clips")
    start(
        [], corpus, (folder / "one", "plain", False, PLAIN), (folder / "norm-one", "norm", False, PLAIN | {"lr": 1e-6})
    )
    start(
        LAUNCH,
        corpus,
        (folder / "direct", "plain", False, PLAIN),
        (folder / "cached", "plain", False, PLAIN | {"micro_batch": 3}),
        (folder / "norm", "norm", False, PLAIN | {"lr": 1e-6}),
        (folder / "whole", "full", False, FULL),
        (folder / "part", "full", False, FULL | {"minutes": 1e-9}),
        (folder / "part", "full", True, FULL),
    )
    return folder


def weights(run: Path, step: int, name: str = "encoder") -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / f"step-{step:08d}" / f"{name}.safetensors")


def ranks(run: Path) -> list[int]:
    return [session["ranks"] for session in json.loads((run / "environment.json").read_text())["sessions"]]


@pytest.mark.parametrize("kind", ["direct", "cached"])
def test_two_ranks_take_the_steps_of_one(runs: Path, kind: str) -> None:
    assert ranks(runs / "one") == [1]
    assert ranks(runs / kind) == [2]
    alone, together = read_metrics(runs / "one"), read_metrics(runs / kind)
    assert [line["step"] for line in together] == [1, 2, 3, 4]
    for a, b in zip(alone, together, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-4)
        assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-3)
        assert b["accuracy"] == pytest.approx(a["accuracy"], abs=1e-6)
        assert b["rank_z"] == pytest.approx(a["rank_z"], rel=1e-3)
        assert b["batch"] == a["batch"] == 8
    for name in ("encoder", "objective"):
        expected, found = weights(runs / "one", 4, name), weights(runs / kind, 4, name)
        for key, tensor in expected.items():
            if key == "fc_norm.bias":
                # BatchNorm takes any shift out again, so its gradient is rounding alone, and AdamW makes whole steps
                # of rounding. That gradients agree is shown in float64 in test_ntxent_ranks.py.
                continue
            torch.testing.assert_close(
                found[key], tensor, rtol=1e-4, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}"
            )


def test_running_statistics_of_two_ranks_are_those_of_one(runs: Path) -> None:
    for kind in ("norm-one", "norm"):
        assert "3 norms: running statistics of 12 plain batches" in (runs / kind / "events.log").read_text()
    expected, found = weights(runs / "norm-one", 4), weights(runs / "norm", 4)
    names = [name for name in expected if "running" in name]
    assert len(names) == 6
    for name in names:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-6)
        assert float((expected[name] - float("var" in name)).abs().max()) > 1e-3  # not those of a new norm


def test_no_thread_of_the_process_group_outlives_it(runs: Path) -> None:
    # A thread that is still there when the interpreter ends aborts the process, about once in ten times.
    for rank in (0, 1):
        assert "gloo" not in (runs / f"threads-{rank}").read_text()


def test_a_resumed_run_on_two_ranks_equals_an_uninterrupted_one(runs: Path) -> None:
    assert ranks(runs / "part") == [2, 2]
    events = (runs / "part" / "events.log").read_text()
    assert "train.minutes" in events
    assert "resumed at step 1" in events
    part, whole = read_metrics(runs / "part"), read_metrics(runs / "whole")
    assert [line["loss"] for line in part] == [line["loss"] for line in whole]
    for name in ("encoder", "objective", "optimiser"):
        expected, found = weights(runs / "whole", 6, name), weights(runs / "part", 6, name)
        assert all(torch.equal(tensor, found[key]) for key, tensor in expected.items())


def test_the_documented_command_trains_on_two_processes(tmp_path: Path) -> None:
    corpus, out = write_corpus(tmp_path / "clips"), tmp_path / "run"
    settings = {
        "window.seconds": 0.64, "loader.batch": 8, "loader.workers": 0, "encoder.width": 24, "encoder.depth": 1,
        "encoder.heads": 2, "encoder.frames": 64, "train.steps": 2, "train.warmup-steps": 1, "train.log-every": 1,
        "train.device": "cpu",
    }  # fmt: skip
    flags = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines",
        "1", "-m", "auricle.cli", "pretrain", "audiomosaic", "--data", str(corpus), "--out", str(out), *flags,
    ]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (session,) = json.loads((out / "environment.json").read_text())["sessions"]
    assert session["ranks"] == 2
    # Both ranks are on this machine: each takes its share of the cores.
    assert session["threads"] == max(1, cores() // 2)
    assert [(line["step"], line["batch"]) for line in read_metrics(out)] == [(1, 8), (2, 8)]
    assert (out / "checkpoints" / "step-00000002").is_dir()
    assert (out / "recordings.parquet").is_file()
