"""The frames of MPEG audio (MP3, MP2, MP1), found by walking from header to header.

A decoder takes the length from a Xing, Info or VBRI header, or else estimates it from the size of the file: both may be
wrong, and the samples beyond are then never read. Only the frames themselves are right. Files that were
joined have several such headers: each part is decoded by itself, so that its encoder's delay is removed.
"""

from __future__ import annotations

import mmap
import re
from dataclasses import dataclass, field

from auricle.audio.spliced import STRAY, Layout, Span, Stream
from auricle.errors import Reason

Content = bytes | mmap.mmap

# kbit/s by index; free format (0) and 15 are not walked.
_V1L1 = (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448)
_V1L2 = (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384)
_V1L3 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_V2L1 = (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256)
_V2L23 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
# Junk before the first frame (a page of HTML, a picture) that is searched for one.
_SEARCHED = 1 << 20
# Bytes behind the frames so far that are searched for more: the time of a search grows with them.
_SEARCHED_ON = 1 << 22
_KEPT = 2  # frames that must follow each other where the walk begins anew


@dataclass(frozen=True)
class _Kind:
    """What two bytes of a header say: bytes and samples of the frame, rate, and what stays the same in a stream."""

    size: int
    samples: int
    rate: int
    family: int


def _kinds() -> dict[int, _Kind]:
    found = {}
    for version, rates in _RATES.items():
        for layer in (1, 2, 3):  # as coded: 3 is layer I
            kilobits = {
                (3, 3): _V1L1,
                (3, 2): _V1L2,
                (3, 1): _V1L3,
            }.get((version, layer), _V2L1 if layer == 3 else _V2L23)
            samples = 384 if layer == 3 else 1152 if layer == 2 or version == 3 else 576
            for index, kilobit in list(enumerate(kilobits))[1:]:
                for place, rate in enumerate(rates):
                    for padding in (0, 1):
                        if layer == 3:
                            size = (12000 * kilobit // rate + padding) * 4
                        else:
                            size = samples // 8 * 1000 * kilobit // rate + padding
                        first = 0xE0 | version << 3 | layer << 1
                        key = first << 8 | index << 4 | place << 2 | padding << 1
                        found[key] = _Kind(size, samples, rate, first << 8 | place << 2)
    return found


_KINDS = _kinds()
_SECOND, _THIRD = (bytes(sorted({key >> shift & 0xFF | low for key in _KINDS for low in (0, 1)})) for shift in (8, 0))
# The bytes are looked at, not taken: a header may begin in the second byte of what looks like one.
_HEADERS = re.compile(b"\xff(?=[" + re.escape(_SECOND) + b"][" + re.escape(_THIRD) + b"])")


@dataclass
class Stretch:
    """Frames that one decoder reads from beginning to end.

    Attributes:
        spans: where they are, without tags and junk between them.
        frames: their number, without the header frame.
        samples: of one frame.
        rate: in Hz.
        family: version, layer, rate and whether mono: the same in all frames.
        first: bytes of its first frame.
        header: place of the length's header frame, and its bytes; None if there is none.
    """

    rate: int
    samples: int
    family: int
    first: int
    frames: int = 0
    spans: list[tuple[int, int]] = field(default_factory=list)
    header: tuple[int, bytes] | None = None

    def add(self, begin: int, end: int) -> None:
        """Append a frame."""
        if self.spans and self.spans[-1][1] == begin:
            self.spans[-1] = (self.spans[-1][0], end)
        else:
            self.spans.append((begin, end))


def walk(data: Content, begin: int = 0, end: int | None = None) -> list[Stretch]:
    """Return the stretches of MPEG frames of some content; none if there is hardly any."""
    end = len(data) if end is None else end
    found: list[Stretch] = []
    tag = id3_size(data[begin : begin + 10])
    limit = min(end, begin + _SEARCHED + tag)
    place = begin
    while place + 4 <= end:
        kind = _kind(data, place)
        if not found or kind is None or place + kind.size > end or _family(kind, data, place) != found[-1].family:
            place = _next(data, place, min(end, place + _SEARCHED_ON) if found else limit, end)
            if place < 0 and not found and tag:
                # The size of the tag may be wrong: frames may begin before its end.
                place, limit, tag = _next(data, begin + 10, min(end, begin + _SEARCHED), end), 0, 0
            kind = _kind(data, place) if 0 <= place < end else None
            if kind is None:
                break
            if not found or _family(kind, data, place) != found[-1].family:
                found.append(Stretch(kind.rate, kind.samples, _family(kind, data, place), kind.size))
        now = found[-1]
        header = _length_header(data, place, kind.size) if kind.family & 0x600 == 0x200 else None
        if header is not None:
            if now.frames or now.header:
                now = Stretch(kind.rate, kind.samples, now.family, kind.size)
                found.append(now)
            now.header = (place, header)
        else:
            now.frames += 1
        now.add(place, place + kind.size)
        place += kind.size
    return [stretch for stretch in found if stretch.frames]


def _kind(data: Content, place: int) -> _Kind | None:
    if data[place] != 0xFF:
        return None
    return _KINDS.get((data[place + 1] & 0xFE) << 8 | data[place + 2] & 0xFE)


def _family(kind: _Kind, data: Content, place: int) -> int:
    return kind.family | (data[place + 3] >> 6 == 3)


def id3_size(head: bytes) -> int:
    """Return the bytes of an ID3v2 tag from its first ten; 0 if these are none."""
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size if head[:3] == b"ID3" and len(head) >= 10 else 0


def _next(data: Content, place: int, limit: int, end: int) -> int:
    """Return the next place where some frames of one family follow each other; -1 if there is none."""
    place += id3_size(data[place : place + 10])
    for match in _HEADERS.finditer(data, place, min(limit + 2, end)):
        begin = match.start()
        at, family = begin, None
        for _ in range(1 + _KEPT):
            if at > begin and (at == end or bytes(data[at : at + 3]) in (b"TAG", b"APE", b"ID3")):
                return begin
            kind = _kind(data, at) if at + 4 <= end else None
            if kind is None or at + kind.size > end or family not in (None, _family(kind, data, at)):
                break
            if family is None and _length_header(data, at, kind.size) is not None:
                return begin
            family = _family(kind, data, at)
            at += kind.size
        else:
            return begin
    return -1


def _length_header(data: Content, place: int, size: int) -> bytes | None:
    """Return a whole frame if it is a Xing, Info or VBRI header."""
    mono = data[place + 3] >> 6 == 3
    side = (17 if mono else 32) if data[place + 1] >> 3 & 3 == 3 else (9 if mono else 17)
    at = place + 4 + side + (0 if data[place + 1] & 1 else 2)
    if bytes(data[place + 4 + side : place + 8 + side]) in (b"Xing", b"Info"):
        at = place + 4 + side
    elif bytes(data[at : at + 4]) not in (b"Xing", b"Info") and bytes(data[place + 36 : place + 40]) != b"VBRI":
        return None
    return bytes(data[place : place + size])


def corrected(stretch: Stretch) -> tuple[tuple[Span, ...], int, int | None]:
    """Return the spans of a stretch with a true length in its header, and what its header said (None: nothing).

    Without such a header a decoder estimates the length from the size: the number between is the size to claim, so that
    it reads to the end.
    """
    count = sum(end - begin for begin, end in stretch.spans)
    if stretch.header is None:
        return tuple(stretch.spans), count + (stretch.frames + 2) * stretch.first, None
    place, frame = stretch.header
    rest = _without(stretch.spans, place, len(frame))
    new = bytearray(frame)
    at = max(frame.find(b"Xing", 4, 48), frame.find(b"Info", 4, 48))
    if at >= 0:
        flags = frame[at + 7]
        if not flags & 1:
            return tuple(rest), count + (stretch.frames + 2) * stretch.first, None
        said = int.from_bytes(frame[at + 8 : at + 12])
        new[at + 8 : at + 12] = stretch.frames.to_bytes(4)
        if flags & 2:
            new[at + 12 : at + 16] = count.to_bytes(4)
    else:
        said = int.from_bytes(frame[50:54])
        new[46:54] = count.to_bytes(4) + stretch.frames.to_bytes(4)
    return (bytes(new), *rest), 0, said


def _without(spans: list[tuple[int, int]], place: int, size: int) -> list[tuple[int, int]]:
    rest = [(place + size, end) if begin == place else (begin, end) for begin, end in spans]
    return [(begin, end) for begin, end in rest if end > begin]


def mpeg_layout(data: Content, begin: int, end: int) -> Layout | None:
    """Return the streams of MPEG frames in a range of some content; None if there is hardly any."""
    stretches = walk(data, begin, end)
    if not stretches:
        return None
    first = stretches[0]
    streams, notes = [], []
    for stretch in stretches:
        spans, claimed, said = corrected(stretch)
        promised = max(1.0, said / stretch.frames) if said is not None and said > stretch.frames + 1 else 1.0
        # With a header the decoder knows what its encoder added at both ends.
        frames = stretch.frames * stretch.samples if said is None else -1
        streams.append(Stream(spans, claimed, frames, stretch.rate, promised))
    if len(stretches) == 1 and _is_plain(data, first, begin, end) and streams[0].promised == 1.0:
        streams = [Stream(frames=streams[0].frames, rate=first.rate)]
    elif len(stretches) > 1:
        notes.append(Reason(f"{len(stretches)} MPEG streams follow each other in it", "joined"))
    left = end - begin - sum(stop - start for stretch in stretches for start, stop in stretch.spans)
    inner = stretches[-1].spans[-1][1] - first.spans[0][0] - (end - begin - left)
    if inner > STRAY:
        notes.append(Reason(f"{inner:,} bytes between its frames are no audio and were skipped", "stray bytes"))
    behind = _behind(data, stretches[-1].spans[-1][1], end)
    if behind > STRAY:
        notes.append(Reason(f"{behind:,} bytes behind its last frame are no audio and were not read", "stray bytes"))
    return Layout(tuple(streams), tuple(notes))


def _behind(data: Content, place: int, end: int) -> int:
    """Return the bytes from some place on, without the tags there and a frame that the end cuts off."""
    while place < end:
        head = bytes(data[place : place + 16])
        if head[:3] == b"TAG":
            place += 128
        elif head[:8] == b"APETAGEX":
            # Its size counts its end, which is as long as this beginning.
            place += 32 + int.from_bytes(head[12:16], "little")
        elif head[:11] == b"LYRICSBEGIN":
            found = data.find(b"LYRICS200", place, end)
            place = found + 9 if found >= 0 else end
        elif head[:3] == b"ID3" and len(head) >= 10:
            place += id3_size(head)
        else:
            kind = _kind(data, place) if place + 4 <= end else None
            return 0 if kind is not None and place + kind.size > end else end - place
    return 0


def _is_plain(data: Content, stretch: Stretch, begin: int, end: int) -> bool:
    """Return whether a decoder finds the same frames, and their number, by itself and without complaint."""
    start, stop = stretch.spans[0][0], stretch.spans[-1][1]
    tag = id3_size(data[begin : begin + 10]) if begin == 0 else 0
    whole = len(stretch.spans) == 1 and begin == 0 and start == tag and (stop == end or data[stop : stop + 3] == b"TAG")
    if not whole:
        return False
    if stretch.header is None:
        return abs((stop - start) / stretch.first - stretch.frames) <= 1
    spans, _, said = corrected(stretch)
    # The bytes that a header states may include a tag, or miss a part of the last frame.
    near = said is not None and abs(said - stretch.frames) <= 1
    return near and isinstance(spans[0], bytes) and _size_fits(stretch.header[1], spans[0])


def _size_fits(old: bytes, new: bytes) -> bool:
    if len(old) != len(new):
        return False
    places = [i for i in range(len(old)) if old[i] != new[i]]
    if not places:
        return True
    # Only a count of bytes within 1 % passes: beyond, the decoder warns on the terminal.
    begin = max(old.find(b"Xing", 4, 48), old.find(b"Info", 4, 48))
    if begin < 0:
        return False
    stated, there = (int.from_bytes(frame[begin + 12 : begin + 16]) for frame in (old, new))
    return abs(stated - there) < 0.01 * there
