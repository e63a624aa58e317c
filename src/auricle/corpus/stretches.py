"""Windows over the recordings of a corpus, in constant memory: each stretch is decoded once.

A unit is a list of stretches that is worked on by itself: its windows and their batches do not depend on other units.
So any process can do it, in any order, with the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from auricle.audio.streaming import AudioStream
from auricle.corpus.columns import reading_of
from auricle.corpus.reading import expansions
from auricle.corpus.stores import Place
from auricle.corpus.table import Corpus
from auricle.errors import AudioError, ConfigError, Reason

# Seconds of windows in a unit: minutes of work, of which a kill loses one unit's.
UNIT_SECONDS = 1200.0
# Whole clips that are longer than this have to be cut, so that memory is bounded.
LONGEST_WHOLE = 60.0
# Seconds at the end of a clip that are not worth a window: rounding.
_NO_REMAINDER = 0.01


@dataclass(frozen=True)
class Windows:
    """Windows of a fixed length over clips of any length.

    Attributes:
        seconds: length of a window; shorter clips are one window. None: each clip is one window.
        hop: seconds between the starts of two windows.
        step: starts are multiples of this many seconds, also of the last window, which is then shorter; 0: the last
            window ends with the clip.

    Raises:
        ConfigError: a length is not above 0.
    """

    seconds: float | None
    hop: float = 1.0
    step: float = 0.0

    def __post_init__(self) -> None:
        if self.seconds is not None and not (self.seconds > 0 and self.hop > 0):
            raise ConfigError(f"windows of {self.seconds:g} s every {self.hop:g} s; expected both above 0")

    def ranges(self, samples: int, rate: int, first: int = 0, end: int | None = None) -> list[tuple[int, int]]:
        """Return first sample and length of the windows `first` ... `end` of a clip of `samples`; None: to the last.

        Examples:
            >>> Windows(2.0, 1.5).ranges(60, 10), Windows(2.0).ranges(7, 10)
            ([(0, 20), (15, 20), (30, 20), (40, 20)], [(0, 7)])
        """
        size, whole, count = self._counts(samples, rate)
        places = range(first, count if end is None else min(end, count))
        found = [(round(i * self.hop * rate), size) for i in places if i < whole]
        if places and places[-1] == whole:
            step = self.step * rate
            start = round(-(-(samples - size) // step) * step) if step else samples - size
            found.append((start, samples - start))
        return found

    def count(self, samples: int, rate: int) -> int:
        """Return how many windows a clip of `samples` has."""
        return self._counts(samples, rate)[2]

    def _counts(self, samples: int, rate: int) -> tuple[int, int, int]:
        """Return the samples of a window, how many fit into the clip, and how many there are."""
        size = samples if self.seconds is None else max(1, round(self.seconds * rate))
        if samples <= size:
            return samples, 1, 1
        last = int((samples - size) / (self.hop * rate)) + 1
        while round(last * self.hop * rate) + size > samples:
            last -= 1
        rest = samples - size - round(last * self.hop * rate)
        return size, last + 1, last + 1 + (rest > _NO_REMAINDER * rate)


@dataclass(frozen=True)
class Stretch:
    """Some windows of a clip: `count` from the window `first` on; None: all that follow."""

    row: int
    first: int = 0
    count: int | None = None


@dataclass(frozen=True)
class Window:
    """A window of a clip: its place in the recording's own time, and its samples.

    Attributes:
        row: of the corpus.
        begin: seconds from the recording's start.
        end: likewise.
        wave: `(S,)` float32 at the rate asked for, or why there is none.
    """

    row: int
    begin: float
    end: float
    wave: np.ndarray | Reason


def units(corpus: Corpus, windows: Windows, most: float | None = None) -> list[list[Stretch]]:
    """Divide the windows of a corpus into units of about `most` seconds (`UNIT_SECONDS`), in the order of the corpus.

    Raises:
        ConfigError: clips are to stay whole and one is longer than a minute.
    """
    found: list[list[Stretch]] = [[]]
    room = most = UNIT_SECONDS if most is None else most
    for row, seconds in enumerate(corpus.column("seconds")):
        if windows.seconds is None and seconds > LONGEST_WHOLE:
            raise ConfigError(
                f"{corpus[row].file} is {seconds:.0f} s long, and the model scores whole clips of at most "
                f"{LONGEST_WHOLE:g} s; set --segment to the seconds of a window, such as the length of the clips that "
                "the model was fitted on"
            )
        size = min(seconds, windows.seconds or seconds)
        left, first = windows.count(round(seconds * 1000), 1000), 0
        while left:
            if room < size and found[-1]:
                found.append([])
                room = most
            count = min(left, max(1, int(room / max(size, 1e-3))))
            last = count == left
            found[-1].append(Stretch(row, first, None if last else count))
            first, left, room = first + count, left - count, room - count * size
    return found if found[-1] else found[:-1]


class WindowReader:
    """Reads windows of a corpus, stretch after stretch.

    Args:
        corpus: the clips.
        windows: their windows.
        rate: of the samples, in Hz.
        context: further windows on each side of a stretch.
    """

    def __init__(self, corpus: Corpus, windows: Windows, rate: int, context: int = 0) -> None:
        self._corpus, self._windows, self._rate, self._context = corpus, windows, rate, context
        self._expansion = expansions(corpus)
        # Kept open between stretches: some formats are only decoded from their beginning on.
        self._open: tuple[int, AudioStream] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file that is open."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def core(self, stretch: Stretch) -> tuple[float, float]:
        """Return where a stretch without its context begins and ends, in seconds of the recording's own time.

        Stretches of a clip cover it without a gap.

        Raises:
            AudioError: the recording can't be read.
        """
        _, rate, begin, samples = self._clip(stretch.row)
        places = (stretch.first, None if stretch.count is None else stretch.first + stretch.count)
        ends = [samples if place is None else self._start(place, samples, rate) for place in places]
        return (begin + ends[0]) / rate, (begin + ends[1]) / rate

    def _start(self, place: int, samples: int, rate: int) -> int:
        return next((start for start, _ in self._windows.ranges(samples, rate, place, place + 1)), samples)

    def read(self, stretch: Stretch) -> Iterator[Window]:
        """Yield the windows of a stretch in order; those that can't be used have a reason instead of samples."""
        row = stretch.row
        try:
            stream, rate, begin, samples = self._clip(row)
        except AudioError as error:
            start, seconds = (float(self._corpus.table.column(n)[row].as_py()) for n in ("start", "seconds"))
            yield from (
                Window(row, start + b / 1000, start + (b + n) / 1000, error.reason)
                for b, n in self._some(stretch, round(seconds * 1000), 1000)
            )
            return
        ranges = [(begin + b, n) for b, n in self._some(stretch, samples, rate)]
        done = 0
        try:
            for window in _cut(stream, ranges, rate, row):
                yield window
                done += 1
        except AudioError as error:
            yield from (Window(row, b / rate, (b + n) / rate, error.reason) for b, n in ranges[done:])

    def _some(self, stretch: Stretch, samples: int, rate: int) -> Sequence[tuple[int, int]]:
        end = None if stretch.count is None else stretch.first + stretch.count + self._context
        return self._windows.ranges(samples, rate, max(0, stretch.first - self._context), end)

    def _clip(self, row: int) -> tuple[AudioStream, int, int, int]:
        """Return a clip's stream, its rate of decoding, first sample and number of samples at that rate."""
        corpus = self._corpus
        data = corpus.table.slice(row, 1).to_pylist()[0]
        if self._open is None or self._open[0] != row:
            self.close()
            source = corpus.stores[data["_store"]].read(Place(data["_key"], data["_offset"], data["_size"]))
            self._open = row, AudioStream(source, reading_of(data)[0])
        stream = self._open[1]
        rate = round(self._rate * self._expansion[row])
        samples = stream.length(rate)
        if data["_whole"]:
            return stream, rate, 0, samples
        begin, end = round(data["start"] * rate), round((data["start"] + data["seconds"]) * rate)
        if begin >= samples:
            raise AudioError(
                f"a clip starts at {data['start']:g} s, the recording ends at {samples / rate:.3f} s; correct the "
                "start in the corpus table",
                cause="after the end",
            )
        return stream, rate, begin, max(1, min(end, samples) - begin)


def _cut(stream: AudioStream, ranges: Sequence[tuple[int, int]], rate: int, row: int) -> Iterator[Window]:
    if not ranges:
        return
    first, last = ranges[0][0], max(b + n for b, n in ranges)
    pieces = stream.pieces(first, last, rate)
    held, begin = np.zeros(0, np.float32), first
    for start, size in ranges:
        parts, end = [held[start - begin :]], begin + len(held)
        while end < start + size:
            piece = next(pieces)
            parts.append(piece[max(0, start - end) :])
            end += len(piece)
        held, begin = np.concatenate(parts) if len(parts) > 1 else parts[0], start
        b, e = start / rate, (start + size) / rate
        bad = next((d for d in stream.damage if d.begin < e * stream.rate and d.end > b * stream.rate), None)
        yield Window(row, b, e, held[:size].copy() if bad is None else bad.reason)
