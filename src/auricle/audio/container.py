"""Detection of truncated files that their decoder would accept as shorter whole ones.

libsndfile corrects the length of WAV, RF64 and AIFF files that end before their data does, and takes the last page
found in an Ogg stream for the final one. FLAC and MP3 files keep the length in their header and need no check here.
"""

from __future__ import annotations

import io
import os
from typing import Literal

# Recorders and encoders that write to a pipe can't know the size; they write values of at least this.
_UNKNOWN_SIZE = 0x7FFFF000
_LARGEST_OGG_PAGE = 27 + 255 + 255 * 255


def missing_bytes(stream: io.BytesIO | io.FileIO) -> int:
    """Return the bytes of audio that the container promises beyond the end of the stream: 0 for a whole file.

    Formats other than WAV, RF64, AIFF and Ogg count as whole. The stream's position changes.
    """
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    head = stream.read(12)
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return _missing_in_chunks(stream, size, "little", b"data")
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _missing_in_chunks(stream, size, "big", b"SSND")
    if head[:4] == b"OggS":
        return _missing_in_last_page(stream, size)
    return 0


def _missing_in_chunks(
    stream: io.BytesIO | io.FileIO, size: int, order: Literal["little", "big"], wanted: bytes
) -> int:
    place = 12
    long_size: int | None = None
    while place + 8 <= size:
        stream.seek(place)
        head = stream.read(8)
        length = int.from_bytes(head[4:], order)
        if head[:4] == b"ds64":
            long_size = int.from_bytes(stream.read(16)[8:], "little")
        if head[:4] == wanted:
            if long_size is not None and length == 0xFFFFFFFF:
                length = long_size
            elif length >= _UNKNOWN_SIZE and place + 8 + length > size:
                return 0
            return max(0, place + 8 + length - size)
        place += 8 + length + length % 2
    return 0


def _missing_in_last_page(stream: io.BytesIO | io.FileIO, size: int) -> int:
    start = max(0, size - 2 * _LARGEST_OGG_PAGE)
    stream.seek(start)
    tail = stream.read()
    page = tail.rfind(b"OggS")
    if page < 0:
        return 0
    head = tail[page : page + 27]
    segments = head[26] if len(head) == 27 else 0
    table = tail[page + 27 : page + 27 + segments]
    if len(head) < 27 or len(table) < segments:
        return 27 + segments - len(head) - len(table)
    return max(0, page + 27 + segments + sum(table) - len(tail))
