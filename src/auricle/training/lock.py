"""One process at a time in a run folder, and only in the folder that it began in."""

from __future__ import annotations

import errno
import os
import platform
import warnings
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from weakref import WeakSet

from auricle.errors import CheckpointError, StorageError
from auricle.storage import disk_errors

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"
TRAINED = "a run that another process is training"
REMEDY = "Wait until it ends, stop it, or choose another --out"
# A file system without locks says one of these; training does not depend on them.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
# Files of the locks that this process holds: a child must not hold them on when its parent is killed.
_held: WeakSet[IO[str]] = WeakSet()


def _let_go() -> None:
    while _held:
        _held.pop().close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


class RunLock:
    """Holds a run folder while it is trained; the operating system lets go when the process ends, however it ends.

    Args:
        path: the run folder, which is made where it is missing.
        what: what it holds, for the message.
        remedy: what to do then.

    Raises:
        CheckpointError: another process trains there, or deleted the folder at this moment.
        StorageError: the folder can't be written.

    Examples:
        >>> import tempfile
        >>> with RunLock(Path(tempfile.mkdtemp())) as lock:
        ...     lock.check()
    """

    def __init__(self, path: Path, what: str = TRAINED, remedy: str = REMEDY) -> None:
        self.path = path
        with disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
            self._file = (path / NAME).open("a+")
        try:
            _take(self._file, path, what, remedy)
            # The lock of a deleted file would keep nobody out.
            if not self._in_place():
                raise CheckpointError(
                    f"{path} held {what}, which deleted it at this moment; expected no other process there. Run the "
                    "command again"
                )
        except BaseException:
            self._file.close()
            raise
        _held.add(self._file)
        with disk_errors(path / NAME):
            self._file.truncate(0)
            self._file.write(f"process {os.getpid()} on {platform.node()}")
            self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _held.discard(self._file)
        self._file.close()

    def check(self) -> None:
        """Refuse to write where the folder is no longer the one that was locked.

        Raises:
            StorageError: it was deleted, moved or replaced in the meantime.
        """
        if not self._in_place():
            raise StorageError(
                f"the run folder {self.path} was deleted, moved or replaced while the run was training; expected it to "
                "stay where it is. Nothing more was written: move it back and continue with --resume, or start the run "
                "again"
            )

    def _in_place(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), (self.path / NAME).stat())
        except OSError:
            return False


def refuse_in_use(path: Path) -> None:
    """Refuse a folder that a living process trains in.

    Raises:
        CheckpointError: naming the process.
    """
    if (path / NAME).is_file():
        with disk_errors(path / NAME), (path / NAME).open("a+") as file:
            _take(file, path)


def _take(file: IO[str], path: Path, what: str = TRAINED, remedy: str = REMEDY) -> None:
    if fcntl is None:
        _warn(path, "this system has none")
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        raise CheckpointError(
            f"{path} holds {what} ({file.read() or 'starting'}); expected one process at a time. {remedy}"
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _warn(path, str(error.strerror))


def _warn(path: Path, why: str) -> None:
    warnings.warn(
        f"{path} can't be locked ({why}); expected a file system with locks. Start no second process on this run",
        stacklevel=3,
    )
