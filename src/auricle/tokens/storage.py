"""Writes that are whole or not there, and that say so when the disk is full."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from auricle.errors import StorageError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def disk_errors(place: Path, remedy: str = "free some space or choose another folder") -> Iterator[None]:
    """Turn the operating system's refusal to write into a `StorageError` that names the place.

    Raises:
        StorageError: the disk is full, or the place can't be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageError(
                f"no space left to write {place} ({free_bytes(place) / 1e6:.0f} MB free); {remedy}"
            ) from error
        raise StorageError(
            f"can't write {place}: {error.strerror or error}; choose a folder that can be written"
        ) from error


def free_bytes(place: Path) -> int:
    """Return the free bytes of the disk that holds a path, or its nearest existing parent."""
    parents = (place, *place.absolute().parents)
    return shutil.disk_usage(next(p for p in parents if p.exists())).free


def write_atomic(path: Path, data: bytes) -> None:
    """Replace a file in one step: a reader, or a process killed here, sees the old file or the new one.

    Raises:
        StorageError: the disk is full, or the place can't be written.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.writing")
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
