"""What chance decides in the augmentation chain, drawn before anything runs, for all views of a batch at once.

Both implementations of the chain obey the same draws, so one can be measured against the other.

Every parameter is drawn for every view of every clip, used or not, in a fixed order: switching one transform off or
moving its range leaves the draws of the others as they were.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import scipy.special
import torch
from torch import Tensor

from auricle.audio.batch import Audio
from auricle.audio.frontends.frontend import SpectralFrontEnd
from auricle.audio.ops.butterworth import band_stop_response, high_pass_response

if TYPE_CHECKING:
    from auricle.audio.augment.config import AugmentConfig

DB_PER_OCTAVE_PER_ORDER = 6


@dataclass(frozen=True)
class Draws:
    """The parameters of some views of some clips; NaN where a transform is not applied. All `(B,)` float64.

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
        noise_start: first sample of the batch's noise that the clip takes (0 where there is no noise).
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
        """Return the parameters by name, `(B,)` float32 each, without the place in the noise."""
        return {f.name: getattr(self, f.name).float() for f in fields(self) if f.name != "noise_start"}

    @property
    def amplitude(self) -> Tensor:
        """Factor of roll's and stretch's result: gain and polarity, `(B,)`."""
        return or_neutral(self.gain, 1.0) * or_neutral(self.polarity, 1.0)

    @property
    def level(self) -> Tensor:
        """The second gain as an amplitude factor, `(B,)`."""
        return 10 ** (or_neutral(self.level_db, 0.0) / 20)

    @property
    def noise_ratio(self) -> Tensor:
        """Amplitude of the noise over the root mean square of the clip, 0 where there is none, `(B,)`."""
        return torch.nan_to_num(10 ** (-self.snr_db / 20), nan=0.0)

    @property
    def speed(self) -> Tensor:
        """Speed of the stretch, 1 where there is none, `(B,)`."""
        return or_neutral(self.rate, 1.0)

    @property
    def pitch_ratio(self) -> Tensor:
        """Frequency after over frequency before the pitch shift, 1 where there is none, `(B,)`."""
        return 2 ** (or_neutral(self.semitones, 0.0) / 12)

    def response(self, frequencies: Tensor, rate: int) -> Tensor:
        """Return the complex response `(B, K)` of high-pass and band-stop together at `(K,)` Hz; 1 where none acts."""
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
    """White Gaussian noise of unit variance that the clips of one batch share, each from its own place.

    A batch's own noise is much cheaper than noise for each view, and two views never meet twice at the same offset.

    Attributes:
        wave: `(1, N)`; empty where no clip needs noise.
    """

    wave: Tensor


def draw(
    config: AugmentConfig, audio: Audio, views: int, frontend: SpectralFrontEnd, generator: torch.Generator
) -> tuple[tuple[Draws, ...], Noise]:
    """Draw the parameters of all views of a batch.

    Args:
        config: probabilities and ranges.
        audio: the batch; only its lengths, width and rate matter.
        views: how many.
        frontend: noise starts at a multiple of its hop, so that the noise's own frames serve all clips.
        generator: on the CPU.

    Returns:
        The draws of each view, and the noise that they point into.
    """
    B, S = audio.wave.shape
    hop = frontend.hop_samples
    lengths = audio.lengths.cpu().double()

    def uniform() -> Tensor:
        return torch.rand(views, B, generator=generator, dtype=torch.float64)

    def between(low: float, high: float) -> Tensor:
        return low + (high - low) * uniform()

    def where(probability: float, value: Tensor) -> Tensor:
        return torch.where(uniform() < probability, value, torch.nan)

    def steepness(low: int, high: int) -> Tensor:
        orders = (high - low) // DB_PER_OCTAVE_PER_ORDER + 1
        return low + DB_PER_OCTAVE_PER_ORDER * (uniform() * orders).floor()

    def pitch_even(low: float, high: float) -> Tensor:
        """Uniform on the mel scale, in Hz; just below half the rate where that is passed."""
        a, b = (2595 * torch.log10(1 + torch.tensor([low, high], dtype=torch.float64) / 700)).tolist()
        return 700 * (10 ** (between(a, b) / 2595) - 1)

    highest = 0.9999 * audio.rate / 2
    found: dict[str, Tensor] = {}
    found["roll"] = where(1.0 if config.roll else 0.0, (uniform() * lengths).floor())
    found["gain"] = _beta_gain(config.gain_beta, uniform())
    found["polarity"] = torch.where(uniform() < config.polarity_p, -1.0, 1.0).double()
    found["rate"] = where(config.stretch_p, between(*config.stretch))
    found["snr_db"] = where(config.noise_p, between(*config.snr_db))
    found["level_db"] = where(config.level_p, between(*config.level_db))
    high_pass = where(config.high_pass_p, pitch_even(*config.high_pass_hz)).clamp(max=highest)
    found["high_pass_hz"] = high_pass
    found["high_pass_db_per_octave"] = steepness(*config.high_pass_db_per_octave) + 0 * high_pass
    centre = where(config.band_stop_p, pitch_even(*config.band_stop_hz))
    half_width = centre * between(*config.band_stop_fraction) / 2
    found["band_stop_low_hz"] = (centre - half_width).clamp(max=0.99 * highest)
    found["band_stop_high_hz"] = (centre + half_width).clamp(max=highest)
    found["band_stop_db_per_octave"] = steepness(*config.band_stop_db_per_octave) + 0 * centre
    found["semitones"] = where(config.pitch_p, between(*config.pitch))

    noisy = int((~found["snr_db"].isnan()).sum())
    spare = (S // hop) * min(max(noisy - 1, 0), 1)
    found["noise_start"] = (uniform() * (spare + 1)).floor() * hop
    # The noise has its own generator, so that its length does not move the draws of the next batch.
    seed = int(torch.randint(2**62, (1,), generator=generator))
    samples = max(S, frontend.window_samples) + frontend.margin + spare * hop if noisy else 0
    wave = torch.randn(1, samples, generator=torch.Generator().manual_seed(seed))
    drawn = tuple(Draws(**{name: value[v] for name, value in found.items()}) for v in range(views))
    return drawn, Noise(wave)


def or_neutral(value: Tensor, neutral: float) -> Tensor:
    """Return the value, or the neutral one where it is NaN."""
    return torch.nan_to_num(value, nan=neutral)


def _beta_gain(shape: float, uniform: Tensor) -> Tensor:
    """Beta(shape, shape) + 0.5 by its inverse distribution; NaN where the shape is 0."""
    if shape == 0:
        return torch.full_like(uniform, torch.nan)
    return torch.from_numpy(scipy.special.betaincinv(shape, shape, uniform.numpy())) + 0.5


def _order(db_per_octave: Tensor) -> Tensor:
    return (db_per_octave / DB_PER_OCTAVE_PER_ORDER).round().long()
