"""Formats that libsndfile lacks (AAC in M4A and 3GP, WMA, WebM, AMR, WavPack ...), decoded by PyAV, an extra."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from auricle.audio.identify import EXTRA, conversion
from auricle.audio.recording import BLOCK, FASTEST, MOST_CHANNELS, SLOWEST, Recording, Source, name_of
from auricle.errors import AudioError, MissingExtraError
from auricle.extras import require

# Full scale of integer samples.
_SCALES = {"u8": 128.0, "s16": 32768.0, "s32": 2147483648.0}
# The last frame of a codec is often part padding; the header of MP4 knows how much.
_CODEC_FRAME = 4096
# Counting the samples decodes the file: the facts of this many are kept.
_KEPT: dict[tuple[Path, int, int], tuple[int, int, str, int, int]] = {}
_MOST_KEPT = 1 << 16


class ForeignRecording(Recording):
    """The first sound track of a file, decoded from its beginning: these formats don't seek exactly."""

    def __init__(self, source: Source, kind: str) -> None:
        """Read the header, and count the samples (the count is kept as long as the file does not change).

        Raises:
            AudioError: PyAV is not installed, or can't read the file.
        """
        self.name = name_of(source)
        try:
            self._av = require("av", extra=EXTRA)
        except MissingExtraError as error:
            raise AudioError(
                f"{kind}, which needs an extra: pip install 'auricle[{EXTRA}]'; or convert it: {conversion(source)}",
                self.name,
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
        self.rate, self.channels, self.format, self.frames, self.promised = facts
        self.floats, self.notes, self.slack = False, [], _CODEC_FRAME

    def _facts(self) -> tuple[int, int, str, int, int]:
        rate = channels = count = 0
        codec, stated = "", -1
        for frame, stream in self._frames():
            if not rate:
                rate, channels, codec = frame.sample_rate, frame.layout.nb_channels, stream.codec_context.name
                if stream.duration and "mp4" in stream.container.format.name:
                    stated = round(float(stream.duration * stream.time_base) * rate)
                if not (SLOWEST <= rate <= FASTEST and channels <= MOST_CHANNELS):
                    break  # `check` refuses it
            count += frame.samples
        if not count:
            raise AudioError(f"no samples of sound ({self._kind}); drop it from the corpus", self.name)
        # In MP4 the end of the last frame is padding, by the header's duration.
        frames = min(count, stated) if stated > 0 else count
        return rate, channels, codec.upper(), frames, max(frames, stated)

    def _frames(self) -> Iterator[tuple[Any, Any]]:
        """Yield decoded frames; a damaged packet is left out, and a change of rate or channels ends it."""
        opened = io.BytesIO(self._source) if isinstance(self._source, bytes) else os.fspath(self._source)
        shape: tuple[int, int] | None = None
        try:
            with self._av.open(opened, metadata_errors="ignore") as container:
                if not container.streams.audio:
                    raise AudioError(f"no sound track ({self._kind}); drop it from the corpus", self.name)
                stream = container.streams.audio[0]
                for packet in container.demux(stream):
                    try:
                        frames = packet.decode()
                    except self._av.error.InvalidDataError:
                        continue
                    for frame in frames:
                        found = (frame.sample_rate, frame.layout.nb_channels)
                        if shape is not None and found != shape:
                            return
                        shape = found
                        yield frame, stream
        except AudioError:
            raise
        except MemoryError:
            raise
        except Exception as error:
            if shape is None:
                raise AudioError(
                    f"damaged, or not readable as {self._kind} ({type(error).__name__}); copy it again from its source",
                    self.name,
                ) from error

    def blocks(self, begin: int, end: int) -> Iterator[np.ndarray]:
        at = 0
        for frame, _ in self._frames():
            if at >= end:
                return
            wave = _samples(frame)
            first, last = max(0, begin - at), min(len(wave), end - at)
            if first < last:
                yield from (wave[i : min(i + BLOCK, last)] for i in range(first, last, BLOCK))
            at += len(wave)
        if at < end:
            self.ended = at

    def reaches(self, frame: int) -> bool:
        return frame < self.frames


def _samples(frame: Any) -> np.ndarray:
    """Return a decoded frame as float32 `(n, channels)` with full scale 1."""
    values = frame.to_ndarray()
    values = values.T if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)
    scale = _SCALES.get(frame.format.name.removesuffix("p"))
    wave = values.astype(np.float32)
    if scale is not None:
        wave = (wave - np.float32(128 if scale == 128.0 else 0)) / np.float32(scale)
    return np.ascontiguousarray(wave)
