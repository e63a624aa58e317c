"""Writes to disk: a file is there whole or not at all, and a full disk is reported with what to do about it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from auricle.errors import StorageError

# No space on the device, quota used up, largest file size reached.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REMEDY = "free some space or choose another folder"
# What numpy raises where an `.npz` is missing, cut or changed.
NPZ_ERRORS = (OSError, EOFError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error)


@contextmanager
def disk_errors(path: Path, remedy: str = REMEDY, *, size: int = 0) -> Iterator[None]:
    """Turn the operating system's refusal to write into an error that names the path and the remedy.

    Args:
        path: what is written.
        remedy: what to do where the disk is full; it depends on what is written.
        size: bytes to be written, for the message; 0: not known.

    Raises:
        StorageError: the disk is full, or the path can't be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            needed = f"{size / 1e6:.1f} MB needed, " if size else ""
            raise StorageError(
                f"no space left to write {path} ({error.strerror}; {needed}{free_bytes(path) / 1e6:.1f} MB free); "
                f"{remedy}"
            ) from error
        raise StorageError(f"can't write {path}: {error.strerror or error}; choose a folder that can be written") from (
            error
        )


def free_bytes(path: Path) -> int:
    """Return the free bytes of the disk that holds a path, or its nearest existing parent."""
    parents = (path, *path.absolute().parents)
    return shutil.disk_usage(next(p for p in parents if p.exists())).free


def user_cache() -> Path:
    """Return auricle's folder for what can be made again; `XDG_CACHE_HOME` moves it."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "auricle"


@contextmanager
def replacing(path: Path, remedy: str = REMEDY, *, size: int = 0) -> Iterator[Path]:
    """Give a temporary path beside `path`, which takes its place when the block ends without an error.

    A reader, or a process that is killed, sees the old file or the new one. The process number in the temporary name
    keeps two writers apart; missing folders are made.

    Raises:
        StorageError: the disk is full, or the path can't be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.writing")
    with disk_errors(path, remedy, size=size):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent, remedy)


def write_atomic(path: Path, data: bytes, remedy: str = REMEDY) -> None:
    """Replace a file in one step (see `replacing`).

    Raises:
        StorageError: the disk is full, or the path can't be written.
    """
    with replacing(path, remedy, size=len(data)) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, data: Any, remedy: str = REMEDY) -> None:
    """Replace a JSON file in one step (see `replacing`).

    Raises:
        StorageError: the disk is full, or the path can't be written.
    """
    write_atomic(path, (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode(), remedy)


def write_bytes(path: Path, data: bytes, remedy: str = REMEDY) -> None:
    """Write a file and force it to the disk; not atomic by itself.

    Raises:
        StorageError: the disk is full, or the path can't be written.
    """
    with disk_errors(path, remedy, size=len(data)), path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path, remedy: str = REMEDY) -> None:
    """Force a folder's entries to the disk, so that a rename survives a power cut.

    Raises:
        StorageError: the disk refuses.
    """
    with disk_errors(folder, remedy):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that can't force folders
                raise
        finally:
            os.close(handle)
