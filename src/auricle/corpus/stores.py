"""Stores of audio: loose files, members of a tar, rows of an Arrow table; decoded on demand.

A corpus has a few stores and each of its rows names one. A store can be restored from plain data (`describe`), so a
corpus table on disk never holds audio.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from auricle.audio.decode import Channel, FileInfo, decode, probe
from auricle.config import nearest
from auricle.errors import AudioError, CorpusError, Reason

# Reading headers waits for the disk more than for the processor.
_THREADS = 4


@dataclass(frozen=True)
class Place:
    """The position of a recording in its store.

    Attributes:
        key: the store's own name of the recording (a relative path, a member's name).
        offset: first byte (tar) or row (Arrow); -1 for loose files.
        size: bytes of the encoded recording; -1 if unknown.
    """

    key: str
    offset: int = -1
    size: int = -1


class Store(ABC):
    """Base of all stores. A subclass defines `read`, or overrides `decode` and `probe` if nothing is encoded."""

    kind: ClassVar[str]
    _kinds: ClassVar[dict[str, type[Store]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Register the subclass under its `kind`, by which `from_description` finds it."""
        super().__init_subclass__(**kwargs)
        Store._kinds[cls.kind] = cls

    @abstractmethod
    def read(self, place: Place) -> Path | bytes:
        """Return the encoded recording: its path, or its bytes.

        Raises:
            AudioError: the recording is missing.
        """

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return JSON-ready data from which `restore` makes this store."""

    @classmethod
    @abstractmethod
    def restore(cls, data: dict[str, Any]) -> Store:
        """Make the store from `describe`'s data."""

    def path(self, place: Place) -> Path | None:
        """Return the recording's own file, or None if it has none."""
        return None

    def span(self, place: Place) -> tuple[Path, int, int] | None:
        """Return the file that holds the encoded recording, its first byte and its bytes (-1: to the end of the file).

        None: it is no part of a file, and `read` returns it.
        """
        path = self.path(place)
        return None if path is None else (path, 0, -1)

    def decode(
        self,
        place: Place,
        *,
        start: float = 0.0,
        seconds: float | None = None,
        rate: int = 16000,
        channel: Channel = "mix",
    ) -> np.ndarray:
        """Decode a range to float32 `(S,)`, mono, at `rate` Hz; `seconds=None` reads to the end.

        Raises:
            AudioError: the recording is missing or broken.
        """
        source = self.read(place)
        try:
            return decode(source, start=start, seconds=seconds, rate=rate, channel=channel)
        except AudioError as error:
            raise _named(error, source, place) from error

    def probe(self, place: Place, *, thorough: bool = False) -> FileInfo:
        """Read what a recording holds, without its samples; see `auricle.audio.decode.probe`.

        Raises:
            AudioError: the recording is missing or its header can't be read.
        """
        source = self.read(place)
        try:
            return probe(source, thorough=thorough)
        except AudioError as error:
            raise _named(error, source, place) from error

    @staticmethod
    def from_description(data: dict[str, Any]) -> Store:
        """Make a store of any kind from its description.

        Raises:
            CorpusError: the kind is unknown.
        """
        kind = str(data.get("kind"))
        found = Store._kinds.get(kind)
        if found is None:
            raise CorpusError(f"unknown kind of audio store {kind!r}{nearest(kind, Store._kinds)}")
        return found.restore(data)


def _named(error: AudioError, source: Path | bytes, place: Place) -> AudioError:
    """Add the name of the recording, which the decoder does not know for bytes from a shard."""
    return AudioError(error.reason, repr(place.key)) if isinstance(source, bytes) else error


@dataclass(frozen=True)
class FolderStore(Store):
    """Loose audio files below `root`; a key is a path relative to it."""

    root: Path
    kind: ClassVar[str] = "folder"

    def path(self, place: Place) -> Path:
        return self.root / place.key

    def read(self, place: Place) -> Path:
        return self.root / place.key

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "root": str(self.root)}

    @classmethod
    def restore(cls, data: dict[str, Any]) -> FolderStore:
        return cls(Path(data["root"]))


@dataclass(frozen=True)
class TarStore(Store):
    """Members of one uncompressed tar file, read by their offset; nothing is unpacked."""

    tar: Path
    kind: ClassVar[str] = "tar"

    def span(self, place: Place) -> tuple[Path, int, int]:
        return self.tar, place.offset, place.size

    def read(self, place: Place) -> bytes:
        try:
            with self.tar.open("rb") as f:
                f.seek(place.offset)
                data = f.read(place.size)
        except OSError as error:
            raise AudioError(f"{self.tar}: the tar shard can't be read: {error.strerror}") from error
        if len(data) < place.size:
            raise AudioError(
                f"{self.tar}: member {place.key!r} is truncated: {len(data)} of {place.size} bytes; "
                "copy the shard again"
            )
        return data

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "root": str(self.tar)}

    @classmethod
    def restore(cls, data: dict[str, Any]) -> TarStore:
        return cls(Path(data["root"]))


def probe_headers(store: Store, places: Sequence[Place]) -> list[FileInfo | Reason]:
    """Return what each recording holds, or the reason why it can't be read."""

    def one(place: Place) -> FileInfo | Reason:
        try:
            return store.probe(place)
        except AudioError as error:
            return error.reason

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(one, places, chunksize=32))


def probe_seconds(store: Store, places: Sequence[Place]) -> list[float | Reason]:
    """Return the seconds of each recording, or the reason why it can't be read."""
    return [found if isinstance(found, str) else found.seconds for found in probe_headers(store, places)]
