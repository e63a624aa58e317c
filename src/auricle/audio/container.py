"""What a file really holds, whatever its header says: the streams in it, and notes on what is missing or left over.

Recorders that lose power, pipes and copies that break off leave headers with a size of 0, of all ones, or of more than
there is. One rule for all containers: what is there is read, and what is missing is said.
"""

from __future__ import annotations

import io
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from auricle.audio.mpeg import id3_size, mpeg_layout
from auricle.audio.recording import IN_PART
from auricle.audio.spliced import STRAY, Layout, Stream
from auricle.audio.voc import MAGIC, voc_layout
from auricle.errors import Reason

# Recorders and encoders that write to a pipe can't know the size; they write values of at least this.
_UNKNOWN_SIZE = 0x7FFFF000
_FLAC = b"fLaC\x00\x00\x00\x22"
_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
_MPEG_TAGS = (0x50, 0x55)


@dataclass(frozen=True)
class _Data:
    """The samples of a container: their place, the size it states, and the field that states it (place, width).

    `before` counts the bytes of their chunk before them, which its size includes; `header` those of the head of each
    chunk, 0 where no chunks can follow. `frames` are those that a table of packets states (0: none that is read), None
    where their number follows from the bytes.
    """

    start: int
    stated: int
    field: tuple[int, int]
    order: Literal["little", "big"]
    header: int = 8
    unknown: bool = False
    mpeg: bool = False
    before: int = 0
    frames: int | None = None


def lay_out(stream: io.BytesIO | io.FileIO) -> Layout:
    """Return what a stream holds. Its position changes.

    A container that is not known here is one stream, as it is.

    Examples:
        >>> len(lay_out(io.BytesIO(b"no audio")).streams)
        1
    """
    size = stream.seek(0, os.SEEK_END)
    head = _at(stream, 0, 64)
    if head[:4] == b"OggS":
        with _content(stream) as data:
            return _links(data)
    if head[:8] == _FLAC:
        with _content(stream) as data:
            left = _behind_flac(data)
        said = f"at least {left:,} bytes behind its last frame are no audio and were not read"
        return Layout(notes=(Reason(said, "stray bytes"),) if left > STRAY else ())
    if head.startswith(MAGIC):
        return voc_layout(stream, head)
    data_chunk = _find_data(stream, head, size)
    if data_chunk is not None:
        if data_chunk.mpeg:
            with _content(stream) as data:
                end = min(size, data_chunk.start + data_chunk.stated) if data_chunk.stated else size
                return mpeg_layout(data, data_chunk.start, end) or Layout()
        return _by_size(stream, data_chunk, size)
    if head[:3] == b"ID3" or not _has_magic(head):
        with _content(stream) as data:
            tag = id3_size(head)
            if bytes(data[tag : tag + 4]) != b"fLaC":
                return mpeg_layout(data, 0, size) or Layout()
    return Layout()


def joined_flac(stream: io.BytesIO | io.FileIO) -> int:
    """Return how many FLAC streams follow the first one, which no decoder reaches; reads the whole file."""
    if _at(stream, 0, 4) != _FLAC[:4]:
        return 0
    with _content(stream) as data:
        count, place = 0, data.find(_FLAC, 4)
        while place >= 0:
            count, place = count + 1, data.find(_FLAC, place + 4)
        return count


def _behind_flac(data: bytes | mmap.mmap) -> int:
    """Return how many bytes at least follow the last frame and are no tag; 0 where that is not known."""
    longest, end = int.from_bytes(data[15:18], "big"), len(data)
    if data[max(0, end - 128) : end - 125] == b"TAG":
        end -= 128
    if data[max(0, end - 32) : end - 24] == b"APETAGEX":
        end -= 32 + int.from_bytes(data[end - 20 : end - 16], "little")
    start, kind = 4, 0
    while kind < 0x80 and start + 4 <= end:
        kind, start = data[start], start + 4 + int.from_bytes(data[start + 1 : start + 4], "big")
    mark, place = bytes(data[start : start + 2]), end - 16
    if not longest or len(mark) < 2 or mark[0] != 0xFF:
        return 0
    # The mark and a sum of 8 bits: in junk one place in sixteen million looks like a frame.
    for _ in range(1000):
        place = data.rfind(mark, start, max(start, place))
        if place < 0:
            break
        first = data[place + 4]
        coded = next((n for n in range(8) if not first << n & 0x80), 8)
        size = 4 + max(1, coded) + {6: 1, 7: 2}.get(data[place + 2] >> 4, 0)
        size += {12: 1, 13: 2, 14: 2}.get(data[place + 2] & 15, 0)
        if _sum8(data[place : place + size]) == data[place + size]:
            return max(0, end - place - longest)
    return 0


def _sum8(head: bytes) -> int:
    found = 0
    for byte in head:
        found ^= byte
        for _ in range(8):
            found = (found << 1 ^ 7 * (found >> 7)) & 0xFF
    return found


@contextmanager
def _content(stream: io.BytesIO | io.FileIO) -> Iterator[bytes | mmap.mmap]:
    """Hold the whole content of a stream, in memory or mapped."""
    if isinstance(stream, io.BytesIO):
        yield stream.getvalue()
        return
    with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        yield content


def _at(stream: io.BytesIO | io.FileIO, place: int, count: int) -> bytes:
    stream.seek(place)
    return stream.read(count)


def _has_magic(head: bytes) -> bool:
    """Return whether the first bytes are those of a container, so that the rest is no bare stream of MPEG frames."""
    known = (b"fLaC", b"RIFF", b"RF64", b"FORM", b"caff", b"riff", b".snd", b"dns.", b"NIST", b"wvpk", b"\x1aE\xdf\xa3")
    return head.startswith(known) or head[4:8] == b"ftyp" or head[:5] in (b"#!AMR", b"MThd\x00")


def _find_data(stream: io.BytesIO | io.FileIO, head: bytes, size: int) -> _Data | None:
    if head[:4] in (b"RIFF", b"RF64", b"BW64", b"RIFX") and head[8:12] == b"WAVE":
        return _chunk(stream, size, "big" if head[:4] == b"RIFX" else "little", b"data")
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _chunk(stream, size, "big", b"SSND")
    if head[:4] == b"caff":
        return _caf(stream, size)
    if head[:4] == b"riff" and head[24:28] == b"wave":
        return _wave64(stream, size)
    if head[:4] in (b".snd", b"dns.") and len(head) >= 12:
        order: Literal["little", "big"] = "big" if head[:1] == b"." else "little"
        stated = int.from_bytes(head[8:12], order)
        return _Data(int.from_bytes(head[4:8], order), stated, (8, 4), order, 0, stated == 0xFFFFFFFF)
    if head[:7] == b"NIST_1A":
        return _sphere(stream)
    return None


def _chunk(stream: io.BytesIO | io.FileIO, size: int, order: Literal["little", "big"], wanted: bytes) -> _Data | None:
    place, mpeg = 12, False
    long_size: int | None = None
    for _ in range(10000):  # A damaged file may hold millions of empty chunks.
        if place + 8 > size:
            return None
        head = _at(stream, place, 24)
        length = int.from_bytes(head[4:8], order)
        if head[:4] == b"ds64":
            long_size, long_place = int.from_bytes(head[16:24], "little"), place + 16
        if head[:4] == b"fmt ":
            mpeg = int.from_bytes(head[8:10], order) in _MPEG_TAGS
        if head[:4] == wanted:
            if long_size is not None and length == 0xFFFFFFFF:
                return _Data(place + 8, long_size, (long_place, 8), "little", mpeg=mpeg)
            unknown = length >= _UNKNOWN_SIZE and place + 8 + length > size
            before = 8 if wanted == b"SSND" else 0
            stated = max(0, length - before)
            return _Data(place + 8 + before, stated, (place + 4, 4), order, unknown=unknown, mpeg=mpeg, before=before)
        place += 8 + length + length % 2
    return None


def _caf(stream: io.BytesIO | io.FileIO, size: int) -> _Data | None:
    place, frames = 8, None
    for _ in range(10000):
        if place + 12 > size:
            return None
        head = _at(stream, place, 12)
        length = int.from_bytes(head[4:], "big")
        if head[:4] == b"desc" and _at(stream, place + 20, 4) not in (b"lpcm", b"ulaw", b"alaw"):
            frames = 0
        if head[:4] == b"pakt" and frames is not None:
            frames = int.from_bytes(_at(stream, place + 20, 8), "big")
        if head[:4] == b"data":
            unknown = length == (1 << 64) - 1
            return _Data(place + 16, max(0, length - 4), (place + 4, 8), "big", 12, unknown, before=4, frames=frames)
        place += 12 + length
    return None


def _wave64(stream: io.BytesIO | io.FileIO, size: int) -> _Data | None:
    place = 40
    for _ in range(10000):
        if place + 24 > size:
            return None
        head = _at(stream, place, 24)
        length = int.from_bytes(head[16:], "little")
        if head[:16] == _W64_DATA:
            # Chunks of this container include their own header.
            return _Data(place + 24, max(0, length - 24), (-1, 0), "little", 24, length >= (1 << 63) - 1)
        place += max(24, length + -length % 8)
    return None


def _sphere(stream: io.BytesIO | io.FileIO) -> _Data | None:
    lines = _at(stream, 0, 1024).split(b"\n")
    fields = {parts[0]: parts[2] for line in lines if len(parts := line.split(None, 2)) == 3}
    try:
        start = int(lines[1])
        width = int(fields[b"sample_n_bytes"]) * int(fields.get(b"channel_count", b"1"))
        return _Data(start, int(fields[b"sample_count"]) * width, (-1, 0), "little", header=0)
    except (KeyError, ValueError, IndexError):
        return None


def _by_size(stream: io.BytesIO | io.FileIO, found: _Data, size: int) -> Layout:
    """Compare what the container states with what is there."""
    there = size - found.start
    if found.unknown:
        # Most decoders read to the end; this one refuses such a CAF.
        return Layout((_patched(stream, found, there, size, 1.0),)) if found.before == 4 and there > 0 else Layout()
    if found.stated >= there:
        # A size that counts the header, too, is that of a whole file.
        counted = found.stated in (size, size - 8, there) or there <= 0
        promised = 1.0 if counted else found.stated / there
        patch = found.stated > there > 0 and found.before == 4
        return Layout((_patched(stream, found, there, size, promised) if patch else Stream(promised=promised),))
    # Behind the samples of W64 and SPHERE libsndfile reads on to the end of the file.
    read = (Stream(((0, found.start + found.stated),) if found.field[0] < 0 else ()),)
    left = there - found.stated
    if (found.header and _are_chunks(stream, found, size)) or left < STRAY:
        return Layout(read)
    if left > found.stated and not _is_zero(stream, found.start + found.stated, size):
        said = f"its header states {found.stated:,} bytes of samples and {left:,} more follow, which are no chunk"
        note = Reason(f"read to the end of the file: {said}", "wrong size in the header")
        return Layout((_patched(stream, found, there, size, 1.0),), (note,))
    said = f"{left:,} bytes behind its samples are no chunk and were not read"
    return Layout(read, (Reason(said, "stray bytes"),))


def _patched(stream: io.BytesIO | io.FileIO, found: _Data, there: int, size: int, promised: float) -> Stream:
    """Return the stream with its true size in the header, as far as its field can hold it."""
    place, width = found.field
    if place < 0:
        return Stream(promised=promised)
    value = min(there + found.before, (1 << 8 * width) - 1)
    # libsndfile refuses a CAF whose size is not exact, and reads the others to their end.
    spans = (_at(stream, 0, place), value.to_bytes(width, found.order), (place + width, size))
    return Stream(spans, promised=promised, stated=found.frames)


def _are_chunks(stream: io.BytesIO | io.FileIO, found: _Data, size: int) -> bool:
    """Return whether chunks follow the samples up to the end, with or without padding before the first."""
    name = 16 if found.header == 24 else 4
    even = {8: 2, 12: 1, 24: 8}[found.header]
    for padding in {0, 1, -found.stated % even}:
        place, count = found.start + found.stated + padding, 0
        while place + found.header <= size and count < 10000:
            head = _at(stream, place, found.header)
            if not all(32 <= byte < 127 for byte in head[:4]):
                break
            length = int.from_bytes(head[name:], found.order)
            length = max(length, 24) if found.header == 24 else found.header + length
            place += length + -length % even
            count += 1
        # The last one may be cut, or lack its padding.
        if count and size - 8 < place <= size + 1:
            return True
    return False


def _is_zero(stream: io.BytesIO | io.FileIO, begin: int, end: int) -> bool:
    """Return whether pieces of a range are zeros: space that a recorder reserved and never wrote."""
    piece = 1 << 16
    return not any(
        any(_at(stream, place, min(piece, end - place)))
        for place in {begin, (begin + end) // 2, max(begin, end - piece)}
    )


def _links(data: bytes | mmap.mmap) -> Layout:
    """Divide an Ogg file into the links of a chain, each with its own beginning."""
    starts, place, inside, junk, missing = [0], 0, False, 0, 0
    end = len(data)
    for place, size, first in _pages(data):
        if size < 0:
            junk += -size
            continue
        if first and inside:
            starts.append(place)
        inside = not first
        missing = max(0, place + size - end)
    notes = []
    if missing:
        said = f"partly read: it ends inside an Ogg page, {missing:,} bytes before the end of that page"
        notes.append(Reason(said, IN_PART))
    if junk > STRAY:
        notes.append(Reason(f"{junk:,} bytes between its Ogg pages are no audio and were skipped", "stray bytes"))
    if len(starts) == 1:
        return Layout(notes=tuple(notes))
    notes.append(Reason(f"{len(starts)} Ogg streams follow each other in it", "joined"))
    spans = zip(starts, [*starts[1:], end], strict=True)
    return Layout(tuple(Stream(((begin, stop),)) for begin, stop in spans), tuple(notes))


def _pages(data: bytes | mmap.mmap) -> Iterator[tuple[int, int, bool]]:
    """Yield each page's place, its bytes (negative: bytes that are no page) and whether it begins a stream."""
    place, end = 0, len(data)
    while place < end:
        if data[place : place + 4] != b"OggS":
            found = data.find(b"OggS", place)
            found = end if found < 0 else found
            yield place, place - found, False
            place = found
            continue
        head = data[place : place + 27]
        segments = head[26] if len(head) == 27 else 0
        table = data[place + 27 : place + 27 + segments]
        size = 27 + segments + sum(table)
        yield place, size, len(head) == 27 and bool(head[5] & 2)
        place += size
