"""Killed at any moment and called again, the demonstration goes on: what decides is the latest checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from auricle import demo as module
from auricle.demo import STEPS, demo
from auricle.errors import CheckpointError
from auricle.storage import write_record
from auricle.training.run_folder import RunFolder


class StoppedError(Exception):
    """Raised where probing would begin."""


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[bool]]:
    """A folder in which the demonstration was killed at once, and whether each later call resumed pre-training."""
    calls: list[bool] = []

    def start(recipe, data, out, *, resume: bool) -> None:
        calls.append(resume)
        if not resume:
            RunFolder.create(out, recipe.to_json())

    def stop(*_args, **_options) -> None:
        raise StoppedError

    monkeypatch.setattr(module, "pretrain", start)
    monkeypatch.setattr(module, "probe", stop)
    out = tmp_path / "run"
    with pytest.raises(StoppedError):
        demo(out)
    return out, calls


@pytest.mark.parametrize(
    ("step", "ending", "resumes"),
    [
        (None, None, True),
        (50, None, True),
        (50, "over", False),
        (STEPS, None, False),
    ],
)
def test_it_goes_on(begun, step: int | None, ending: str | None, resumes: bool) -> None:
    out, calls = begun
    if step is not None:
        state = {"format": 2, "step": step, "files": {}, "recipe": {}, "progress": {"over": ending == "over"}}
        write_record(out / "checkpoints" / f"step-{step:08d}" / "training.json", state)
    with pytest.raises(StoppedError):
        demo(out)
    assert calls == ([False, True] if resumes else [False])


def test_another_run_is_refused(begun, tmp_path: Path) -> None:
    out, _ = begun
    recipe = RunFolder.open(out).recipe
    other = RunFolder.create(tmp_path / "other", recipe | {"train": recipe["train"] | {"lr": 0.5}})
    with pytest.raises(CheckpointError, match=r"train.lr: 0.5 then"):
        demo(other.path)
