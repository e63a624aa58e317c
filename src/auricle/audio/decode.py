"""Decoding of audio files to mono float32 samples at any rate, and of ranges without decoding the whole file."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import soundfile
import soxr

from auricle.audio.container import missing_bytes
from auricle.errors import AudioError, ConfigError

Source = str | os.PathLike[str] | bytes

# Samples (at the lower of the two rates) read on each side of a range for the resampling filter: beyond 256 its taps
# are below float32's resolution (measured with soxr HQ).
_MARGIN = 256
# An MP3 without a length in its header has an estimated one, up to two codec frames too long.
_MP3_SLACK = 2 * 1152
_BLOCK = 1 << 18
_UNKNOWN_FRAMES = 1 << 62
# Shortest encodings of a length: MP3 begins at 8 kbit/s, and the emptiest block of FLAC, Vorbis or Opus (no format
# has longer ones than FLAC's 65535 samples in 11 bytes) stays below this many samples a byte.
_MP3_LEAST_BYTES_PER_SECOND = 500
_MOST_SAMPLES_PER_BYTE = 8192
# Full scale is 1, and float formats may exceed it; this far beyond, squares of features overflow.
_LOUDEST = 1e4


@dataclass(frozen=True)
class FileInfo:
    """The header of a file.

    Attributes:
        frames: samples per channel.
        rate: sample rate in Hz.
        channels: number of channels.
        format: container, such as WAV, FLAC, OGG or MP3.
    """

    frames: int
    rate: int
    channels: int
    format: str

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return self.frames / self.rate


def probe(source: Source) -> FileInfo:
    """Read a file's header; its samples are not decoded, unless the header has no length.

    Args:
        source: path of a file, or its content.

    Raises:
        AudioError: missing, unreadable, truncated (as far as the container shows), without samples, or with a length
            that a file of its size can't hold.
    """
    with _opened(source) as file:
        return FileInfo(_length(file), file.samplerate, file.channels, file.format)


def decode(source: Source, *, start: float = 0.0, seconds: float | None = None, rate: int = 16000) -> np.ndarray:
    """Decode a file, or a range of it, to mono at `rate`.

    Channels are averaged, then resampled by soxr (HQ). A range equals the same range of the whole decoded file (to
    float32 rounding), but only the range and a few milliseconds around it are read. A range past the end of the file
    ends there. Every result has at least one sample.

    Args:
        source: path of a file, or its content.
        start: start of the range in seconds.
        seconds: length of the range; None: to the end.
        rate: sample rate of the result in Hz.

    Returns:
        `(S,)` float32; integer formats are scaled to [-1, 1), float formats are as stored.

    Raises:
        AudioError: missing, unreadable, truncated or damaged, without samples, with samples that are NaN, infinite or
            beyond 10000 times full scale, too long for the memory, or the range begins after the end.
        ConfigError: `start` is negative, or `seconds` or `rate` is not positive.
    """
    if not (math.isfinite(start) and start >= 0) or (seconds is not None and not seconds > 0) or rate <= 0:
        raise ConfigError(
            f"decode from {start} s for {seconds} s at {rate} Hz; expected a start from 0, a positive length and rate"
        )
    try:
        return _decode(source, start, seconds, rate)
    except MemoryError as error:
        raise AudioError("too long to decode into memory; cut it into shorter clips", _name(source)) from error


def _decode(source: Source, start: float, seconds: float | None, rate: int) -> np.ndarray:
    with _opened(source) as file:
        length, native = _length(file), file.samplerate
        total = max(1, (2 * length * rate + native) // (2 * native))
        first = round(start * rate)
        if first >= total:
            raise AudioError(
                f"a clip starts at {start:g} s, the recording ends at {length / native:.3f} s; "
                "correct the start in the corpus table",
                _name(source),
            )
        last = total if seconds is None else min(total, max(first + 1, round((start + seconds) * rate)))
        if rate == native:
            return _read(file, source, first, last, length)
        # Ranges begin at samples that both rates share, so the resampler's phase is that of the whole file.
        shared = math.gcd(rate, native)
        step_in, step_out = native // shared, rate // shared
        margin = math.ceil(_MARGIN * max(1.0, native / rate))
        block = max(0, first * step_in // step_out - margin) // step_in
        begin = block * step_in
        end = min(length, -(-last * step_in // step_out) + margin)
        wave = _read(file, source, begin, end, length)
    skip = block * step_out
    out = soxr.resample(wave, native, rate, quality="HQ")[first - skip : last - skip]
    if out.shape[0] < last - first:
        # At the very end soxr drops a last part-sample: append the zeros that follow the file.
        wave = np.concatenate([wave, np.zeros(margin + step_in, np.float32)])
        out = soxr.resample(wave, native, rate, quality="HQ")[first - skip : last - skip]
    return np.ascontiguousarray(out)


def _read(file: soundfile.SoundFile, source: Source, begin: int, end: int, length: int) -> np.ndarray:
    """Read frames [begin, end) of a file of `length`, mixed down; check that all are there and valid."""
    parts: list[np.ndarray] = []
    got = bad = 0
    try:
        file.seek(begin)
        # Memory grows with the data read: a damaged header may promise any length.
        while got < end - begin:
            wanted = min(_BLOCK, end - begin - got)
            frames = file.read(wanted, dtype="float32", always_2d=True)
            got += len(frames)
            with np.errstate(over="ignore"):  # An infinite mean is refused below.
                parts.append(frames[:, 0] if frames.shape[1] == 1 else frames.mean(axis=1))
            if not np.isfinite(parts[-1]).all():
                bad += int(np.count_nonzero(~np.isfinite(frames).all(axis=1)))
            if len(frames) < wanted:
                break
    except soundfile.LibsndfileError as error:
        raise AudioError(
            f"truncated or damaged ({error.error_string.strip()}); copy it again from its source",
            _name(source),
        ) from error
    missing = end - begin - got
    if missing > (_MP3_SLACK if file.format == "MP3" and end == length else 0) or not got:
        raise AudioError(
            f"truncated: its header promises {length} samples, decoding ended after "
            f"{begin + got}; copy it again from its source",
            _name(source),
        )
    if bad:
        raise AudioError(
            f"{bad} of the {got} samples read are NaN or infinite; export it again, or drop it from the corpus",
            _name(source),
        )
    wave = parts[0] if len(parts) == 1 else np.concatenate(parts)
    peak = float(max(wave.max(), -wave.min()))
    if peak > _LOUDEST:
        raise AudioError(
            f"its samples reach {peak:.3g}, expected about 1 and at most {_LOUDEST:g}; "
            "export it again at full scale 1, or drop it from the corpus",
            _name(source),
        )
    return wave


class _File(soundfile.SoundFile):
    """Not seekable: soundfile would seek after each read, which fails at the end of a file of unknown length."""

    def seekable(self) -> bool:
        return False


@contextmanager
def _opened(source: Source) -> Iterator[soundfile.SoundFile]:
    """Open a file or its content; refuse missing, truncated and non-audio files."""
    try:
        stream = _stream(source)
    except FileNotFoundError as error:
        raise AudioError("no such file; check the path, or scan the corpus again", _name(source)) from error
    except IsADirectoryError as error:
        raise AudioError("a folder; expected an audio file; name the files in it", _name(source)) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise AudioError(f"can't be opened ({reason}); check its permissions", _name(source)) from error
    with stream:
        size = stream.seek(0, os.SEEK_END)
        if not size:
            raise AudioError("empty (0 bytes); expected a recording; copy it again from its source", _name(source))
        missing = missing_bytes(stream)
        if missing:
            raise AudioError(
                f"truncated: the container promises {missing} more bytes than there are; "
                "copy it again from its source, or re-export the rest of it",
                _name(source),
            )
        stream.seek(0)
        try:
            # Given a descriptor, libsndfile reads without calling back into Python.
            file = _File(stream if isinstance(stream, io.BytesIO) else stream.fileno(), closefd=False)
        except soundfile.LibsndfileError as error:
            raise AudioError(
                f"not readable as audio ({error.error_string.strip()}); "
                "expected wav, flac, ogg, opus, mp3 or aiff: convert it first, for example with ffmpeg",
                _name(source),
            ) from error
        with file:
            if not file.frames:
                raise AudioError("no samples (zero length); drop it from the corpus", _name(source))
            if _MOST_SAMPLES_PER_BYTE * size < file.frames < _UNKNOWN_FRAMES or (
                file.format == "MP3" and file.frames * _MP3_LEAST_BYTES_PER_SECOND > size * file.samplerate
            ):
                raise AudioError(
                    f"damaged: its header promises {file.frames / file.samplerate:.0f} s, which "
                    f"{size} bytes can't hold; copy it again from its source, or re-encode it",
                    _name(source),
                )
            yield file


def _stream(source: Source) -> io.BytesIO | io.FileIO:
    # Unbuffered: libsndfile reads from the descriptor's position.
    return io.BytesIO(source) if isinstance(source, bytes) else io.FileIO(source)


def _length(file: soundfile.SoundFile) -> int:
    """Return the samples per channel, counted by decoding if the header has none (FLAC written to a pipe)."""
    if file.frames < _UNKNOWN_FRAMES:
        return file.frames
    counted, got = 0, _BLOCK
    while got == _BLOCK:
        got = len(file.read(_BLOCK, dtype="int16", always_2d=True))
        counted += got
    return counted


def _name(source: Source) -> str:
    return "audio given as bytes" if isinstance(source, bytes) else repr(os.fspath(source))
