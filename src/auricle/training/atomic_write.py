"""Writes that leave the old file or the new one, never half of one, and that say so when the disk is full."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from auricle.errors import CheckpointError, TrainingError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def disk_errors(path: Path, size: int = 0) -> Iterator[None]:
    """Turn what the operating system says about a write into an error that says what to do.

    Raises:
        TrainingError: the disk, the quota or the largest file size is used up.
        CheckpointError: the path can't be written for another reason.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            needed = f"{size / 1e6:.1f} MB needed, " if size else ""
            raise TrainingError(
                f"no space to write {path} ({error.strerror}; {needed}{free_bytes(path) / 1e6:.1f} MB free); what was "
                "written before is whole: free some space (or lower train.keep) and go on with --resume"
            ) from error
        raise CheckpointError(
            f"can't write {path}: {error.strerror or error}; give a folder that can be written (--out)"
        ) from error


def free_bytes(path: Path) -> int:
    """Return the free bytes of the disk that holds the path or its nearest existing parent."""
    place = next((p for p in (path, *path.parents) if p.exists()), Path("/"))
    return shutil.disk_usage(place).free


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file and force it to the disk; not atomic by itself.

    Raises:
        TrainingError: the disk is full.
        CheckpointError: the path can't be written.
    """
    with disk_errors(path, len(data)), path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_atomic(path: Path, data: bytes) -> None:
    """Replace a file in one step: a reader, or a process killed here, sees the old file or the new one.

    Raises:
        TrainingError: the disk is full.
        CheckpointError: the path can't be written.
    """
    temporary = path.with_name(f".writing-{path.name}")
    try:
        write_bytes(temporary, data)
        with disk_errors(path):
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_json(path: Path, data: Any) -> None:
    """Replace a JSON file in one step."""
    write_atomic(path, (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode())


def sync_folder(folder: Path) -> None:
    """Force a folder's entries to the disk, so that a rename survives a power cut."""
    with disk_errors(folder):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
