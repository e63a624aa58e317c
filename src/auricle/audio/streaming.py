"""Recordings of any length in constant memory: pieces one after the other, past what is damaged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

from auricle.audio.complaints import COMPLAINTS
from auricle.audio.decode import Channel, check_level, mixed, one_channel, there
from auricle.audio.foreign import ForeignRecording
from auricle.audio.recording import BLOCK, LOUDEST, Source, cancelled, guarded
from auricle.audio.resampling import Span, length_at
from auricle.audio.sndfile import opened
from auricle.errors import AudioError, Reason

# Seconds that are resampled at once.
_PIECE = 20.0
# Damage less than this many seconds after other damage is one stretch with it.
_NEAR = 0.1


@dataclass(frozen=True)
class Damage:
    """A stretch of a recording that can't be used: `begin` and `end` in its samples, and why."""

    begin: int
    end: int
    reason: Reason


class AudioStream:
    """A recording that is decoded once from its beginning to its end, or from any sample on.

    Samples are those of `auricle.audio.decode.decode` (to float32 rounding). Where they are damaged, not finite, beyond
    any level or cancelled between channels, they are zeros and listed in `damage`; the rest goes on.

    Args:
        source: path of a file, or its content.
        channel: as for `decode`.

    Attributes:
        rate: the recording's own sample rate in Hz.
        frames: its samples.
        damage: found so far, in order.

    Raises:
        AudioError: it can't be opened, or has no such channel.

    Examples:
        >>> import io, soundfile
        >>> soundfile.write(file := io.BytesIO(), np.zeros(44100), 44100, format="WAV")
        >>> with AudioStream(file.getvalue()) as stream:
        ...     [len(piece) for piece in stream.pieces(0, 16000, 16000)]
        [16000]
    """

    def __init__(self, source: Source, channel: Channel = "mix") -> None:
        self._source = source
        with ExitStack() as stack, guarded(source):
            self._recording = stack.enter_context(opened(source))
            self._channel = one_channel(source, self._recording, channel)
            self.rate, self.frames = self._recording.rate, there(self._recording)
            self._open = stack.pop_all()
        self.damage: list[Damage] = []
        self._blocks: Iterator[np.ndarray] = iter(())
        # Decoded samples from `_begin` on, as long as they may be needed.
        self._held, self._begin = np.zeros(0, np.float32), -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._blocks = iter(())
        self._open.close()

    def length(self, rate: int) -> int:
        """Return its samples at another rate."""
        return length_at(self.frames, self.rate, rate)

    def pieces(self, first: int, last: int, rate: int) -> Iterator[np.ndarray]:
        """Yield the samples `first` ... `last` at `rate` Hz, mono float32, some seconds at a time.

        The same range yields the same bits, whatever was read before.

        Raises:
            AudioError: the file can't be read any more.
            StorageError: the machine lacks disk space or file handles.
        """
        size = max(1, round(_PIECE * rate))
        last = min(last, self.length(rate))
        self._start(Span.of(first, last, self.frames, self.rate, rate).begin if first < last else 0)
        for begin in range(first, last, size):
            end = min(begin + size, last)
            span = Span.of(begin, end, self.frames, self.rate, rate)
            with guarded(self._source):
                wave = self._read(span.begin, span.end)
            COMPLAINTS.pass_on()
            yield span.resampled(wave, begin, end, ends=span.end == self.frames)

    def _start(self, begin: int) -> None:
        """Begin to decode at a sample: anew, except where only decoding from the first sample on gets there."""
        from_first = isinstance(self._recording, ForeignRecording)
        if not (from_first and 0 <= self._begin <= begin):
            self._begin = 0 if from_first else begin
            self._blocks, self._held = self._filled(self._begin), np.zeros(0, np.float32)

    def _read(self, begin: int, end: int) -> np.ndarray:
        parts = [self._held]
        got = self._begin + len(self._held)
        while got < end:
            block = next(self._blocks)
            # Passed over to get to `begin`.
            if got + len(block) <= begin:
                parts, self._begin = [], got + len(block)
            else:
                parts.append(block)
            got += len(block)
        wave = np.concatenate(parts) if parts else np.zeros(0, np.float32)
        self._held, self._begin = wave[max(0, begin - self._begin) :], max(begin, self._begin)
        return self._held[: end - begin].copy()

    def _filled(self, begin: int) -> Iterator[np.ndarray]:
        """Yield the samples from `begin` to the end without a gap: zeros where there are none."""
        at, waiting = begin, list[np.ndarray]()
        for position, block in self._recording.surviving(begin, self.frames):
            if waiting and position > at:
                yield self._mono(at, waiting)
                waiting = []
            yield from self._missing(at, position)
            waiting.append(block)
            at = position + len(block)
            # Codecs give blocks of a few milliseconds, too short to compare channels.
            if sum(each.size for each in waiting) >= BLOCK:
                yield self._mono(at, waiting)
                waiting = []
        if waiting:
            yield self._mono(at, waiting)
        yield from self._missing(at, self.frames)

    def _missing(self, begin: int, end: int) -> Iterator[np.ndarray]:
        if end < self.frames or end - begin > self._recording.slack:
            self._spoil(begin, end, Reason("damaged: it can't be decoded; copy it again from its source"))
        for at in range(begin, end, BLOCK):
            yield np.zeros(min(BLOCK, end - at), np.float32)

    def _mono(self, end: int, blocks: list[np.ndarray]) -> np.ndarray:
        """Return blocks that end at a sample as one channel; what can't be used is zero, or noted."""
        block = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        position = end - len(block)
        with np.errstate(over="ignore", invalid="ignore"):
            wave = mixed(block, self._channel)
            bad = np.flatnonzero(~(np.abs(wave) <= LOUDEST))
        if bad.size:
            said = f"samples that are NaN, infinite or beyond {LOUDEST:g} times full scale; export it again"
            for run in np.split(bad, np.flatnonzero(np.diff(bad) > _NEAR * self.rate) + 1):
                self._spoil(position + int(run[0]), position + int(run[-1]) + 1, Reason(said, "not finite"))
            wave = wave.copy()
            wave[bad] = 0
        try:
            check_level(self._recording, wave, self._recording.floats and bool((wave == np.rint(wave)).all()))
        except AudioError as error:
            self._spoil(position, position + len(wave), error.reason)
        else:
            self._check_channels(position, block, wave)
        return wave

    def _check_channels(self, position: int, block: np.ndarray, wave: np.ndarray) -> None:
        if self._channel is not None or block.shape[1] == 1:
            return
        each = np.nan_to_num(block, posinf=0, neginf=0)
        said = cancelled(float(np.vdot(wave, wave)), float(np.vdot(each, each)) / block.shape[1], len(wave))
        if said is not None:
            said = f"its {block.shape[1]} channels {said.partition(':')[0]}; read one of them: --channel 0 (or loudest)"
            self._spoil(position, position + len(wave), Reason(said, "channels cancel"))

    def _spoil(self, begin: int, end: int, reason: Reason) -> None:
        last = self.damage[-1] if self.damage else None
        if last is not None and begin <= last.end + _NEAR * self.rate and last.reason == reason:
            self.damage[-1] = Damage(min(begin, last.begin), max(end, last.end), reason)
        elif begin < end:
            self.damage.append(Damage(begin, end, reason))
