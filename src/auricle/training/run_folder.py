"""A run is a folder that holds everything needed to repeat and to continue it.

run.json            what was asked for, and sums    corpus.json    the training corpus
recipe.json         the resolved recipe             metrics.jsonl  one line per logged step
environment.json    versions, device, threads       events.log     events, with times
recordings.parquet  64-bit hashes of the recordings
checkpoints/        step-00001000/ ...
"""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from auricle.config import flatten
from auricle.corpus.ledger import SUFFIX
from auricle.errors import CheckpointError
from auricle.storage import disk_errors, write_json, write_record
from auricle.training import lock
from auricle.training.checkpoint import CONTINUE, HALF, find_checkpoints, put_back, read_state, verify_file
from auricle.training.journal import append_line, rewind_lines
from auricle.training.lock import RunLock
from auricle.training.run_record import (
    EMPTY,
    RECORD,
    STAGE,
    changes,
    check_sum,
    file_sum,
    read_json,
    read_record,
    resume_command,
)

LEDGER = SUFFIX.removeprefix(".")
# Files that a new run replaces in the folder of one that made no step: all but its recipe, record and log.
_REPLACED = ("corpus.json", LEDGER, "recordings.parquet", "environment.json", "metrics.jsonl", "tensorboard")
_OWN = (*_REPLACED, "recipe.json", RECORD)


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
        self.lock: RunLock | None = None

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
            # The sums of files that are replaced go first, and the new one comes last: a recipe without counts as none.
            run.record(**EMPTY)
            run._clear()
            write_json(run.path / "recipe.json", run.recipe, CONTINUE)
            run.seal("recipe.json")
            if takes_over:
                run.log("took over the folder of a run that made no step; its settings were replaced")
        return run

    @classmethod
    def check_new(cls, path: Path) -> None:
        """Refuse a folder that a new run can't use.

        Raises:
            CheckpointError: it holds a run that made a step, or other files, or is a file.
        """
        if (path / "recipe.json").exists():
            if _without_steps(path):
                return
            found = find_checkpoints(path / "checkpoints")
            state = f"its latest checkpoint is of step {max(found)}" if found else "without a checkpoint yet"
            raise CheckpointError(
                f"{path} already holds a run ({state}); expected a new folder. Continue the run "
                f"({cls(path, {}).resume_command}), or choose another --out"
            )
        if path.exists() and not path.is_dir():
            raise CheckpointError(f"{path} is a file, not a folder; choose another --out")
        # A start that was killed before the recipe was written leaves these behind.
        remains = ("checkpoints", STAGE, RECORD, lock.NAME, "events.log")
        others = [p for p in path.iterdir() if p.name not in remains] if path.is_dir() else []
        if not all(_half_written(p) for p in others) or any(path.glob("checkpoints/*")):
            raise CheckpointError(f"{path} is not empty and holds no run of auricle; choose another --out")

    @classmethod
    def open(cls, path: Path | str, *, writes: bool = True) -> RunFolder:
        """Open the folder of an existing run.

        Raises:
            CheckpointError: there is no run, or its recipe is damaged or was changed after it was written.
        """
        path = Path(path)
        if not path.is_dir():
            raise CheckpointError(
                f"there is no run folder {path}; start one with auricle pretrain RECIPE --data "
                f"FOLDER --out {shlex.quote(str(path))}"
            )
        run = cls(path, {}, writes=writes)
        recipe = run.read("recipe.json")
        if recipe is None:
            raise CheckpointError(
                f"{path} is not a run folder of auricle: it has no recipe.json; name one, or start a run in a new "
                "folder with auricle pretrain RECIPE --data FOLDER --out RUN"
            )
        run.recipe = recipe
        return run

    @classmethod
    def begun(cls, path: Path | str, *, writes: bool = True) -> RunFolder | None:
        """Open the run in a folder; None where it has not come as far as its recipe, and begins anew.

        Raises:
            CheckpointError: it is damaged.
        """
        path = Path(path)
        if writes:
            put_back(path / "checkpoints")
        if not (path / "recipe.json").exists():
            return None
        record = read_record(path)
        if record is not None and "recipe.json" not in record["files"] and not find_checkpoints(path / "checkpoints"):
            return None  # killed between the recipe and its sum
        return cls.open(path, writes=writes)

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
                f"{self.path} holds no checkpoint yet; continue the run ({self.resume_command}), which begins "
                "at step 0 here, and save more often (--train.save-every)"
            )
        if step is not None and step not in found:
            raise CheckpointError(f"{self.path} has no checkpoint of step {step}; it has {', '.join(map(str, found))}")
        return found[max(found) if step is None else step]

    @property
    def resume_command(self) -> str:
        """The command that continues the run (see `run_record.resume_command`)."""
        return resume_command(self.home)

    def finished(self, *, over: bool = False) -> bool:
        """Whether the run came to its end: its last checkpoint says so, and is the only sign.

        Args:
            over: a run whose minutes are over is finished, too, as a stage always is.

        Raises:
            CheckpointError: a file of that checkpoint is damaged.
        """
        found = self.checkpoints
        if not found:
            return False
        checkpoint = found[max(found)]
        state = read_state(checkpoint)
        progress, planned = state["progress"], flatten(self.recipe).get("train.steps", 0)
        steps = progress.get("steps", planned)
        if state["step"] < steps and not (progress.get("over") and (over or self.path.name == STAGE)):
            return False
        for name in state["files"]:
            verify_file(checkpoint, name, state)
        return True

    def check_recipe(self, recipe: Mapping[str, Any], begun: Mapping[str, Any] | None = None) -> None:
        """Refuse to continue with another recipe than that of the run; `FREE_TO_CHANGE` may differ.

        Args:
            recipe: to continue with.
            begun: recipe of the run; None: the resolved one.

        Raises:
            CheckpointError: naming each setting that differs, with both values.
        """
        changed = changes(self.recipe if begun is None else begun, recipe)
        if changed:
            # A stage is continued with or without --resume.
            idle = self.path == self.home and _without_steps(self.path)
            anew = "leave --resume out: the run made no step" if idle else "choose another --out"
            raise CheckpointError(
                f"{self.path} was started with another recipe: {'; '.join(changed[:6])}"
                f"{f'; and {len(changed) - 6} more' if len(changed) > 6 else ''}. Resume with the settings of the run "
                f"({self.resume_command}), or start a new run ({anew})"
            )

    @staticmethod
    def idle(path: Path) -> bool:
        """Return whether a folder holds a run that made no step, so that a new run may use it."""
        return (path / "recipe.json").exists() and _without_steps(path)

    def write(self, name: str, data: Mapping[str, Any]) -> None:
        """Replace a JSON file of the run, with its own sum, in one step."""
        if self.writes:
            self._check()
            write_record(self.path / name, data, CONTINUE)

    def read(self, name: str) -> Any:
        """Return a JSON file of the run, or None if there is none.

        Raises:
            CheckpointError: the file is damaged, or was changed after it was written.
        """
        check_sum(self.path, name)
        own = name != "recipe.json" and self.recorded
        return read_json(self.path / name, own)

    def has(self, name: str) -> bool:
        """Whether a file without a sum of its own was written to its end: run and file may be killed in between."""
        record = read_record(self.path)
        return (self.path / name).exists() and (record is None or name in record["files"])

    def seal(self, name: str) -> None:
        """Keep the sum of a file that has none itself."""
        self.record(files={**(read_record(self.path) or EMPTY)["files"], name: file_sum(self.path / name)})

    def record(self, **entries: Any) -> None:
        """Replace entries of `run.json` in one step."""
        self.write(RECORD, {**(read_record(self.path) or EMPTY), **entries})

    @property
    def recorded(self) -> bool:
        """Whether the folder holds a `run.json`."""
        return (self.path / RECORD).exists()

    @property
    def plan(self) -> tuple[tuple[int, int], ...]:
        """Numbers of steps that were fitted to the time (see `training.budget`)."""
        return tuple((int(begin), int(steps)) for begin, steps in (read_record(self.path) or EMPTY)["plan"])

    @property
    def fitted(self) -> float | None:
        """The minutes that the plan's last number of steps was fitted to; None: it is the recipe's."""
        minutes = (read_record(self.path) or EMPTY).get("minutes")
        return None if minutes is None else float(minutes)

    def log(self, text: str) -> None:
        """Append a line, with the time, to `events.log`."""
        if self.writes:
            self._check()
            file, line = self.path / "events.log", f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {text}\n"
            with disk_errors(file, CONTINUE, size=len(line)), file.open("a") as handle:
                handle.write(line)

    def metrics(self, line: Mapping[str, Any]) -> None:
        """Append a line to `metrics.jsonl`; numbers that are not finite become null."""
        if self.writes:
            self._check()
            append_line(self.path, line)

    def rewind(self, step: int, lines: int | None = None) -> list[str]:
        """Take the folder back to a step: drop later and damaged lines of the journal, and half-written files.

        Args:
            step: of the checkpoint that the run continues from.
            lines: of the journal at that checkpoint.

        Returns:
            What was wrong with the journal, in words.
        """
        if not self.writes:
            return []
        self._check()
        said = rewind_lines(self.path, step, lines)
        self._remove(each for each in (*self.path.iterdir(), *self.path.glob("checkpoints/*")) if _half_written(each))
        return said

    def _clear(self) -> None:
        """Remove the files of a run that made no step."""
        half = (each for each in (*self.path.iterdir(), *self.path.glob("checkpoints/*")) if _half_written(each))
        self._remove((*(self.path / name for name in _REPLACED), *half))

    def _remove(self, paths: Iterable[Path]) -> None:
        with disk_errors(self.path, CONTINUE):
            for path in paths:
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)

    def _check(self) -> None:
        if self.lock is not None:
            self.lock.check()


def _half_written(path: Path) -> bool:
    """Return whether a killed process left this: a checkpoint, or a file of a run, under its temporary name."""
    return path.name.startswith(HALF) or any(fnmatch(path.name, f".{name}.*.writing") for name in _OWN)


def _without_steps(path: Path) -> bool:
    """Whether a folder holds only files that a run writes before its first step; previous stages are kept."""
    kept = {*_OWN, "events.log", "checkpoints", STAGE, lock.NAME}
    metrics = path / "metrics.jsonl"
    return (
        all(each.name in kept or _half_written(each) for each in path.iterdir())
        and all(_half_written(each) for each in path.glob("checkpoints/*"))
        and not (metrics.exists() and metrics.stat().st_size)
    )
