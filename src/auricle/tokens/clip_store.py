"""Tokens of clips on disk, found by what the clips hold, with a checksum of each.

A store is a folder of one encoder, one front end and one choice of layers (`Origin`): `tokens.bin` (fp16 rows of D,
clip after clip, layer after layer), `valid.bin` (one byte a row), `pooled.bin` and `classes.bin` (vectors and class
tokens, one slot a clip), and `journal.jsonl`: a line for each commit, which names its clips, where they are, and the
CRC-32 of their bytes; the line ends with its own. Clips are only ever appended, so that readers and a writer do not
disturb each other. What a killed process left behind the last line is cut off by the next writer.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from auricle.errors import Reason, StaleCacheError
from auricle.tokens.row_file import RowFile

# 4: a clip that can't be encoded has its reason with a cause.
FORMAT = 4
ORIGIN, JOURNAL, LOCK = "origin.json", "journal.jsonl", ".lock"
TOKENS, VALID, POOLED, CLASSES = "tokens.bin", "valid.bin", "pooled.bin", "classes.bin"
FILES = (TOKENS, VALID, POOLED, CLASSES)
# What was compared in this process: folder, clips, and what changes with the files.
_WHOLE: set[tuple[object, ...]] = set()


@dataclass(frozen=True)
class Origin:
    """What decides the tokens of a clip beside the clip: encoder, front end, layers.

    Attributes:
        encoder: fingerprint of weights, front end and precision.
        encoder_name: for messages.
        frontend: settings of the front end, as JSON data.
        layers: the layers kept, in order.
        width: D.
        output: whether the one layer is the encoder's output: that of the last block, after a final norm if it has one.
        format: of the folder.
    """

    encoder: str
    encoder_name: str
    frontend: dict[str, Any]
    layers: tuple[int, ...]
    width: int
    output: bool = False
    format: int = FORMAT

    @property
    def key(self) -> str:
        """16 hexadecimal digits: the name of the store's folder."""
        facts = {**asdict(self), "encoder_name": ""}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    @classmethod
    def read(cls, folder: Path) -> Origin:
        """Read the origin of a store's folder.

        Raises:
            StaleCacheError: the folder holds no store.
        """
        try:
            data = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))
            return cls(**{**data, "layers": tuple(data["layers"])})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StaleCacheError(f"{folder} holds no token cache ({error}); extract the tokens first") from error


@dataclass(frozen=True)
class Grids:
    """What all clips of a store have in common: frequency rows and rate (Hz) of each layer, D', P class tokens."""

    freq: tuple[int, ...]
    rate: tuple[float, ...]
    pooled: int
    classes: int


@dataclass(frozen=True)
class Entry:
    """A clip of a store: its first token row, its slot, time columns of each layer, CRC-32 of its bytes."""

    row: int
    slot: int
    time: tuple[int, ...]
    sum: int


class ClipStore:
    """A store, opened for reading; a `ClipWriter` appends to it.

    Args:
        folder: of the store; it need not exist.
        origin: of its tokens; None: that of the folder.

    Attributes:
        entries: clips in the store, by their key (`corpus.content.clip_keys`).
        refused: clips that this encoder can't encode, with the reason.
        grids: of its clips; None while there are none.

    Raises:
        StaleCacheError: no origin is given, and the folder holds no store.
    """

    def __init__(self, folder: Path, origin: Origin | None = None) -> None:
        self.folder, self.origin = folder, origin or Origin.read(folder)
        self.read_journal()

    def read_journal(self) -> None:
        """Read which clips there are; damaged lines are skipped, so that their clips are encoded again."""
        self.entries: dict[bytes, Entry] = {}
        self.refused: dict[bytes, Reason] = {}
        self.grids: Grids | None = None
        self.damaged_lines, self.journalled, self.rows, self.slots = 0, 0, 0, 0
        path = self.folder / JOURNAL
        if not path.is_file():
            return
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break  # a killed process, or one that is writing now
                self.journalled += len(line)
                if is_whole(line):
                    self.take(json.loads(line.rpartition(b"\t")[0]))
                else:
                    self.damaged_lines += 1

    def take(self, record: dict[str, Any]) -> None:
        """Add the clips of a line of the journal (`journal_line`)."""
        row, slot, grids = record["row"], record["slot"], record["grids"]
        if grids is not None:
            self.grids = Grids(tuple(grids["freq"]), tuple(grids["rate"]), grids["pooled"], grids["classes"])
        for key, time, total in record["clips"]:
            self.entries[bytes.fromhex(key)] = Entry(row, slot, tuple(time), total)
            row, slot = row + self._count(time), slot + 1
        self.rows, self.slots = max(self.rows, row), max(self.slots, slot)
        self.refused |= {bytes.fromhex(key): Reason(*said) for key, said in record["refused"].items()}

    def _count(self, time: Iterable[int]) -> int:
        return sum(columns * freq for columns, freq in zip(time, self.grids.freq if self.grids else (), strict=True))

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """Bytes of a row of `tokens.bin` and `valid.bin`, and of a slot of `pooled.bin` and `classes.bin`."""
        classes, pooled = (self.grids.classes, self.grids.pooled) if self.grids else (0, 0)
        return self.origin.width * 2, 1, pooled * 4, len(self.origin.layers) * classes * self.origin.width * 2

    def bytes_of(self, keys: Iterable[bytes]) -> int:
        """Return the bytes that these clips take on the disk."""
        token, valid, pooled, classes = self.sizes
        times = [self.entries[key].time for key in set(keys) & self.entries.keys()]
        return sum(self._count(time) * (token + valid) + pooled + classes for time in times)

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        paths = [self.folder / name for name in FILES]
        return sum(path.stat().st_size for path in paths if path.is_file())

    def damaged(self, keys: Iterable[bytes]) -> list[bytes]:
        """Read every byte of these clips and return those whose checksum differs.

        Clips that were found to be whole are not read again by this process, as long as the files stay as they are.
        """
        wanted = frozenset(key for key in keys if key in self.entries)
        chosen = sorted(((key, self.entries[key]) for key in wanted), key=lambda e: e[1].row)
        if not chosen:
            return []
        found = []
        try:
            files = [(self.folder / name).open("rb") for name in FILES]
        except FileNotFoundError:
            return [key for key, _ in chosen]
        state = [self.folder.absolute(), hash(wanted)]
        for file in files:
            stat = os.fstat(file.fileno())
            state += [stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
        try:
            if tuple(state) in _WHOLE:
                return []
            for key, entry in chosen:
                rows = self._count(entry.time)
                places = ((entry.row, rows), (entry.row, rows), (entry.slot, 1), (entry.slot, 1))
                total, whole = 0, True
                for file, size, (first, count) in zip(files, self.sizes, places, strict=True):
                    file.seek(first * size)
                    data = file.read(count * size)
                    whole &= len(data) == count * size
                    total = zlib.crc32(data, total)
                if not whole or total != entry.sum:
                    found.append(key)
        finally:
            for file in files:
                file.close()
        if not found:
            _WHOLE.add(tuple(state))
        return found

    def tables(self) -> tuple[RowFile, RowFile, RowFile, RowFile]:
        """Return tokens `(rows, D)`, validity `(rows,)`, vectors `(slots, D')` and class tokens `(slots, L, P, D)`."""
        grids, origin = self.grids or Grids((), (), 0, 0), self.origin
        return (
            RowFile(self.folder / TOKENS, np.float16, self.rows, (origin.width,)),
            RowFile(self.folder / VALID, bool, self.rows),
            RowFile(self.folder / POOLED, np.float32, self.slots, (grids.pooled,)),
            RowFile(self.folder / CLASSES, np.float16, self.slots, (len(origin.layers), grids.classes, origin.width)),
        )


def journal_line(record: dict[str, Any]) -> bytes:
    """Return a line of the journal: what `ClipStore.take` takes, and the checksum of its text."""
    text = json.dumps(record).encode()
    return text + f"\t{zlib.crc32(text):08x}\n".encode()


def is_whole(line: bytes) -> bool:
    """Return whether a line of the journal ends, with the checksum of its text."""
    text, _, found = line.rpartition(b"\t")
    return found == f"{zlib.crc32(text):08x}\n".encode()


def say(text: str) -> None:
    """Print a line about a cache to the terminal's error stream."""
    Console(stderr=True).print(text, highlight=False, markup=False, soft_wrap=True)
