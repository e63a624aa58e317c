"""A run is a folder that holds everything needed to repeat it.

recipe.json         the resolved recipe             corpus.json    the training corpus
environment.json    versions, device, threads       metrics.jsonl  one line per logged step
recordings.parquet  64-bit hashes of the recordings events.log     events, with times
checkpoints/        step-00001000/ ...
"""

from __future__ import annotations

import fcntl
import json
import math
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from auricle.config import flatten
from auricle.errors import CheckpointError
from auricle.storage import disk_errors, write_atomic, write_json
from auricle.training.checkpoint import CONTINUE, find_checkpoints

# Settings that do not change the numbers of a run: they may differ when it is resumed.
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

STAGE = "previous"
"""Folder of the previous stage, within that of its run."""

# Files that a new run replaces in the folder of one that made no step: all but its recipe and its log.
_REPLACED = ("corpus.json", "recordings.parquet", "environment.json", "metrics.jsonl", "tensorboard")
# Longest value in a message.
_SHOWN = 100


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
        """Start a run in a new or empty folder, or in that of a run that made no step, whose settings are replaced.

        Raises:
            CheckpointError: the folder holds a run or other files already, or can't be written.
        """
        run = cls(Path(path), recipe, writes=writes)
        if writes:
            cls.check_new(run.path)
            takes_over = (run.path / "recipe.json").exists()
            with disk_errors(run.path, CONTINUE):
                (run.path / "checkpoints").mkdir(parents=True, exist_ok=True)
            # The recipe is last: a process killed before it leaves the folder of a run that made no step.
            run._clear()
            write_json(run.path / "recipe.json", run.recipe, CONTINUE)
            if takes_over:
                run.log("took over the folder of a run that made no step; its settings were replaced")
        return run

    @staticmethod
    def check_new(path: Path) -> None:
        """Refuse a folder that a new run can't use.

        Raises:
            CheckpointError: it holds a run that made a step or is being trained, or other files, or is a file.
        """
        if (path / "recipe.json").exists():
            idle = _without_steps(path)
            if idle and not _in_use(path):
                return
            if idle:
                raise CheckpointError(f"{path} holds a run that another process is training; choose another --out")
            found = find_checkpoints(path / "checkpoints")
            state = f"its latest checkpoint is of step {max(found)}" if found else "without a checkpoint yet"
            raise CheckpointError(
                f"{path} already holds a run ({state}); continue it (--resume), or choose another --out"
            )
        if path.exists() and not path.is_dir():
            raise CheckpointError(f"{path} is a file, not a folder; choose another --out")
        # A start that was killed before the recipe was written leaves these behind.
        remains = ("checkpoints", STAGE)
        others = [p for p in path.iterdir() if p.name not in remains] if path.is_dir() else []
        if not all(fnmatch(p.name, ".recipe.json.*.writing") for p in others) or any(path.glob("checkpoints/*")):
            raise CheckpointError(f"{path} is not empty and holds no run of auricle; choose another --out")

    @classmethod
    def open(cls, path: Path | str, *, writes: bool = True) -> RunFolder:
        """Open the folder of an existing run.

        Raises:
            CheckpointError: there is no run, or its recipe is damaged.
        """
        path = Path(path)
        if not path.is_dir():
            raise CheckpointError(f"there is no run folder {path}; start one with `auricle pretrain ... --out {path}`")
        recipe = _read_json(path / "recipe.json")
        if recipe is None:
            raise CheckpointError(
                f"{path} is not a run folder of auricle: it has no recipe.json; start the run again without --resume"
            )
        return cls(path, recipe, writes=writes)

    @property
    def home(self) -> Path:
        """The folder that the user named: that of the run which this one is a stage of, or its own."""
        path = self.path
        while path.name == STAGE and path.parent != path:
            path = path.parent
        return path

    @property
    def checkpoints(self) -> dict[int, Path]:
        """The complete checkpoints of the run by step, oldest first."""
        return find_checkpoints(self.path / "checkpoints")

    def checkpoint(self, step: int | None = None) -> Path:
        """Return the folder of a step's checkpoint, or of the latest.

        Raises:
            CheckpointError: there is none, or none of that step (those that exist are listed).
        """
        found = self.checkpoints
        if not found:
            raise CheckpointError(
                f"{self.path} holds no checkpoint yet; continue the run (auricle pretrain with --resume, which begins "
                "at step 0 here), and save more often (--train.save-every)"
            )
        if step is not None and step not in found:
            raise CheckpointError(f"{self.path} has no checkpoint of step {step}; it has {', '.join(map(str, found))}")
        return found[max(found) if step is None else step]

    def check_recipe(self, recipe: Mapping[str, Any]) -> None:
        """Refuse to continue with another recipe than that of the run; `FREE_TO_CHANGE` may differ.

        Raises:
            CheckpointError: naming each setting that differs, with both values.
        """
        old, new = flatten(self.recipe), flatten(recipe)
        changed = [
            f"{name}: {_shown(old.get(name))} then, {_shown(new.get(name))} now"
            for name in sorted(old.keys() | new.keys())
            if old.get(name) != new.get(name) and name not in FREE_TO_CHANGE and "notes" not in name.split(".")
        ]
        if changed:
            # A stage is continued with or without --resume.
            idle = self.path == self.home and _without_steps(self.path)
            anew = "leave --resume out: the run made no step" if idle else "choose another --out"
            raise CheckpointError(
                f"{self.path} was started with another recipe: {'; '.join(changed[:6])}"
                f"{f'; and {len(changed) - 6} more' if len(changed) > 6 else ''}. Resume with the same settings, or "
                f"start a new run ({anew})"
            )

    @staticmethod
    def idle(path: Path) -> bool:
        """Return whether a folder holds a run that made no step, so that a new run may use it."""
        return (path / "recipe.json").exists() and _without_steps(path)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from taking over the folder while the run has made no step."""
        if not self.writes:
            yield
            return
        file = self.path / "events.log"
        with ExitStack() as stack:
            with disk_errors(file, CONTINUE):
                handle = stack.enter_context(file.open("a"))
            # Training does not depend on locks, which some file systems lack.
            with suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield

    def write(self, name: str, data: Any) -> None:
        """Replace a JSON file of the run in one step."""
        if self.writes:
            write_json(self.path / name, data, CONTINUE)

    def read(self, name: str) -> Any:
        """Return a JSON file of the run, or None if there is none.

        Raises:
            CheckpointError: the file is damaged.
        """
        return _read_json(self.path / name)

    def log(self, text: str) -> None:
        """Append a line, with the time, to `events.log`."""
        self._append("events.log", f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {text}\n")

    def metrics(self, line: Mapping[str, Any]) -> None:
        """Append a line to `metrics.jsonl`; numbers that are not finite become null."""
        self._append("metrics.jsonl", json.dumps({k: _finite(v) for k, v in line.items()}) + "\n")

    def rewind(self, step: int) -> None:
        """Drop the lines of `metrics.jsonl` past a step, and half-written ones, so that each step has one line."""
        file = self.path / "metrics.jsonl"
        if not self.writes or not file.exists():
            return
        kept = [text + "\n" for text, line in _lines(file) if line["step"] <= step]
        write_atomic(file, "".join(kept).encode(), CONTINUE)
        for path in (self.path / "checkpoints").glob(".writing-*"):
            shutil.rmtree(path, ignore_errors=True)

    def _clear(self) -> None:
        """Remove the files of a run that made no step."""
        with disk_errors(self.path, CONTINUE):
            half = (*self.path.glob(".writing-*"), *self.path.glob("checkpoints/.writing-*"))
            for path in (*(self.path / name for name in _REPLACED), *half):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)

    def _append(self, name: str, text: str) -> None:
        if self.writes:
            file = self.path / name
            with disk_errors(file, CONTINUE, size=len(text)), file.open("a") as handle:
                handle.write(text)


def read_metrics(path: Path | str) -> list[dict[str, Any]]:
    """Return the lines of a run's `metrics.jsonl`, without a half-written last one."""
    return [line for _, line in _lines(Path(path) / "metrics.jsonl")]


def _lines(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the lines of a file as text and as JSON data, without half-written ones."""
    for text in file.read_text().splitlines() if file.exists() else []:
        with suppress(ValueError):
            yield text, json.loads(text)


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} is damaged ({error}); copy the run folder again from its source") from error


def _without_steps(path: Path) -> bool:
    """Whether a folder holds only files that a run writes before its first step; previous stages are kept."""
    kept = {*_REPLACED, "recipe.json", "events.log", "checkpoints", STAGE}
    metrics = path / "metrics.jsonl"
    return (
        all(each.name.removeprefix(".writing-") in kept for each in path.iterdir())
        and all(each.name.startswith(".writing-") for each in path.glob("checkpoints/*"))
        and not (metrics.exists() and metrics.stat().st_size)
    )


def _in_use(path: Path) -> bool:
    """Whether a living process holds the folder (see `RunFolder.held`)."""
    file = path / "events.log"
    if not file.exists():
        return False
    with disk_errors(file, CONTINUE), file.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False  # a file system without locks
    return False


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
