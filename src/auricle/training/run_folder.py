"""A run is a folder that holds everything needed to repeat it.

recipe.json       the resolved recipe        corpus.json       what was heard
environment.json  versions, device, threads  metrics.jsonl     one line per logged step
recordings.parquet  which recordings those were, as 64 bits of content each
events.log        what happened, with times  checkpoints/      step-00001000/ ...
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auricle.errors import CheckpointError
from auricle.training.atomic_write import disk_errors, write_atomic, write_json
from auricle.training.checkpoint import find_checkpoints

# Settings that change how a run is carried out, not its numbers: they may differ when a run is resumed.
FREE_TO_CHANGE = (
    "train.minutes",
    "train.log_every",
    "train.save_every",
    "train.keep",
    "train.skip_limit",
    "train.tensorboard",
    "loader.workers",
    "loader.cache_mb",
    "loader.prefetch",
)


STAGE = "before"
"""Folder of the stage before, within that of the run that it serves."""


class RunFolder:
    """The folder of one run. Only rank 0 writes: on the other ranks `writes` is False and every write does nothing.

    Attributes:
        path: the folder.
        recipe: the resolved recipe as JSON data.
        writes: whether this process writes.
    """

    def __init__(self, path: Path, recipe: Mapping[str, Any], *, writes: bool = True) -> None:
        self.path = path
        self.recipe = dict(recipe)
        self.writes = writes

    @classmethod
    def create(cls, path: Path | str, recipe: Mapping[str, Any], *, writes: bool = True) -> RunFolder:
        """Start a run in a new or empty folder.

        Raises:
            CheckpointError: the folder holds a run or other files already, or can't be written.
        """
        run = cls(Path(path), recipe, writes=writes)
        if writes:
            cls.check_new(run.path)
            with disk_errors(run.path):
                (run.path / "checkpoints").mkdir(parents=True, exist_ok=True)
            write_json(run.path / "recipe.json", run.recipe)
        return run

    @staticmethod
    def check_new(path: Path) -> None:
        """Refuse a folder that a new run can't have.

        Raises:
            CheckpointError: it holds a run or other files already, or is a file.
        """
        if (path / "recipe.json").exists():
            found = find_checkpoints(path / "checkpoints")
            state = f"its latest checkpoint is of step {max(found)}" if found else "without a checkpoint yet"
            raise CheckpointError(
                f"{path} already holds a run ({state}); go on with it (--resume), or give another --out"
            )
        if path.exists() and not path.is_dir():
            raise CheckpointError(f"{path} is a file, not a folder; give another --out")
        # A start that was killed before the recipe was whole leaves these behind: nothing that could be lost.
        remains = ("checkpoints", ".writing-recipe.json", STAGE)
        if path.is_dir() and (any(p.name not in remains for p in path.iterdir()) or any(path.glob("checkpoints/*"))):
            raise CheckpointError(f"{path} is not empty and holds no run of auricle; give another --out")

    @classmethod
    def open(cls, path: Path | str, *, writes: bool = True) -> RunFolder:
        """Open the folder of an earlier run.

        Raises:
            CheckpointError: there is none, or its recipe is damaged.
        """
        path = Path(path)
        if not path.is_dir():
            raise CheckpointError(f"there is no run folder {path}; start one with `auricle pretrain ... --out {path}`")
        file = path / "recipe.json"
        try:
            recipe = json.loads(file.read_text())
        except FileNotFoundError:
            raise CheckpointError(
                f"{path} is not a run folder of auricle: it has no recipe.json; a run that was killed before it was "
                "written begins anew without --resume"
            ) from None
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{file} is damaged ({error}); copy the run folder again from its source") from error
        return cls(path, recipe, writes=writes)

    @property
    def home(self) -> Path:
        """The folder that a user named: of the run that this one is a stage of, or its own."""
        path = self.path
        while path.name == STAGE and path.parent != path:
            path = path.parent
        return path

    @property
    def checkpoints(self) -> dict[int, Path]:
        """The whole checkpoints of the run by step, oldest first."""
        return find_checkpoints(self.path / "checkpoints")

    def checkpoint(self, step: int | None = None) -> Path:
        """Return the folder of a step's checkpoint, or of the latest.

        Raises:
            CheckpointError: there is none, or none of that step (those that exist are listed).
        """
        found = self.checkpoints
        if not found:
            raise CheckpointError(
                f"{self.path} holds no checkpoint yet: nothing to load; go on with the run (auricle pretrain with "
                "--resume, which begins at step 0 here), and save more often (--train.save-every)"
            )
        if step is not None and step not in found:
            raise CheckpointError(f"{self.path} has no checkpoint of step {step}; it has {', '.join(map(str, found))}")
        return found[max(found) if step is None else step]

    def check_recipe(self, recipe: Mapping[str, Any]) -> None:
        """Refuse to go on with another recipe than the run began with (see `FREE_TO_CHANGE` for what may differ).

        Raises:
            CheckpointError: naming each setting that differs, with both values.
        """
        old, new = _flatten(self.recipe), _flatten(recipe)
        changed = [
            f"{name}: {old.get(name)!r} then, {new.get(name)!r} now"
            for name in sorted(old.keys() | new.keys())
            if old.get(name) != new.get(name) and name not in FREE_TO_CHANGE
        ]
        if changed:
            raise CheckpointError(
                f"{self.path} was begun with another recipe: {'; '.join(changed[:6])}"
                f"{f'; and {len(changed) - 6} more' if len(changed) > 6 else ''}. Resume with the same settings, or "
                "start a new run in another --out"
            )

    def write(self, name: str, data: Any) -> None:
        """Replace a JSON file of the run in one step."""
        if self.writes:
            write_json(self.path / name, data)

    def read(self, name: str) -> Any:
        """Return a JSON file of the run, or None if there is none.

        Raises:
            CheckpointError: the file is damaged.
        """
        file = self.path / name
        try:
            return json.loads(file.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{file} is damaged ({error}); copy the run folder again from its source") from error

    def log(self, text: str) -> None:
        """Append a line, with the time, to `events.log`."""
        self._append("events.log", f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {text}\n")

    def metrics(self, line: Mapping[str, Any]) -> None:
        """Append a line to `metrics.jsonl`; numbers that are not finite become null."""
        self._append("metrics.jsonl", json.dumps({k: _finite(v) for k, v in line.items()}) + "\n")

    def rewind(self, step: int) -> None:
        """Drop the lines of `metrics.jsonl` past a step (and a half-written last one), so each step has one line."""
        file = self.path / "metrics.jsonl"
        if not self.writes or not file.exists():
            return
        kept = []
        for text in file.read_text().splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if line["step"] <= step:
                kept.append(text + "\n")
        write_atomic(file, "".join(kept).encode())
        for path in (self.path / "checkpoints").glob(".writing-*"):
            shutil.rmtree(path, ignore_errors=True)

    def _append(self, name: str, text: str) -> None:
        if self.writes:
            file = self.path / name
            with disk_errors(file, len(text)), file.open("a") as handle:
                handle.write(text)


def read_metrics(path: Path | str) -> list[dict[str, Any]]:
    """Return the lines of a run's `metrics.jsonl`, without a half-written last one."""
    file = Path(path) / "metrics.jsonl"
    lines = []
    for text in file.read_text().splitlines() if file.exists() else []:
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


def _flatten(data: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(data, Mapping):
        return {prefix.rstrip("."): list(data) if isinstance(data, tuple) else data}
    flat: dict[str, Any] = {}
    for name, value in data.items():
        flat.update(_flatten(value, f"{prefix}{name}."))
    return flat


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
