"""Writes to disk: a file is there whole or not at all, and a full disk is reported with what to do about it."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from auricle.errors import StorageError

try:
    import fcntl
except ImportError:  # a system without it has no lock between processes
    fcntl = None  # type: ignore[assignment]

# No space on the device, quota used up, largest file size reached.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REMEDY = "free some space or choose another folder"
# The last entry of a sealed record: a sum of everything before and after its 16 digits.
_SUM = re.compile(r'"sum": "([0-9a-f]{16})"\s*\}\s*\Z')
# How text begins that a spreadsheet runs, or that would be taken for such text with an apostrophe.
FORMULA = r"'*[=+\-@\t\r]"
_FORMULA = re.compile(FORMULA)
# What numpy raises where an `.npz` is missing, cut or changed.
NPZ_ERRORS = (
    *(OSError, EOFError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError),
    *(SyntaxError, MemoryError, struct.error, zipfile.BadZipFile, zlib.error),
)


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


def write_record(path: Path, data: Mapping[str, Any], remedy: str = REMEDY) -> None:
    """Replace a JSON file by a record with its sum (see `sealed`) in one step.

    Raises:
        StorageError: the disk is full, or the path can't be written.
    """
    write_atomic(path, (sealed(data, indent=2) + "\n").encode(), remedy)


def write_json(path: Path, data: Any, remedy: str = REMEDY) -> None:
    """Replace a JSON file in one step (see `replacing`).

    Raises:
        StorageError: the disk is full, or the path can't be written.
    """
    write_atomic(path, (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode(), remedy)


def sealed(data: Mapping[str, Any], *, indent: int | None = None) -> str:
    """Return a record as JSON with its own sum as the last entry, so that any changed byte is found (`unseal`).

    Examples:
        >>> unseal(sealed({"step": 3}))
        {'step': 3}
    """
    text = json.dumps({**data, "sum": "0" * 16}, indent=indent)
    begin = text.rindex("0" * 16)
    return text[:begin] + _digest(text) + text[begin + 16 :]


def unseal(text: str, *, required: bool = True) -> dict[str, Any]:
    """Return the data of a record that `sealed` wrote, without its sum.

    Args:
        text: of the record.
        required: refuse a record without a sum, which an earlier version of auricle wrote.

    Raises:
        ValueError: it is no JSON object, or not what was written.
    """
    try:
        data = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(data, dict):
        raise ValueError(f"it holds a {type(data).__name__} where an object was written")
    found = _SUM.search(text)
    if found is None:
        if required or "sum" in data:
            raise ValueError("its sum is missing")
        return data
    begin = found.start(1)
    # The line end of a file is no part of what was summed.
    if _digest(text[:begin] + "0" * 16 + text[begin + 16 :].rstrip("\n")) != found[1]:
        raise ValueError("its content is not what was written")
    del data["sum"]
    return data


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_bytes(path: Path, data: bytes, remedy: str = REMEDY) -> None:
    """Write a file and force it to the disk; not atomic by itself.

    Raises:
        StorageError: the disk is full, or the path can't be written.
    """
    with disk_errors(path, remedy, size=len(data)), path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def append_line(path: Path, line: bytes, whole: Callable[[bytes], bool], remedy: str = REMEDY) -> None:
    """Add a line to a file and force it to the disk; only the end of the file is read, under a lock.

    Args:
        path: the file; missing folders are made.
        line: with its line end.
        whole: whether a last line without a line end is whole; else a kill cut it off, and it is dropped.
        remedy: what to do where the disk is full.

    Raises:
        StorageError: the disk is full, or the path can't be written.
    """
    with disk_errors(path, remedy, size=len(line)):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered: what a full disk refuses would be written again when the file is cut or closed.
        with path.open("ab+", buffering=0) as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
            rest = _unended(file)
            end = file.seek(0, os.SEEK_END)
            kept = end if whole(rest) else end - len(rest)
            file.truncate(kept)
            try:
                left = (b"\n" if kept == end and rest else b"") + line
                while left:
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(kept)
                raise


def _unended(file: io.FileIO) -> bytes:
    """What stands behind the last line end of a file."""
    begin, rest = file.seek(0, os.SEEK_END), b""
    while begin and b"\n" not in rest:
        step = min(begin, 4096)
        begin -= step
        file.seek(begin)
        rest = file.read(step) + rest
    return rest.rpartition(b"\n")[2]


def csv_lines(head: Sequence[str], rows: Iterable[Sequence[Any]], paths: Sequence[str] = ()) -> Iterator[str]:
    """Yield the lines of a CSV file that is safe to open in a spreadsheet.

    A spreadsheet runs a cell that begins with `=`, `+`, `-`, `@`, a tab or a carriage return as a formula: such text
    gets a leading apostrophe (as OWASP advises on CSV injection), which `read_cell` takes away, and a path `./`, so
    that it stays the path of that file. Numbers stay numbers.

    Args:
        head: names of the columns.
        rows: cells; None is an empty cell.
        paths: columns that hold paths.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")  # so that a carriage return inside a cell is quoted, too
    signs = ["./" if name in paths else "'" for name in head]

    def line(cells: Sequence[Any]) -> str:
        writer.writerow(cells)
        found = text.getvalue().removesuffix("\r\n") + "\n"
        text.seek(0)
        text.truncate()
        return found

    yield line([_safe_cell(name, "'") for name in head])
    for row in rows:
        yield line([_safe_cell(cell, sign) for cell, sign in zip(row, signs, strict=True)])


def read_cell(cell: str) -> str:
    """Return the text of a cell that `csv_lines` wrote.

    Examples:
        >>> read_cell("'=A1"), read_cell("'tis")
        ('=A1', "'tis")
    """
    return cell[1:] if cell[:1] == "'" and _FORMULA.match(cell[1:]) else cell


def _safe_cell(cell: Any, sign: str) -> Any:
    if not isinstance(cell, str) or not _FORMULA.match(cell):
        return cell
    try:
        float(cell)
    except ValueError:
        return sign + cell
    return cell


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


def write_part(path: Path, data: Any, arrays: Mapping[str, Any]) -> None:
    """Write JSON-ready data and numpy arrays into one `.npz`, atomically.

    Raises:
        StorageError: the disk is full, or the path can't be written.
    """
    import numpy as np

    packed = io.BytesIO()
    named: dict[str, Any] = {f"a.{key}": array for key, array in arrays.items()}
    np.savez(packed, json=np.array(json.dumps(data)), **named)
    write_atomic(path, packed.getvalue())


def read_part(path: Path) -> tuple[Any, dict[str, Any]] | None:
    """Read what `write_part` wrote; None where it is missing or damaged."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name[2:]: file[name] for name in file.files if name.startswith("a.")}
            return json.loads(str(file["json"])), arrays
    except NPZ_ERRORS:
        return None
