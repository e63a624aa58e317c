"""The random parameters of the augmentation chain, drawn before anything runs, for all views of a batch at once.

Both implementations of the chain use the same draws, so one can be measured against the other.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from auricle.audio.ops.butterworth import band_stop_response, high_pass_response

DB_PER_OCTAVE_PER_ORDER = 6


@dataclass(frozen=True)
class Draws:
    """The parameters of one view of some clips; NaN where a transform is not applied. All `(B,)` float64.

    Attributes:
        roll: samples by which the clip is rolled to the right, circularly.
        gain: amplitude factor.
        polarity: 1 or -1.
        rate: speed of the time stretch; above 1 is faster.
        snr_db: ratio of the power of the clip, as stretched, to that of the noise.
        level_db: second gain.
        high_pass_hz: cut-off frequency.
        high_pass_db_per_octave: steepness.
        band_stop_low_hz: lower edge.
        band_stop_high_hz: upper edge.
        band_stop_db_per_octave: steepness of either edge.
        semitones: shift of the pitch.
        noise_start: first sample of the clip's part of the batch's noise (0 without noise).
    """

    roll: Tensor
    gain: Tensor
    polarity: Tensor
    rate: Tensor
    snr_db: Tensor
    level_db: Tensor
    high_pass_hz: Tensor
    high_pass_db_per_octave: Tensor
    band_stop_low_hz: Tensor
    band_stop_high_hz: Tensor
    band_stop_db_per_octave: Tensor
    semitones: Tensor
    noise_start: Tensor

    def __getitem__(self, rows: slice) -> Draws:
        return Draws(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def certificate(self) -> dict[str, Tensor]:
        """Return the parameters by name, `(B,)` float32 each, without the offset in the noise."""
        return {f.name: getattr(self, f.name).float() for f in fields(self) if f.name != "noise_start"}

    @property
    def amplitude(self) -> Tensor:
        """Amplitude factor of gain and polarity, `(B,)`."""
        return or_neutral(self.gain, 1.0) * or_neutral(self.polarity, 1.0)

    @property
    def level(self) -> Tensor:
        """The second gain as an amplitude factor, `(B,)`."""
        return 10 ** (or_neutral(self.level_db, 0.0) / 20)

    @property
    def noise_ratio(self) -> Tensor:
        """Amplitude of the noise over the root mean square of the clip, 0 without noise, `(B,)`."""
        return torch.nan_to_num(10 ** (-self.snr_db / 20), nan=0.0)

    @property
    def speed(self) -> Tensor:
        """Speed of the stretch, 1 without one, `(B,)`."""
        return or_neutral(self.rate, 1.0)

    @property
    def pitch_ratio(self) -> Tensor:
        """Frequency after over frequency before the pitch shift, 1 without one, `(B,)`."""
        return 2 ** (or_neutral(self.semitones, 0.0) / 12)

    def response(self, frequencies: Tensor, rate: int) -> Tensor:
        """Return the complex response `(B, K)` of high-pass and band-stop together at `(K,)` Hz; 1 without filters."""
        total = torch.ones(len(self.roll), len(frequencies), dtype=torch.complex128)
        for rows, part in (
            (~self.high_pass_hz.isnan(), self._high_pass),
            (~self.band_stop_low_hz.isnan(), self._band_stop),
        ):
            if rows.any():
                total[rows] *= part(rows, frequencies, rate)
        return total

    def _high_pass(self, rows: Tensor, frequencies: Tensor, rate: int) -> Tensor:
        order = _order(self.high_pass_db_per_octave[rows])
        return high_pass_response(frequencies, self.high_pass_hz[rows], order, rate)

    def _band_stop(self, rows: Tensor, frequencies: Tensor, rate: int) -> Tensor:
        order = _order(self.band_stop_db_per_octave[rows])
        return band_stop_response(frequencies, self.band_stop_low_hz[rows], self.band_stop_high_hz[rows], order, rate)


@dataclass(frozen=True)
class Noise:
    """White Gaussian noise of unit variance that the clips of one batch share, each from its own offset.

    Shared noise is much cheaper than noise for each view, and two views rarely get the same offset.

    Attributes:
        wave: `(1, N)`; empty if no clip needs noise.
    """

    wave: Tensor


def or_neutral(value: Tensor, neutral: float) -> Tensor:
    """Return the value, or the neutral one where it is NaN."""
    return torch.nan_to_num(value, nan=neutral)


def _order(db_per_octave: Tensor) -> Tensor:
    return (db_per_octave / DB_PER_OCTAVE_PER_ORDER).round().long()
