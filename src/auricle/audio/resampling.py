"""Ranges of a recording at another rate: the same samples as those of the whole recording, resampled at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import soxr

from auricle.audio.recording import SILENCE

# Samples (at the lower of the two rates) read on each side of a range for the resampling filter: beyond 256 its taps
# are below float32's resolution (measured with soxr HQ).
_MARGIN = 256


def length_at(frames: int, native: int, rate: int) -> int:
    """Return how many samples at `rate` a recording of `frames` samples at its own rate has, at least one."""
    return max(1, (2 * frames * rate + native) // (2 * native))


@dataclass(frozen=True)
class Span:
    """What is read of a recording for the samples `first` to `last` at another rate.

    Attributes:
        native: rate of the recording in Hz.
        rate: of the result in Hz.
        begin: first sample that is read.
        end: after the last one.
    """

    native: int
    rate: int
    begin: int
    end: int

    @classmethod
    def of(cls, first: int, last: int, length: int, native: int, rate: int) -> Self:
        """Return what to read of a recording of `length` samples for the samples `first` ... `last` at `rate`."""
        # Ranges begin at samples that both rates share, so the resampler's phase is that of the whole file.
        shared = math.gcd(rate, native)
        step_in, step_out = native // shared, rate // shared
        margin = _margin(native, rate)
        begin = max(0, first * step_in // step_out - margin) // step_in * step_in
        return cls(native, rate, begin, min(length, -(-last * step_in // step_out) + margin))

    def resampled(self, wave: np.ndarray, first: int, last: int, *, ends: bool) -> np.ndarray:
        """Return the samples `first` ... `last` at `rate`.

        Args:
            wave: what was read from `begin` on.
            first: as for `of`.
            last: as for `of`.
            ends: the recording ends with `wave`.
        """
        native, rate = self.native, self.rate
        if rate == native:
            return wave
        shared = math.gcd(rate, native)
        step_in, step_out, margin = native // shared, rate // shared, _margin(native, rate)
        # The resampler takes zeros to surround a recording, and rings where it begins or ends in a constant.
        steps = -(-margin // step_in) * _is_constant(wave[:margin]) if self.begin == 0 else 0
        after = float(wave[-1]) if ends and _is_constant(wave[-margin:]) else 0.0
        skip = (self.begin // step_in - steps) * step_out
        if steps or after:
            before = np.full(steps * step_in, wave[0])
            wave = np.concatenate([before, wave, np.full(margin if after else 0, after, np.float32)])
        out = soxr.resample(wave, native, rate, quality="HQ")[first - skip : last - skip]
        if out.shape[0] < last - first:
            # At the very end soxr drops a last part-sample: append what follows the file.
            wave = np.concatenate([wave, np.full(margin + step_in, after, np.float32)])
            out = soxr.resample(wave, native, rate, quality="HQ")[first - skip : last - skip]
        return np.ascontiguousarray(out)


def _margin(native: int, rate: int) -> int:
    return 0 if rate == native else math.ceil(_MARGIN * max(1.0, native / rate))


def _is_constant(wave: np.ndarray) -> bool:
    return float(wave.max()) - float(wave.min()) < 2 * SILENCE <= 2 * abs(float(wave[0]))
