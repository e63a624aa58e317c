"""What libmpg123 prints about damaged frames, kept off the terminal."""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

_MPG123 = re.compile(rb"\n?(?:\[[^\n]*libmpg123[^\n]*|Warning: Xing stream[^\n]*|Note: [^\n]*(?:MPEG|sync)[^\n]*)\n+")


class _Complaints:
    """Keeps what libmpg123 prints about damaged frames off the terminal; whatever else is written there goes on.

    It prints to the process's own descriptor, so that this is shared by all threads that decode.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._kept: IO[bytes] | None = None

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Catch them while the context is open; where that is not possible they are printed."""
        with self._lock:
            if not self._depth:
                self._begin()
            self._depth += 1
        try:
            yield
        finally:
            with self._lock:
                self._depth -= 1
                try:
                    self._pass_on()
                finally:
                    if not self._depth:
                        self._end()

    def pass_on(self) -> None:
        """Write what is no complaint to the terminal now, while they are caught for long."""
        with self._lock:
            self._pass_on()

    def _begin(self) -> None:
        kept = None
        try:
            kept = tempfile.TemporaryFile()  # noqa: SIM115 - closed by _end
            terminal = os.dup(2)  # fails where there is no terminal: nothing is printed then
            os.dup2(kept.fileno(), 2)
        except OSError:
            if kept is not None:
                kept.close()
            return
        self._kept, self._terminal, self._read = kept, terminal, 0

    def _pass_on(self) -> None:
        if self._kept is not None:
            # By position: descriptor 2 shares the file's own.
            size = os.fstat(self._kept.fileno()).st_size
            written = os.pread(self._kept.fileno(), size - self._read, self._read)
            self._read = size
            if rest := _MPG123.sub(b"", written):
                os.write(self._terminal, rest)

    def _end(self) -> None:
        if self._kept is not None:
            os.dup2(self._terminal, 2)
            os.close(self._terminal)
            self._kept.close()
            self._kept = None


COMPLAINTS = _Complaints()
