"""Tables of numbers read from a file row by row, in the memory of the rows that are read.

A memory map needs less code, but its pages count as memory of the process until the system takes them back; pages that
are read stay in the system's file cache.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np

from auricle.errors import StaleCacheError

# Bytes read at once where only a part of them is needed.
_PIECE = 2**24


class RowFile:
    """A read-only table `(rows, *row_shape)` in a file. Safe to read from several threads, and to send to processes.

    Args:
        path: the file.
        dtype: of the numbers.
        rows: number of rows.
        row_shape: shape of one row.
        offset: bytes before the first row.
        stride: bytes from one row to the next; None: rows lie side by side.
    """

    def __init__(
        self,
        path: Path,
        dtype: np.dtype | type,
        rows: int,
        row_shape: tuple[int, ...] = (),
        *,
        offset: int = 0,
        stride: int | None = None,
    ) -> None:
        self.path, self.dtype, self.shape = path, np.dtype(dtype), (rows, *row_shape)
        self._offset, self._size = offset, self.dtype.itemsize * math.prod(row_shape)
        self._stride = self._size if stride is None else stride
        self._file = path.open("rb", buffering=0)

    def column(self, place: int) -> RowFile:
        """Return the table of one place of the rows' first axis: `(rows, K, ...)` -> `(rows, ...)`."""
        rows, _, *inner = self.shape
        size = self.dtype.itemsize * math.prod(inner)
        offset = self._offset + place * size
        return RowFile(self.path, self.dtype, rows, tuple(inner), offset=offset, stride=self._stride)

    def __len__(self) -> int:
        return self.shape[0]

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (self.path, self.dtype, self.shape, self._offset, self._stride)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Read some rows: a slice without steps, int64 places `(n,)`, or a bool mask over all rows.

        Raises:
            StaleCacheError: the file has become shorter.
            IndexError: a place is outside the table.
        """
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step != 1:
                raise IndexError(f"a table on disk is read in runs of rows, found a step of {step}")
            return self._run(start, max(start, stop))
        places = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)
        if places.size and not 0 <= places.min() <= places.max() < len(self):
            raise IndexError(f"rows {places.min()} to {places.max()} asked of a table of {len(self)} rows")
        out = np.empty((len(places), *self.shape[1:]), dtype=self.dtype)
        # Neighbours are read together, in few system calls.
        breaks = np.flatnonzero(np.diff(places) != 1) + 1
        for run in np.split(np.arange(len(places)), breaks) if len(places) else []:
            out[run[0] : run[-1] + 1] = self._run(int(places[run[0]]), int(places[run[-1]]) + 1)
        return out

    def _run(self, start: int, stop: int) -> np.ndarray:
        step = self._step()
        if self._stride == self._size:
            flat = self._read(self._offset + start * self._stride, (stop - start) * step)
            return flat.reshape(stop - start, *self.shape[1:])
        # Rows of one column are not contiguous: they are read with the bytes between, a bounded piece at a time.
        between, some = self._stride // self.dtype.itemsize, max(1, _PIECE // self._stride)
        out = np.empty((stop - start, step), dtype=self.dtype)
        for first in range(start, stop, some):
            count = min(some, stop - first)
            flat = self._read(self._offset + first * self._stride, (count - 1) * between + step)
            for i in range(count):
                out[first - start + i] = flat[i * between : i * between + step]
        return out.reshape(stop - start, *self.shape[1:])

    def _step(self) -> int:
        return self._size // self.dtype.itemsize

    def _read(self, offset: int, count: int) -> np.ndarray:
        out = np.empty(count, dtype=self.dtype)
        view, done = out.data.cast("B"), 0
        while done < len(view):
            got = os.preadv(self._file.fileno(), [view[done:]], offset + done)
            if got == 0:
                raise StaleCacheError(f"{self.path} has become shorter while it was read; run the same command again")
            done += got
        return out


def _reopen(path: Path, dtype: np.dtype, shape: tuple[int, ...], offset: int, stride: int) -> RowFile:
    return RowFile(path, dtype, shape[0], shape[1:], offset=offset, stride=stride)
