"""The segments of a library as labelling needs them: where they are, what is held out, and how they sound."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from auricle.answers.label_log import Key
from auricle.answers.library import Library
from auricle.corpus.columns import reading_of
from auricle.corpus.examples import draw_wave
from auricle.corpus.stores import Place

HELD_OUT = 0.2
"""Share of a library that detectors are scored on and never trained on."""
# Of overlapping segments, this many lengths in a row are held out together: only those at the ends are lost to both.
_BLOCK = 8
_SAME = 1e-4  # seconds
_SHORTEST = 0.1  # seconds that the picture needs
_RATES = 8000, 48000  # lowest and highest rate in Hz of what the page plays
FASTEST = 655_350
"""Highest sample rate in Hz that FLAC has."""

Mask = NDArray[np.bool_]


class Segments:
    """Rows of a library, numbered from 0 in the order of their ids.

    Which of them are held out is a property of the recording's content and of time alone: it stays as it is where the
    library grows, recordings are renamed, or it is made again or by another model.

    Args:
        library: of which; later rows are not seen.

    Attributes:
        ids: `(n,)` in the library.
        start: `(n,)` seconds in the recording.
        end: `(n,)` likewise.
        held_out: `(n,)` whether the segment may be drawn for the random sample.
        trainable: `(n,)` whether it is neither held out nor shares sound with one that is.
        recordings: name of each recording, by the digest of its content.
        sample: digest of all that are held out: draws from another set say nothing of the shares in this one.
    """

    def __init__(self, library: Library) -> None:
        self.library = library
        table = library.rows()
        self.ids: NDArray[np.int64] = table.column("id").to_numpy()
        self.start: NDArray[np.float64] = table.column("start").to_numpy()
        self.end: NDArray[np.float64] = table.column("end").to_numpy()
        named = table.column("file").combine_chunks().dictionary_encode()
        named = named.combine_chunks() if isinstance(named, pa.ChunkedArray) else named
        self._files: list[str] = named.dictionary.to_pylist()
        self._file: NDArray[np.int64] = named.indices.to_numpy().astype(np.int64)
        self.recordings = library.recordings()
        self._contents = {file: content for content, file in self.recordings.items()}
        seeds = np.array([_hash(bytes.fromhex(self._contents[file])) for file in self._files], dtype=np.uint64)
        self._seeds: NDArray[np.uint64] = seeds[self._file]
        self.held_out = self._draw_held_out()
        self.sample = self._digest()
        self.trainable: Mask = ~self.held_out & ~self._touching(self.held_out)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def _by_file(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        order = np.argsort(self._file, kind="stable")
        return order, np.searchsorted(self._file[order], np.arange(len(self._files) + 1))

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self._files)}

    def key(self, row: int) -> Key:
        """Return the place of a segment, by which labels name it."""
        return Key(self._files[self._file[row]], float(self.start[row]), float(self.end[row]))

    def content(self, key: Key) -> str:
        """Return the digest of the content of a segment's recording."""
        return self._contents[key.file]

    def row(self, key: Key) -> int | None:
        """Return the segment at a place; None: the library has none."""
        rows = self._of(key.file)
        same = (np.abs(self.start[rows] - key.start) < _SAME) & (np.abs(self.end[rows] - key.end) < _SAME)
        found = rows[same]
        return int(found[0]) if len(found) else None

    def overlapping(self, key: Key) -> NDArray[np.int64]:
        """Return the segments that share sound with a place, the one at the place included."""
        rows = self._of(key.file)
        return rows[(self.start[rows] < key.end - _SAME) & (self.end[rows] > key.start + _SAME)]

    def row_of_id(self, number: int) -> int | None:
        """Return the segment of an id; None: the library has none."""
        place = int(np.searchsorted(self.ids, number))
        return place if place < len(self.ids) and self.ids[place] == number else None

    def _of(self, file: str) -> NDArray[np.int64]:
        order, begins = self._by_file
        number = self._numbers.get(file)
        return order[:0] if number is None else order[begins[number] : begins[number + 1]]

    def _draw_held_out(self) -> Mask:
        record = self.library.record
        overlapping = record.segment is not None and record.hop is not None and record.hop < record.segment
        block = _BLOCK * record.segment if overlapping and record.segment else None
        # Times in milliseconds: the same in any library of these segments.
        part = np.floor(self.start / block) if block else np.rint(self.start * 1000)
        mixed = _mixed(self._seeds ^ _mixed(_whole(part)))
        found: Mask = mixed < np.uint64(int(HELD_OUT * 2**64))
        return found

    def _digest(self) -> str:
        rows = np.flatnonzero(self.held_out)
        begin, end = (_mixed(_whole(np.rint(times[rows] * 1000))) for times in (self.start, self.end))
        numbers = np.sort(_mixed(_mixed(self._seeds[rows] ^ begin) ^ end))
        return hashlib.blake2b(numbers.tobytes(), digest_size=8).hexdigest()

    def _touching(self, chosen: Mask) -> Mask:
        """Return which segments share sound with a chosen one of the same recording."""
        result = np.zeros(len(self), dtype=bool)
        order, begins = self._by_file
        for first, last in pairwise(begins):
            rows = order[first:last]
            mine = rows[chosen[rows]]
            if len(mine) in (0, len(rows)):
                continue
            begin, end = np.sort(self.start[mine]), np.sort(self.end[mine])
            # As many chosen ones have begun before a segment's end as have ended before its begin: none is between.
            begun = np.searchsorted(begin, self.end[rows] - _SAME)
            ended = np.searchsorted(end, self.start[rows] + _SAME)
            result[rows] = begun > ended
        return result


@dataclass(frozen=True)
class Sound:
    """What the page shows and plays of a segment.

    Attributes:
        wave: `(S,)` float32, with context before and after.
        rate: in Hz.
        slowed: how many times slower than it was recorded the wave plays.
        begin: of the wave, in seconds from the recording's start.
        picture: its spectrogram, a PNG.
        ticks: of the frequency axis, see `auricle.corpus.examples.frequency_ticks`.
    """

    wave: NDArray[np.float32]
    rate: int
    slowed: float
    begin: float
    picture: bytes
    ticks: list[tuple[float, str]]


def read_sound(library: Library, row: int, context: float = 0.0) -> Sound:
    """Read a segment for the page: at the rate of the recording, as far as browsers play it.

    Args:
        library: with the segment.
        row: its id.
        context: seconds before and after, as far as the recording has them.

    Raises:
        AudioError: the recording is missing or broken.
    """
    wave, rate, slowed, begin = read_segment(library, row, context, _RATES[1])
    padded = np.pad(wave, (0, max(0, int(_SHORTEST * rate) - len(wave))))
    picture, ticks = draw_wave(padded, round(rate * slowed), columns=1000, rows=128)
    return Sound(wave, rate, slowed, begin, picture, ticks)


def read_segment(
    library: Library, row: int, context: float = 0.0, highest: int = FASTEST
) -> tuple[NDArray[np.float32], int, float, float]:
    """Read a segment as it was recorded, not as the model reads it: at the rate of the recording.

    Args:
        library: with the segment.
        row: its id.
        context: seconds before and after, as far as the recording has them.
        highest: rate in Hz above which it is converted.

    Returns:
        The wave `(S,)`, its rate in Hz, how many times slower than it was recorded it plays, and its begin in seconds
        from the recording's start.

    Raises:
        AudioError: the recording is missing or broken.
    """
    corpus = library.corpus([row])
    clip = corpus[0]
    begin = 0.0 if corpus.is_whole(0) else max(0.0, clip.start - context)
    if not corpus.is_whole(0):
        length = clip.start + clip.seconds + context - begin
        corpus = corpus.with_column("start", [begin]).with_column("seconds", [length])
    found = corpus.table.to_pylist()[0]
    _, slowed = reading_of(found)
    native = corpus.stores[found["_store"]].probe(Place(found["_key"], found["_offset"], found["_size"])).rate
    rate = int(min(max(native / slowed, _RATES[0]), highest))
    return corpus.audio(0, rate), rate, slowed, begin


def _whole(numbers: NDArray[np.float64]) -> NDArray[np.uint64]:
    return numbers.astype(np.int64).astype(np.uint64)


def _hash(text: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix the bits of numbers: the finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        x = (x + np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
