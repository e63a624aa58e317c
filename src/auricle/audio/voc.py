"""The blocks of a Creative Voice file, which libsndfile takes to be one block that reaches to the end of the file."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from itertools import takewhile
from typing import NamedTuple

from auricle.audio.recording import IN_PART
from auricle.audio.spliced import STRAY, Layout, Span, Stream
from auricle.errors import Reason

MAGIC = b"Creative Voice File\x1a"
_END, _SOUND, _MORE, _SILENCE, _EXTENDED, _NEW_SOUND = 0, 1, 2, 3, 8, 9
# Marker, text, begin and end of a repetition: none of them holds samples.
_WITHOUT_SAMPLES = (4, 5, 6, 7)
# Bytes of a block that say what it holds; one that ends before them is cut off.
_FACTS = {_SOUND: 2, _SILENCE: 3, _EXTENDED: 4, _NEW_SOUND: 12}
# As coded in blocks of both kinds -> bits of a sample: unsigned, signed, A-law, mu-law. Others are ADPCM, which
# libsndfile takes to be unsigned samples in blocks of the older kind.
_BITS = {0: 8, 4: 16, 6: 8, 7: 8}
_ZERO = {0: b"\x80", 4: b"\x00", 6: b"\xd5", 7: b"\xff"}
_MOST_BLOCKS = 100_000
# Bytes of silence that are written out: a block of seven bytes may stand for millions.
_MOST_SILENCE = 1 << 26


class _Kind(NamedTuple):
    rate: int
    channels: int
    codec: int


def voc_layout(stream: io.BytesIO | io.FileIO, head: bytes) -> Layout:
    """Return the streams of a Creative Voice file: blocks of one kind that follow each other, as one block each.

    Silence is written out; what follows the end, and whatever is no block, is not read. The position changes.
    """
    size = stream.seek(0, os.SEEK_END)
    found: list[tuple[_Kind, list[Span], list[int]]] = []
    extended: _Kind | None = None
    silence, waiting, place = 0, 0, size
    for place, block, length in _blocks(stream, int.from_bytes(head[20:22], "little"), size):
        stream.seek(place - length)
        begin, end = place - length, min(place, size)
        facts = stream.read(min(12, length))
        if len(facts) < _FACTS.get(block, 0):
            if found:
                found[-1][2][1] += max(1, length - _FACTS[block])
        elif block == _EXTENDED:
            channels = facts[3] + 1
            rate = 256_000_000 // (channels * (65536 - int.from_bytes(facts[:2], "little")))
            extended = _Kind(rate, channels, facts[2])
        elif block == _SOUND:
            kind = extended or _Kind(1_000_000 // (256 - facts[0]), 1, facts[1])
            extended, begin = None, begin + 2
            _add(found, kind, begin, end, place)
        elif block == _NEW_SOUND:
            kind = _Kind(int.from_bytes(facts[:4], "little"), facts[5], int.from_bytes(facts[6:8], "little"))
            _add(found, kind, begin + 12, end, place)
        elif block == _MORE and found:
            _add(found, found[-1][0], begin, end, place)
        elif block == _SILENCE:
            waiting += (int.from_bytes(facts[:2], "little") + 1) * (256 - facts[2])
        if waiting and found and found[-1][0].codec in _BITS:
            (kind, spans, _), microseconds, waiting = found[-1], waiting, 0
            width = microseconds * kind.rate // 1_000_000 * kind.channels * _BITS[kind.codec] // 8
            silence += width
            if silence <= _MOST_SILENCE:
                # Where silence comes first, its samples are those of the sound after it.
                spans.insert(len(spans) if block == _SILENCE else 0, _ZERO[kind.codec] * width)
    if not found:
        return Layout()  # libsndfile says what it does not read
    streams = [_stream(*each) for each in takewhile(lambda each: each[0].codec in _BITS, found)]
    if not streams:
        # No command is named: ffmpeg passes over silence, and over the codec of an extended block.
        said = f"codec {found[0][0].codec}, which is compressed (Creative ADPCM) or not known"
        expected = "expected samples that are not compressed; convert it, or drop it from the corpus"
        return Layout(refused=Reason(f"{said}; {expected}", "compressed"))
    notes, left = [], size - place - 1
    if len(streams) < len(found):
        notes.append(
            Reason("read up to where its samples are compressed (Creative ADPCM), or of a codec not known", IN_PART)
        )
    if silence > _MOST_SILENCE:
        notes.append(Reason(f"partly read: it states {silence:,} bytes of silence, not all of it was read", IN_PART))
    if left > STRAY:
        notes.append(Reason(f"{left:,} bytes behind its last block are no audio and were not read", "stray bytes"))
    return Layout(tuple(streams), tuple(notes))


def _blocks(stream: io.BytesIO | io.FileIO, place: int, size: int) -> Iterator[tuple[int, int, int]]:
    """Yield the end of each block, its type and the bytes that it states."""
    for _ in range(_MOST_BLOCKS):
        stream.seek(place)
        head = stream.read(4)
        known = head[:1] and head[0] in (*_WITHOUT_SAMPLES, _SOUND, _MORE, _SILENCE, _EXTENDED, _NEW_SOUND)
        if len(head) < 4 or not known:
            return
        length = int.from_bytes(head[1:], "little")
        place += 4 + length
        yield place, head[0], length
        if place >= size:
            return


def _add(found: list[tuple[_Kind, list[Span], list[int]]], kind: _Kind, begin: int, end: int, stated: int) -> None:
    if not found or found[-1][0] != kind:
        found.append((kind, [], [0, 0]))
    # A sample that its block cuts off would shift all that follow.
    end -= max(0, end - begin) % max(1, kind.channels * _BITS.get(kind.codec, 8) // 8)
    if end > begin:
        found[-1][1].append((begin, end))
    found[-1][2][0] += max(0, end - begin)
    found[-1][2][1] += max(0, stated - begin)


def _stream(kind: _Kind, spans: list[Span], sizes: list[int]) -> Stream:
    """Return a file of one block of the newer kind, with true sizes."""
    count = sum(len(span) if isinstance(span, bytes) else span[1] - span[0] for span in spans)
    head = MAGIC + b"\x1a\x00\x14\x01\x1f\x11\x09" + min(count + 12, 0xFFFFFF).to_bytes(3, "little")
    head += kind.rate.to_bytes(4, "little") + bytes((_BITS[kind.codec], kind.channels))
    head += kind.codec.to_bytes(2, "little") + bytes(4)
    there, stated = sizes
    return Stream((head, *spans), promised=stated / there if there else 1.0)
