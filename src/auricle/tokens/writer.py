"""Writes a token cache clip by clip; a killed process continues at its last commit."""

from __future__ import annotations

import fcntl
import io
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, TextIO

import numpy as np

from auricle.errors import ConfigError, StaleCacheError
from auricle.storage import disk_errors, write_atomic
from auricle.tokens.cache import CLIPS, MANIFEST, TOKENS, VALID, Manifest, file_checksum

JOURNAL = "journal.jsonl"
PLAN = "plan.json"
LOCK = ".lock"
SIDE = "vectors.bin"
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


class CacheWriter:
    """Appends clips to an unfinished cache.

    Every commit forces the data to the disk and then adds its clips to the journal. On opening, data after the last
    journalled clip, which a killed process had not committed, is cut off.

    Args:
        folder: of the cache.
        plan: manifest of the cache to write.
        replace_other: discard a cache, or unfinished work, of another plan.

    Attributes:
        done: rows of the corpus that are written already.
        missing: rows that can't be encoded, with the reason.

    Raises:
        StaleCacheError: the folder holds unfinished work of another plan, or another process writes here.
        StorageError: the disk is full or the folder can't be written.
    """

    def __init__(self, folder: Path, plan: Manifest, *, replace_other: bool = False) -> None:
        self.folder, self.plan = folder, plan
        self.done: set[int] = set()
        self.missing: dict[int, str] = {}
        self._entries: list[tuple[int, list[int]]] = []
        self._pending: list[dict[str, object]] = []
        self._grids: tuple[tuple[int, ...], tuple[float, ...], int, int] | None = None
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(folder)
            self._resume(replace_other)
            self._tokens, self._valid, self._side = (self._append(name) for name in (TOKENS, VALID, SIDE))
            self._journal: TextIO = (folder / JOURNAL).open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; uncommitted data is cut off at the next opening."""
        for file in (self._tokens, self._valid, self._side, self._journal, self._lock):
            # A full disk fails again when buffers are flushed; the commit has raised the error that matters.
            try:
                file.close()
            except OSError:
                continue

    def add(self, row: int, clip: ClipTokens) -> None:
        """Append a clip; it is safe once `commit` has returned.

        Raises:
            ConfigError: its tokens have another width than the cache, or other grids than earlier clips.
            StorageError: the disk is full.
        """
        widths = [tokens.shape[1] for tokens in clip.tokens]
        if set(widths) - {self.plan.width}:
            raise ConfigError(
                f"clip {row} has layers of width {widths}, the cache holds tokens of width {self.plan.width}; leave "
                "layers of other widths out"
            )
        grids = (clip.freq, clip.rate, clip.pooled.size, clip.cls.shape[1])
        if self._grids is None:
            self._grids = grids
        elif self._grids != grids:
            raise ConfigError(
                f"clip {row} has grids {grids}, earlier clips {self._grids}; expected one grid for all clips"
            )
        with disk_errors(self.folder / TOKENS, _REMEDY):
            for tokens, valid in zip(clip.tokens, clip.valid, strict=True):
                self._tokens.write(tokens.tobytes())
                self._valid.write(valid.tobytes())
            self._side.write(clip.pooled.astype(np.float32).tobytes())
            self._side.write(clip.cls.astype(np.float16).tobytes())
        self._pending.append({"row": row, "time": list(clip.time)})

    def skip(self, row: int, reason: str) -> None:
        """Record that a clip can't be encoded."""
        self._pending.append({"row": row, "reason": reason})

    def commit(self) -> None:
        """Force all clips added so far to the disk.

        Raises:
            StorageError: the disk is full.
        """
        if not self._pending:
            return
        with disk_errors(self.folder / TOKENS, _REMEDY):
            for file in (self._tokens, self._valid, self._side):
                file.flush()
                os.fsync(file.fileno())
            record: dict[str, object] = {"clips": self._pending, "grids": self._grids}
            self._journal.write(json.dumps(record) + "\n")
            self._journal.flush()
            os.fsync(self._journal.fileno())
        self._take(record)
        self._pending = []

    def finish(self) -> None:
        """Write index and manifest, which make the folder a cache.

        Raises:
            StorageError: the disk is full.
        """
        self.commit()
        freq, rate, pooled_width, P = self._grids or ((), (), 0, 0)
        n, L, D = self.plan.clips, len(self.plan.layers), self.plan.width
        start, time = np.zeros((n, L), dtype=np.int64), np.zeros((n, L), dtype=np.int64)
        pooled = np.zeros((n, pooled_width), dtype=np.float32)
        cls = np.zeros((n, L, P, D), dtype=np.float16)
        side = (self.folder / SIDE).read_bytes()
        row_start, size = 0, pooled_width * 4 + L * P * D * 2
        for i, (row, columns) in enumerate(self._entries):
            counts = np.asarray(columns) * np.asarray(freq)
            time[row], start[row] = columns, row_start + np.concatenate([[0], counts.cumsum()[:-1]])
            row_start += int(counts.sum())
            vector = side[i * size : i * size + pooled_width * 4]
            pooled[row] = np.frombuffer(vector, dtype=np.float32)
            cls[row] = np.frombuffer(side[i * size + len(vector) : (i + 1) * size], dtype=np.float16).reshape(L, P, D)
        buffer = io.BytesIO()
        np.savez(buffer, start=start, time=time, pooled=pooled, cls=cls)
        write_atomic(self.folder / CLIPS, buffer.getvalue())
        manifest = replace(
            self.plan,
            freq=freq,
            rate=rate,
            rows=row_start,
            missing=dict(sorted(self.missing.items())),
            checksums={name: file_checksum(self.folder / name) for name in (TOKENS, VALID, CLIPS)},
        )
        write_atomic(self.folder / MANIFEST, manifest.to_json().encode())
        self.discard((JOURNAL, PLAN, SIDE))

    def discard(self, names: tuple[str, ...] = (MANIFEST, JOURNAL, PLAN, TOKENS, VALID, SIDE, CLIPS)) -> None:
        """Close and delete the files."""
        self.close()
        for name in names:
            (self.folder / name).unlink(missing_ok=True)

    def _append(self, name: str) -> BinaryIO:
        return (self.folder / name).open("ab")

    def _resume(self, replace_other: bool) -> None:
        plan = self.folder / PLAN
        known = plan.read_text() if plan.is_file() else None
        if known != self.plan.to_json():
            if known is not None and not replace_other:
                differing = _differences(known, self.plan)
                self._lock.close()
                raise StaleCacheError(
                    f"{self.folder} holds an unfinished extraction of another origin ({differing}); delete it, or "
                    "choose another folder"
                )
            for name in (MANIFEST, JOURNAL, TOKENS, VALID, SIDE, CLIPS):
                (self.folder / name).unlink(missing_ok=True)
            write_atomic(plan, self.plan.to_json().encode())
        journal = self.folder / JOURNAL
        whole = 0
        for line in journal.read_bytes().splitlines(keepends=True) if journal.is_file() else []:
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            self._take(json.loads(line))
        rows = sum(int(np.dot(columns, self._grids[0])) for _, columns in self._entries) if self._grids else 0
        L, D = len(self.plan.layers), self.plan.width
        side = (self._grids[2] * 4 + L * self._grids[3] * D * 2) * len(self._entries) if self._grids else 0
        for name, size in ((JOURNAL, whole), (TOKENS, rows * D * 2), (VALID, rows), (SIDE, side)):
            path = self.folder / name
            if path.is_file():
                os.truncate(path, size)

    def _take(self, record: dict[str, object]) -> None:
        grids = record["grids"]
        if isinstance(grids, list | tuple):
            freq, rate, pooled, P = grids
            self._grids = (tuple(freq), tuple(rate), int(pooled), int(P))
        clips = record["clips"]
        for clip in clips if isinstance(clips, list) else []:
            row = int(clip["row"])
            self.done.add(row)
            if "reason" in clip:
                self.missing[row] = str(clip["reason"])
            else:
                self._entries.append((row, list(clip["time"])))


def _lock(folder: Path) -> BinaryIO:
    """Lock the folder for this process until the file is closed."""
    file = (folder / LOCK).open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise StaleCacheError(
            f"another process is extracting tokens to {folder}; wait for it, or choose another folder"
        ) from error
    return file


def _differences(known: str, plan: Manifest) -> str:
    try:
        return "; ".join(Manifest.from_json(known).differences(plan)) or "another version of auricle"
    except ValueError:
        return "the plan is damaged"
