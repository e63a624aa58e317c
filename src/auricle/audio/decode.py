"""Decoding of audio files to mono float32 samples at any rate, and of ranges without decoding the whole file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import psutil

from auricle.audio.container import joined_flac
from auricle.audio.recording import (
    IN_PART,
    LOUDEST,
    Recording,
    Source,
    cancelled,
    guarded,
    too_long,
)
from auricle.audio.resampling import Span, length_at
from auricle.audio.sndfile import open_stream, opened
from auricle.errors import AudioError, ConfigError, Reason
from auricle.words import counted

# The mean of all channels, one of them (from 0), or the one with most power in the whole recording.
Channel = Literal["mix", "loudest"] | int

# Results below this many samples are decoded without asking for the memory there is.
_SMALL = 1 << 26
# Formats whose last sample is looked for: their header states a length that only decoding shows to be wrong.
_UNSURE = ("FLAC", "OGG")


@dataclass(frozen=True)
class FileInfo:
    """What is known of a file before its samples are decoded.

    Attributes:
        frames: samples per channel that can be read.
        rate: sample rate in Hz.
        channels: number of channels.
        format: container, such as WAV, FLAC, OGG or MP3.
        notes: what is missing or unusual: `partly read: 24,000 of 48,000 frames ...`; empty for most files.
    """

    frames: int
    rate: int
    channels: int
    format: str
    notes: tuple[Reason, ...] = ()

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return self.frames / self.rate


def probe(source: Source, *, thorough: bool = False) -> FileInfo:
    """Read what a file holds; its samples are not decoded unless its header can't be trusted.

    Where the header promises more than there is, `frames` is what can be read, and `notes` say what is missing. The
    frames of an MP3 are counted, which reads the file.

    Args:
        source: path of a file, or its content.
        thorough: search the whole file for further FLAC streams that no decoder reaches, and note them.

    Raises:
        AudioError: missing, no regular file, unreadable, without samples, or with an impossible rate.
        StorageError: the machine lacks disk space or file handles.
    """
    with guarded(source), opened(source) as recording:
        frames, notes = there(recording), list(recording.notes)
        if recording.promised - frames > recording.slack:
            said = f"partly read: {frames:,} of {recording.promised:,} frames that its header promises"
            notes.insert(0, Reason(said, IN_PART))
        if thorough:
            with open_stream(source) as stream:
                more = joined_flac(stream)
            if more:
                said = f"{counted(more, 'FLAC stream')} after the first one not read: divide the file"
                notes.append(Reason(said, IN_PART))
        return FileInfo(frames, recording.rate, recording.channels, recording.format, tuple(notes))


def decode(
    source: Source, *, start: float = 0.0, seconds: float | None = None, rate: int = 16000, channel: Channel = "mix"
) -> np.ndarray:
    """Decode a file, or a range of it, to mono at `rate`.

    Channels are averaged, then resampled by soxr (HQ). A range equals the same range of the whole decoded file (to
    float32 rounding), but only the range and a few milliseconds around it are read. A range past the end of the file
    ends there, also where the header promises more than there is (see `probe`). Every result has at least one sample.

    Args:
        source: path of a file, or its content.
        start: start of the range in seconds.
        seconds: length of the range; None: to the end.
        rate: sample rate of the result in Hz.
        channel: `mix` (their mean), `loudest` (the one with most power in the whole recording), or a number from 0.

    Returns:
        `(S,)` float32; integer formats are scaled to [-1, 1), float formats are as stored.

    Raises:
        AudioError: missing, unreadable, damaged in its middle, without samples, with samples that are NaN, infinite,
            integers or beyond 10000 times full scale, with channels that cancel each other or without the one asked
            for, too long for the memory, or the range begins after the end.
        StorageError: the machine lacks disk space or file handles.
        ConfigError: `start` is negative, `seconds` or `rate` is not positive, or `channel` is unknown.
    """
    if not (math.isfinite(start) and start >= 0) or (seconds is not None and not seconds > 0) or rate <= 0:
        raise ConfigError(
            f"decode from {start} s for {seconds} s at {rate} Hz; expected a start from 0, a positive length and rate"
        )
    channel = parse_channel(channel)
    with guarded(source):
        return _decode(source, start, seconds, rate, channel)


def parse_channel(channel: Channel | str) -> Channel:
    """Return a choice of a channel, also from text.

    Raises:
        ConfigError: it is neither `mix`, `loudest` nor a number from 0.

    Examples:
        >>> parse_channel("mix"), parse_channel("1")
        ('mix', 1)
    """
    if channel == "mix":
        return "mix"
    if channel == "loudest":
        return "loudest"
    if str(channel).isdecimal():
        return int(channel)
    raise ConfigError(f"channel is {channel!r}; expected mix, loudest, or a number from 0")


def there(recording: Recording) -> int:
    """Return the samples that can be read, counted where a header can't be trusted.

    Raises:
        AudioError: there are none.
    """
    if recording.format not in _UNSURE or recording.reaches(recording.frames - 1):
        return recording.frames
    frames = recording.count()
    if not frames:
        raise _nothing(recording)
    return frames


def _too_much(samples: int) -> bool:
    return samples > _SMALL and 12 * samples > psutil.virtual_memory().available


def _damaged(recording: Recording, place: int) -> AudioError:
    return AudioError(
        f"damaged at {place / recording.rate:.3f} s: decoding ended after {place} of "
        f"{recording.frames} samples; copy it again from its source",
        recording.name,
    )


def _nothing(recording: Recording) -> AudioError:
    return AudioError(
        f"truncated or damaged: none of the {recording.promised} samples that its header promises "
        "can be decoded; copy it again from its source",
        recording.name,
    )


def _decode(source: Source, start: float, seconds: float | None, rate: int, channel: Channel) -> np.ndarray:
    with opened(source) as recording:
        length, native = recording.frames, recording.rate
        one = one_channel(source, recording, channel)
        if _too_much(length):
            length = there(recording)

        first, last = round(start * rate), length_at(length, native, rate)
        if first >= last:
            raise _after_the_end(recording, start, length)
        if seconds is not None:
            last = min(last, max(first + 1, round((start + seconds) * rate)))
        span = Span.of(first, last, length, native, rate)
        if _too_much(last - first + span.end - span.begin):
            raise too_long(source)
        wave = _read(recording, span.begin, span.end, one)
        if len(wave) < span.end - span.begin:
            length = span.begin + len(wave) if len(wave) else recording.count()
            if not length:
                raise _nothing(recording)
            if first >= length_at(length, native, rate) or not len(wave):
                raise _after_the_end(recording, start, length)
            last = min(last, length_at(length, native, rate))
    return span.resampled(wave, first, last, ends=span.begin + len(wave) == length)


def _after_the_end(recording: Recording, start: float, length: int) -> AudioError:
    return AudioError(
        f"a clip starts at {start:g} s, the recording ends at {length / recording.rate:.3f} s; "
        "correct the start in the corpus table",
        recording.name,
    )


def _read(recording: Recording, begin: int, end: int, channel: int | None) -> np.ndarray:
    """Read frames [begin, end) as one channel; check that all are there and valid."""
    parts: list[np.ndarray] = []
    got = bad = 0
    integers = recording.floats
    powers = np.zeros(2)
    for frames in recording.blocks(begin, end):
        got += len(frames)
        with np.errstate(over="ignore", invalid="ignore"):  # An infinite mean is refused below.
            parts.append(mixed(frames, channel))
            if not np.isfinite(parts[-1]).all():
                bad += int(np.count_nonzero(~np.isfinite(frames).all(axis=1)))
            elif channel is None and recording.channels > 1:
                powers += np.vdot(parts[-1], parts[-1]), np.vdot(frames, frames) / recording.channels
        integers = integers and bool((parts[-1] == np.rint(parts[-1])).all())
    ended = recording.ended
    if ended is not None and recording.frames - ended > recording.slack and recording.reaches(recording.frames - 1):
        # More follows what can't be decoded: this is no file that just ends early.
        raise _damaged(recording, ended)
    if not got:
        return np.zeros(0, np.float32)
    if bad:
        raise AudioError(
            f"{bad} of the {got} samples read {'is' if bad == 1 else 'are'} NaN or infinite; export it again, or "
            "drop it from the corpus",
            recording.name,
            "not finite",
        )
    wave = parts[0] if len(parts) == 1 else np.concatenate(parts)
    check_level(recording, wave, integers)
    said = cancelled(powers[0], powers[1], got)
    if said is not None:
        raise AudioError(
            f"its {recording.channels} channels {said}; read one of them: --channel 0 (or --channel loudest)",
            recording.name,
            "channels cancel",
        )
    return wave


def mixed(frames: np.ndarray, channel: int | None) -> np.ndarray:
    """Return samples `(n, channels)` as one channel `(n,)`; None: their mean."""
    if frames.shape[1] == 1:
        return frames[:, 0]
    return frames.mean(axis=1) if channel is None else np.ascontiguousarray(frames[:, channel])


def check_level(recording: Recording, wave: np.ndarray, integers: bool) -> None:
    """Refuse samples far beyond full scale, and integers (all samples are) that are stored as floats.

    Raises:
        AudioError: saying which.
    """
    peak = float(max(wave.max(), -wave.min()))
    if integers and peak >= 2:
        raise AudioError(
            f"its samples are integers (up to {peak:g}) stored as floats, expected full scale 1; "
            "divide them by 32768 (16 bit) when you export it",
            recording.name,
        )
    if peak > LOUDEST:
        raise AudioError(
            f"its samples reach {peak:.3g}, expected about 1 and at most {LOUDEST:g}; "
            "export it again at full scale 1, or drop it from the corpus",
            recording.name,
        )


def one_channel(source: Source, recording: Recording, channel: Channel) -> int | None:
    """Return the channel to read; None: the mean of all.

    Raises:
        AudioError: there is no such channel.
    """
    if channel == "mix" or recording.channels == 1:
        if isinstance(channel, int) and channel:
            raise _no_channel(recording, channel)
        return None
    if channel == "loudest":
        if isinstance(source, bytes):
            return _loudest(source)
        path = Path(source)
        found = path.stat()
        return _kept_loudest(path.absolute(), found.st_mtime_ns, found.st_size)
    if channel >= recording.channels:
        raise _no_channel(recording, channel)
    return channel


def _no_channel(recording: Recording, channel: int) -> AudioError:
    return AudioError(
        f"no channel {channel}: it has {recording.channels}, numbered from 0; "
        "set --channel mix, loudest or one that there is",
        recording.name,
    )


def _loudest(source: Source) -> int:
    with opened(source) as recording:
        power = np.zeros(recording.channels)
        for frames in recording.blocks(0, recording.frames):
            power += np.einsum("nc,nc->c", frames, frames, dtype=np.float64)
    return int(np.argmax(np.nan_to_num(power)))


@lru_cache(maxsize=1 << 14)
def _kept_loudest(path: Path, _changed: int, _size: int) -> int:
    return _loudest(path)
