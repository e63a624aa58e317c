"""The record of a run, `run.json`: what it was asked for, and the sums of files that have none themselves."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auricle.config import flatten
from auricle.errors import CheckpointError
from auricle.storage import disk_errors, unseal
from auricle.training.checkpoint import CONTINUE, find_checkpoints

RECORD = "run.json"
"""What a run was asked for (recipe, data ...), the sums of its files, and its number of steps where it was fitted."""

STAGE = "previous"
"""Folder of the previous stage, within that of its run."""

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

# Longest value in a message.
_SHOWN = 100
AGAIN = "copy the run folder again from its source"
EMPTY: dict[str, Any] = {"files": {}, "plan": [], "minutes": None}


def read_record(path: Path) -> dict[str, Any] | None:
    """Return `run.json` of a run folder; None where there is none: auricle 0.2 wrote none.

    Raises:
        CheckpointError: it is damaged.
    """
    record = read_json(path / RECORD, True)
    if record is None:
        return None
    if not isinstance(record.get("files"), dict) or not isinstance(record.get("plan"), list):
        raise CheckpointError(f"{path / RECORD} is damaged: it lists no files and no plan; {AGAIN}")
    return dict(record)


def check_sum(path: Path, name: str) -> None:
    """Compare a file of a run folder with the sum in `run.json`, where that holds one.

    Raises:
        CheckpointError: the file was changed after it was written.
    """
    expected = ((read_record(path) if name != RECORD else None) or EMPTY)["files"].get(name)
    if expected is None or not (path / name).is_file() or file_sum(path / name) == expected:
        return
    found = find_checkpoints(path / "checkpoints")
    whole = f", or open {found[max(found)]}, which holds a recipe of its own" if found and name == "recipe.json" else ""
    raise CheckpointError(
        f"{path / name} is damaged or was edited: its content is not what the run wrote; {AGAIN}{whole}"
    )


def file_sum(file: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        StorageError: it can't be read.
    """
    with disk_errors(file, CONTINUE), file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def resume_command(path: Path) -> str:
    """Return the command that continues the run in a folder, as it has to be typed.

    Raises:
        CheckpointError: `run.json` is damaged.
    """
    record = read_record(path) or {}
    typed = shlex.join([*_program(record), "--resume", str(path)])
    if record.get("data") is None:
        # Started from Python on an open corpus, or by auricle 0.2.
        return f"{typed} --data FOLDER, or the same call with resume=True"
    return typed


def longer_command(path: Path) -> str:
    """Return the command of a longer run like the one in a folder, as it has to be typed.

    The new run begins with the weights of the run; one that learns from a previous stage begins afresh, on that stage.

    Raises:
        CheckpointError: `run.json` is damaged.
    """
    record = read_record(path) or {}
    typed = [*_program(record), "--config", str(path / "recipe.json"), "--data", str(record.get("data") or "FOLDER")]
    for name in ("exclude", "channel", "time_expansion"):
        value = record.get(name) or []
        values = value if isinstance(value, list) else [value]
        typed += [f"--{name.replace('_', '-')}", *map(str, values)] if values else []
    stage = record.get("previous") or (path / STAGE if (path / STAGE).exists() else None)
    typed += ["--out", f"{path}-longer", *(() if stage else ("--begin", "previous")), "--previous", str(stage or path)]
    return shlex.join(typed)


def _program(record: Mapping[str, Any]) -> list[str]:
    plugins = [word for module in record.get("modules", []) for word in ("--plugin", str(module))]
    return ["auricle", *plugins, "pretrain"]


def read_json(file: Path, own: bool) -> Any:
    """Return the data of a JSON file; None where there is none.

    Args:
        file: of a run folder.
        own: whether the file has to hold its own sum.

    Raises:
        CheckpointError: it is damaged.
    """
    try:
        return unseal(file.read_text(), required=own)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} is damaged ({error}); {AGAIN}") from error


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return in words in which settings two recipes differ; notes and `FREE_TO_CHANGE` don't count.

    Examples:
        >>> changes({"train": {"lr": 0.1, "keep": 1}}, {"train": {"lr": 0.2, "keep": 2}})
        ['train.lr: 0.1 then, 0.2 now']
    """
    then, now = flatten(old), flatten(new)
    return [
        f"{name}: {_shown(then.get(name))} then, {_shown(now.get(name))} now"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name) and not _may_change(name)
    ]


def _may_change(setting: str) -> bool:
    """Return whether a setting, of the run or of a previous stage of it, changes no number."""
    parts = setting.split(".")
    while parts[0] == STAGE and len(parts) > 1:
        parts = parts[1:]
    # Features are read of the trained encoder; runs of before 0.3 state none.
    return ".".join(parts) in FREE_TO_CHANGE or "notes" in parts or parts[0] == "features"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
