"""The streams in a file, and one stream made of parts of it with other bytes between: headers corrected, no copy."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from auricle.errors import Reason

# Bytes that belong to nothing: padding and the odd stray byte are not worth a note.
STRAY = 16
# Bytes themselves, or (first, last + 1) of the other stream.
Span = bytes | tuple[int, int]


@dataclass(frozen=True)
class Stream:
    """A part of a file that is decoded by itself.

    Attributes:
        spans: its bytes; none: the file as it is.
        claimed: size that the decoder is given, see `Spliced`; 0: the true one.
        frames: samples per channel where they are known without the decoder, otherwise -1.
        rate: in Hz where it is known without the decoder, otherwise 0.
        promised: what the header promises in relation to what is there; 1: all is there.
        stated: samples per channel that a table of packets states (0: not known) where only decoding shows how many
            there are; otherwise None.
    """

    spans: tuple[Span, ...] = ()
    claimed: int = 0
    frames: int = -1
    rate: int = 0
    promised: float = 1.0
    stated: int | None = None


@dataclass(frozen=True)
class Layout:
    """The streams of a file in order, and notes about it.

    Attributes:
        streams: in order; one at least.
        notes: what is remarkable of it.
        refused: why the file can't be used, where a decoder would make noise of it.
    """

    streams: tuple[Stream, ...] = (Stream(),)
    notes: tuple[Reason, ...] = ()
    refused: Reason | None = None


class Spliced(io.RawIOBase):
    """Reads `spans` one after the other.

    Examples:
        >>> Spliced(io.BytesIO(b"0123456789"), [b"ab", (2, 5)]).read()
        b'ab234'
    """

    def __init__(self, stream: io.BytesIO | io.FileIO, spans: Sequence[Span], claimed: int = 0) -> None:
        """Read from `stream`, whose position changes; the end is said to be at `claimed` at least."""
        self._stream, self._spans = stream, tuple(spans)
        lengths = [len(span) if isinstance(span, bytes) else span[1] - span[0] for span in self._spans]
        self._ends = list(accumulate(lengths))
        self._end = max(claimed, self._ends[-1] if self._ends else 0)
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._end}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        done, begin = 0, 0
        for span, end in zip(self._spans, self._ends, strict=True):
            if self._place < end and done < len(view):
                skip, count = self._place - begin, min(end - self._place, len(view) - done)
                if isinstance(span, bytes):
                    part = span[skip : skip + count]
                else:
                    self._stream.seek(span[0] + skip)
                    part = self._stream.read(count)
                view[done : done + len(part)] = part
                done += len(part)
                self._place += len(part)
                if len(part) < count:
                    break
            begin = end
        else:
            if not done and self._ends and self._ends[-1] < self._place < self._end:
                # A decoder looks for tags at the end that was claimed; one that reads on from the last byte finds none.
                done = min(len(view), self._end - self._place)
                view[:done] = bytes(done)
                self._place += done
        return done
