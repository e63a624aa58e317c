"""Formats that libsndfile lacks (AAC in M4A and 3GP, WMA, WebM, AMR, WavPack ...), decoded by PyAV, an extra."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from auricle.audio.identify import EXTRA, conversion
from auricle.audio.recording import BLOCK, FASTEST, IN_PART, MOST_CHANNELS, SCARCE, SLOWEST, Recording, Source, name_of
from auricle.errors import AudioError, MissingExtraError, Reason
from auricle.extras import require
from auricle.words import counted

# Full scale of integer samples.
_SCALES = {"u8": 128.0, "s16": 32768.0, "s32": 2147483648.0}
# The last frame of a codec is often part padding; the header of MP4 knows how much.
_CODEC_FRAME = 4096
# Containers whose header states the duration; of the others it is an estimate from the bit rate.
_STATES_DURATION = {"mp4", "matroska", "wv", "ogg"}


class _Facts(NamedTuple):
    rate: int
    channels: int
    format: str
    frames: int
    promised: int
    hole: int | None  # samples before the first ones that are missing
    notes: tuple[Reason, ...]


# Counting the samples decodes the file: the facts of this many are kept.
_KEPT: dict[tuple[Path, int, int], _Facts] = {}
_MOST_KEPT = 1 << 16


class ForeignRecording(Recording):
    """The first sound track of a file, decoded from its beginning: these formats don't seek exactly."""

    def __init__(self, source: Source, kind: str, notes: tuple[Reason, ...] = ()) -> None:
        """Read the header, and count the samples (the count is kept as long as the file does not change).

        Raises:
            AudioError: PyAV is not installed, or can't read the file, or parts are missing at places not known.
        """
        self.name = name_of(source)
        try:
            self._av = require("av", extra=EXTRA)
        except MissingExtraError as error:
            raise AudioError(
                f"{kind}, which needs an extra: pip install 'auricle[{EXTRA}]'; or convert it: {conversion(source)}",
                self.name,
                "needs an extra",
            ) from error
        self._av.logging.set_level(self._av.logging.PANIC)
        self._source, self._kind = source, kind
        if isinstance(source, bytes):
            facts = self._facts()
        else:
            path = Path(source)
            found = path.stat()
            key = (path.absolute(), found.st_mtime_ns, found.st_size)
            facts = _KEPT.get(key) or self._facts()
            if len(_KEPT) < _MOST_KEPT:
                _KEPT[key] = facts
        self.rate, self.channels, self.format, self.frames, self.promised, self._hole, said = facts
        self.floats, self.notes, self.slack = False, [*notes, *said], _CODEC_FRAME

    def _facts(self) -> _Facts:
        rate = channels = there = missing = stated = 0
        codec, hole = "", None
        notes: list[Reason] = []
        containers: set[str] = set()
        for frame, stream, gap in self._frames(notes):
            if not rate:
                rate, channels, codec = frame.sample_rate, frame.layout.nb_channels, stream.codec_context.name
                containers = set(stream.container.format.name.split(","))
                if containers & _STATES_DURATION:
                    stated = _stated(stream, rate)
                if not (SLOWEST <= rate <= FASTEST and channels <= MOST_CHANNELS):
                    break  # `check` refuses it
            if gap and hole is None:
                hole = there
            missing += gap
            there += gap + frame.samples
        if not there:
            raise AudioError(f"no samples of sound ({self._kind}); drop it from the corpus", self.name)
        if "ogg" in containers and stated - there > _CODEC_FRAME:
            # The duration is the time of the last page, and the frames have no times of their own.
            raise AudioError(
                f"damaged in its middle: {there:,} of {stated:,} samples decode, and their places are not known; copy "
                "it again from its source",
                self.name,
            )
        # In MP4 the end of the last frame is padding, by the header's duration.
        frames = min(there, stated) if stated and ("mp4" in containers or hole is not None) else there
        if hole is not None:
            said = f"damaged at {hole / rate:.3f} s: {missing:,} of its samples are missing from there on"
            notes.insert(0, Reason(said, IN_PART))
            if frames - hole <= _CODEC_FRAME:
                frames = hole
            if not frames:
                raise AudioError("damaged from its first sample on; copy it again from its source", self.name)
        return _Facts(rate, channels, codec.upper(), frames, max(frames, stated), hole, tuple(notes))

    def _frames(self, notes: list[Reason] | None = None) -> Iterator[tuple[Any, Any, int]]:
        """Yield decoded frames with the samples that are missing before each, by its time.

        A damaged packet is left out, and a change of rate or channels ends it: `notes` say so.
        """
        said = [] if notes is None else notes
        opened = io.BytesIO(self._source) if isinstance(self._source, bytes) else os.fspath(self._source)
        shape: tuple[int, int] | None = None
        due: float | None = None
        bad = 0
        try:
            with self._av.open(opened, metadata_errors="ignore") as container:
                if not container.streams.audio:
                    raise AudioError(f"no sound track ({self._kind}); drop it from the corpus", self.name)
                stream = container.streams.audio[0]
                for packet in container.demux(stream):
                    try:
                        frames = packet.decode()
                    except self._av.error.FFmpegError:
                        bad += 1
                        continue
                    for frame in frames:
                        found = (frame.sample_rate, frame.layout.nb_channels)
                        if shape is not None and found != shape:
                            said.append(Reason("read up to where its rate or number of channels changes", IN_PART))
                            return
                        shape = found
                        if due is None and bad:
                            due = 0.0
                        gap, due = _gap(frame, due)
                        yield frame, stream, gap
        except (AudioError, MemoryError):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in SCARCE:
                raise
            if shape is None:
                raise AudioError(
                    f"damaged, or not readable as {self._kind} ({type(error).__name__}); copy it again from its source",
                    self.name,
                ) from error
            said.append(Reason(f"read up to where its container is damaged ({type(error).__name__})", IN_PART))
        if bad:
            said.append(Reason(f"{counted(bad, 'damaged packet')} left out", IN_PART))

    def blocks(self, begin: int, end: int) -> Iterator[np.ndarray]:
        at = 0
        for frame, _, gap in self._frames():
            if at >= end:
                return
            if gap:
                break
            wave = _samples(frame)
            first, last = max(0, begin - at), min(len(wave), end - at)
            if first < last:
                yield from (wave[i : min(i + BLOCK, last)] for i in range(first, last, BLOCK))
            at += len(wave)
        if at < end:
            self.ended = at

    def surviving(self, begin: int, end: int) -> Iterator[tuple[int, np.ndarray]]:
        at = 0
        for frame, _, gap in self._frames():
            at += gap
            if at >= end:
                return
            wave = _samples(frame)
            first, last = max(0, begin - at), min(len(wave), end - at)
            if first < last:
                yield at + first, wave[first:last]
            at += len(wave)

    def reaches(self, frame: int) -> bool:
        return frame < self.frames


def _stated(stream: Any, rate: int) -> int:
    """Return the samples of the duration that a header states; 0: none."""
    seconds = stream.duration * stream.time_base if stream.duration else (stream.container.duration or 0) / 1e6
    return max(0, round(float(seconds) * rate))


def _gap(frame: Any, due: float | None) -> tuple[int, float | None]:
    """Return the samples missing between the time at which a frame is due and its own, and when the next one is due.

    Times are in seconds; a frame without one comes when it is due.
    """
    seconds = frame.samples / frame.sample_rate
    time = due if frame.pts is None else float(frame.pts * frame.time_base)
    if time is None or due is None:
        return 0, None if time is None else time + seconds
    # Times may be rounded to milliseconds, and a first frame may lack what its encoder put before the sound.
    tolerance = max(2 * float(frame.time_base or 0), seconds / 2)
    gap = time - due if time - due > tolerance else 0.0
    return round(gap * frame.sample_rate), time + seconds


def _samples(frame: Any) -> np.ndarray:
    """Return a decoded frame as float32 `(n, channels)` with full scale 1."""
    values = frame.to_ndarray()
    values = values.T if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)
    scale = _SCALES.get(frame.format.name.removesuffix("p"))
    wave = values.astype(np.float32)
    if scale is not None:
        wave = (wave - np.float32(128 if scale == 128.0 else 0)) / np.float32(scale)
    return np.ascontiguousarray(wave)
