"""The journal of a run, `metrics.jsonl`: one line for each logged step, each with its own sum."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auricle.storage import disk_errors, sealed, unseal, write_atomic
from auricle.training.checkpoint import CONTINUE

NAME = "metrics.jsonl"


def append_line(folder: Path, line: Mapping[str, Any]) -> None:
    """Append a line; numbers that are not finite become null.

    Raises:
        StorageError: the disk is full, or the folder is gone.
    """
    text = sealed({k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in line.items()}) + "\n"
    file = folder / NAME
    with disk_errors(file, CONTINUE, size=len(text)), file.open("a") as handle:
        handle.write(text)


def force(folder: Path) -> int:
    """Force the journal to the disk before a checkpoint that counts on it; return its number of lines.

    Raises:
        StorageError: the disk refuses.
    """
    file = folder / NAME
    if not file.exists():
        return 0
    with disk_errors(file, CONTINUE), file.open("rb") as handle:
        os.fsync(handle.fileno())
        return sum(1 for _ in handle)


def rewind_lines(folder: Path, step: int, expected: int | None = None) -> list[str]:
    """Drop the lines past a step and those that are damaged; return in words what was wrong with them.

    Args:
        folder: of the run.
        step: of the checkpoint that the run continues from.
        expected: lines that there were at that checkpoint; None: not known.

    Raises:
        StorageError: the disk is full.
    """
    file = folder / NAME
    if not file.exists():
        return [f"{file} is missing: {expected} lines were lost"] if expected else []
    kept, said = [], []
    texts = _texts(file)
    for number, text in enumerate(texts, 1):
        try:
            if _parsed(text, folder)["step"] <= step:
                kept.append(text)
        except ValueError as error:
            if number == len(texts):
                said.append(f"the last line of {file} was cut off when the run was killed; it was dropped")
            else:
                said.append(f"line {number} of {file} is damaged ({error}); it was dropped")
    whole = "".join(text + "\n" for text in kept).encode()
    if whole != file.read_bytes():
        write_atomic(file, whole, CONTINUE)
    if expected is not None and len(kept) < expected:
        said.append(
            f"{file} holds {len(kept)} whole lines up to step {step}, {expected} were written; the others are lost, "
            "and training does not depend on them"
        )
    return said


def _texts(file: Path) -> list[str]:
    text = file.read_bytes().decode(errors="replace")
    return text.removesuffix("\n").split("\n") if text else []


def _parsed(text: str, folder: Path) -> dict[str, Any]:
    """Return the data of a line; lines of runs without `run.json`, which auricle 0.2 made, have no sum."""
    try:
        line = unseal(text, required=(folder / "run.json").exists())
    except json.JSONDecodeError as error:
        raise ValueError("it is no whole JSON") from error
    if type(line.get("step")) is not int:
        raise ValueError("it has no step")
    return line
