"""Appends clips to a store of tokens; a killed process continues at its last commit."""

from __future__ import annotations

import fcntl
import os
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np

from auricle.errors import ConfigError, Reason
from auricle.storage import disk_errors, write_atomic, write_json
from auricle.tokens.clip_store import (
    FILES,
    JOURNAL,
    LOCK,
    ORIGIN,
    TOKENS,
    ClipStore,
    Grids,
    is_whole,
    journal_line,
    say,
)

_REMEDY = "free some space and start again: committed clips are kept"


@dataclass(frozen=True)
class ClipTokens:
    """One clip, padding cut off: for each layer `(N, D)` fp16, `(N,)` bool, time columns, frequency rows, rate (Hz)."""

    tokens: tuple[np.ndarray, ...]
    valid: tuple[np.ndarray, ...]
    time: tuple[int, ...]
    freq: tuple[int, ...]
    rate: tuple[float, ...]
    pooled: np.ndarray
    cls: np.ndarray

    def parts(self) -> tuple[bytes, bytes, bytes, bytes]:
        """Return the bytes for each of `FILES`."""
        return (
            b"".join(x.tobytes() for x in self.tokens),
            b"".join(v.tobytes() for v in self.valid),
            self.pooled.astype(np.float32).tobytes(),
            self.cls.astype(np.float16).tobytes(),
        )


class ClipWriter:
    """Appends clips to a store, whose entries grow with each commit.

    Every commit forces the data to the disk and then adds its clips to the journal.

    Raises:
        StorageError: the disk is full or the folder can't be written.
    """

    def __init__(self, store: ClipStore) -> None:
        self.store = store
        self._pending: list[tuple[bytes, ClipTokens]] = []
        self._refused: dict[bytes, Reason] = {}

    def __enter__(self) -> Self:
        folder = self.store.folder
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(folder)
            write_json(folder / ORIGIN, asdict(self.store.origin))
            # Another process may have written since the store was opened.
            self.store.read_journal()
            if self.store.damaged_lines:
                # Their clips are in no entry and are encoded again: reported once.
                journal = folder / JOURNAL
                lines = journal.read_bytes().splitlines(keepends=True)
                write_atomic(journal, b"".join(line for line in lines if is_whole(line)))
                self.store.read_journal()
            rows, slots = self.store.rows, self.store.slots
            token, valid, pooled, classes = self.store.sizes
            ends = (rows * token, rows * valid, slots * pooled, slots * classes)
            self._files = [_open_at(folder / name, end) for name, end in zip(FILES, ends, strict=True)]
            self._journal = _open_at(folder / JOURNAL, self.store.journalled)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in (*self._files, self._journal, self._lock):
            # A full disk fails again when buffers are flushed; the commit has raised the error that matters.
            try:
                file.close()
            except OSError:
                continue

    def add(self, key: bytes, clip: ClipTokens) -> None:
        """Append a clip; it is safe once `commit` has returned.

        Raises:
            ConfigError: its tokens have another width than the store, or other grids than earlier clips.
        """
        widths = [tokens.shape[1] for tokens in clip.tokens]
        if set(widths) - {self.store.origin.width}:
            raise ConfigError(
                f"found layers of width {widths}; the cache holds tokens of width {self.store.origin.width}: leave "
                "layers of other widths out"
            )
        grids = Grids(clip.freq, clip.rate, clip.pooled.size, clip.cls.shape[1])
        known = self.store.grids = self.store.grids or grids
        if known != grids:
            raise ConfigError(f"a clip has grids {grids}, earlier clips {known}; expected one grid for all clips")
        self._pending.append((key, clip))

    def refuse(self, key: bytes, reason: Reason) -> None:
        """Record that this encoder can't encode a clip."""
        self._refused[key] = reason

    def commit(self) -> None:
        """Force all clips added so far to the disk.

        Raises:
            StorageError: the disk is full.
        """
        if not self._pending and not self._refused:
            return
        store, clips = self.store, []
        with disk_errors(store.folder / TOKENS, _REMEDY):
            for key, clip in self._pending:
                total = 0
                for file, data in zip(self._files, clip.parts(), strict=True):
                    file.write(data)
                    total = zlib.crc32(data, total)
                clips.append([key.hex(), list(clip.time), total])
            for file in self._files:
                file.flush()
                os.fsync(file.fileno())
            record = {
                "row": store.rows,
                "slot": store.slots,
                "grids": None if store.grids is None else asdict(store.grids),
                "clips": clips,
                "refused": {key.hex(): (reason, reason.cause) for key, reason in self._refused.items()},
            }
            self._journal.write(journal_line(record))
            self._journal.flush()
            os.fsync(self._journal.fileno())
        store.take(record)
        self._pending, self._refused = [], {}


def _open_at(path: Path, end: int) -> BinaryIO:
    """Open a file for appending at `end`; what is behind is cut off, and what is missing becomes zeros (no clip's)."""
    path.touch()
    os.truncate(path, end)
    return path.open("ab")


def _lock(folder: Path) -> BinaryIO:
    """Lock the folder for this process until the file is closed, waiting for another process that writes."""
    file = (folder / LOCK).open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"another process writes tokens to {folder}: waiting for it to end")
        fcntl.flock(file, fcntl.LOCK_EX)
    return file
