"""Operators that add to, scale or move a waveform: noise, gain, polarity, clipping, fade, roll, pitch, stretch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import scipy.special
import torch
from annotated_types import Ge, Le
from torch import Tensor

from auricle.audio.batch import Audio
from auricle.audio.ops.phase_vocoder import shift_pitch, stretch
from auricle.audio.ops.wave_op import (
    Context,
    Drawn,
    WaveOp,
    WaveOpConfig,
    along,
    between,
    mean_power,
    one_of,
    unit_noise,
    valid_samples,
)
from auricle.audio.ranges import Decibels, Semitones, Shares, Speeds, check_ranges
from auricle.config import NonNegative, Share, ShareAboveZero
from auricle.errors import ConfigError

_Sigma = Annotated[float, Ge(0), Le(1e6)]


@dataclass(frozen=True)
class WaveNoiseConfig(WaveOpConfig):
    """White Gaussian noise. COLA (arXiv 2010.10915, as released) has `sigma=(0.001, 0.001)` on the positive only.

    Attributes:
        snr_db: range of the ratio of the clip's mean power to the noise's, in dB.
        choices_db: ratios to choose from instead of the range (PASE+: 0, 5, 10).
        sigma: range of the noise's standard deviation in units of the samples, instead of a ratio.
    """

    snr_db: Decibels = (5.0, 40.0)
    choices_db: tuple[float, ...] = ()
    sigma: tuple[_Sigma, _Sigma] | None = None

    def __post_init__(self) -> None:
        check_ranges(self, "snr_db", "sigma")
        if self.sigma is not None and self.choices_db:
            raise ConfigError("wave_noise has choices_db and sigma; set one of them")


class WaveNoise(WaveOp):
    """Adds white Gaussian noise; certificate: `snr_db` or `sigma`."""

    config: WaveNoiseConfig

    def draw(self, audio: Audio, generator: torch.Generator) -> Drawn:
        config = self.config
        if config.sigma is not None:
            return {"sigma": between(*config.sigma, len(audio), generator)}
        if config.choices_db:
            return {"snr_db": one_of(config.choices_db, len(audio), generator)}
        return {"snr_db": between(*config.snr_db, len(audio), generator)}

    def operate(self, clips: Audio, drawn: Drawn, context: Context) -> Tensor:
        wave = clips.wave
        if "sigma" in drawn:
            size = along(drawn["sigma"], wave)
        else:
            size = mean_power(wave, clips.lengths).sqrt() * 10 ** (-along(drawn["snr_db"], wave) / 20)
        return wave + size * unit_noise(wave, context.generator)


@dataclass(frozen=True)
class WaveGainConfig(WaveOpConfig):
    """A factor: uniform in decibels, or Beta(a, a) + 0.5 (Audio-MAE, arXiv 2207.06405, as released: a = 10).

    Attributes:
        db: range of the gain in dB.
        beta: a of the Beta distribution; 0: use the range.
    """

    db: Decibels = (-12.0, 12.0)
    beta: NonNegative = 0.0

    def __post_init__(self) -> None:
        check_ranges(self, "db")


class WaveGain(WaveOp):
    """Multiplies by a factor; certificate: `gain`, the factor."""

    config: WaveGainConfig

    def draw(self, audio: Audio, generator: torch.Generator) -> Drawn:
        if self.config.beta:
            uniform = torch.rand(len(audio), generator=generator, dtype=torch.float64)
            shape = self.config.beta
            return {"gain": torch.from_numpy(scipy.special.betaincinv(shape, shape, uniform.numpy())).float() + 0.5}
        return {"gain": 10 ** (between(*self.config.db, len(audio), generator) / 20)}

    def operate(self, clips: Audio, drawn: Drawn, context: Context) -> Tensor:
        return clips.wave * along(drawn["gain"], clips.wave)


@dataclass(frozen=True)
class PolarityConfig(WaveOpConfig):
    """Inverted polarity (CLMR, arXiv 2103.09410: with probability 0.8)."""

    p: Share = 0.5


class Polarity(WaveOp):
    """Inverts the sign of the samples; certificate: `inverted`."""

    def draw(self, audio: Audio, generator: torch.Generator) -> Drawn:
        return {"inverted": torch.ones(len(audio), dtype=torch.bool)}

    def operate(self, clips: Audio, drawn: Drawn, context: Context) -> Tensor:
        return -clips.wave


@dataclass(frozen=True)
class ClippingConfig(WaveOpConfig):
    """Clipping at a share of the clip's peak (PASE+, arXiv 2001.09239: 0.1, 0.3 or 0.5 with p 0.2).

    Attributes:
        factors: shares of the peak to choose from.
    """

    p: Share = 0.2
    factors: tuple[ShareAboveZero, ...] = (0.1, 0.3, 0.5)

    def __post_init__(self) -> None:
        if not self.factors:
            raise ConfigError("clipping.factors is empty; expected at least one share of the peak")


class Clipping(WaveOp):
    """Clips the amplitude; certificate: `clip_factor`."""

    config: ClippingConfig

    def draw(self, audio: Audio, generator: torch.Generator) -> Drawn:
        return {"clip_factor": one_of(self.config.factors, len(audio), generator)}

    def operate(self, clips: Audio, drawn: Drawn, context: Context) -> Tensor:
        bound = clips.wave.abs().amax(1, keepdim=True) * along(drawn["clip_factor"], clips.wave)
        return clips.wave.clamp(-bound, bound)


@dataclass(frozen=True)
class WaveFadeConfig(WaveOpConfig):
    """A fade-in and a fade-out (CLAR, arXiv 2010.09542).

    CLAR does not specify lengths and shape; here each fade takes up to half of the clip.

    Attributes:
        fade_in: range of the first fade's length as a share of the clip.
        fade_out: range of the last one's.
        shape: 'linear' in amplitude, or 'cosine' (a quarter sine).
    """

    fade_in: Shares = (0.0, 0.5)
    fade_out: Shares = (0.0, 0.5)
    shape: Literal["linear", "cosine"] = "linear"

    def __post_init__(self) -> None:
        check_ranges(self, "fade_in", "fade_out")


class WaveFade(WaveOp):
    """Fades in and out; certificate: `fade_in`, `fade_out`, shares of the clip."""

    config: WaveFadeConfig

    def draw(self, audio: Audio, generator: torch.Generator) -> Drawn:
        config, rows = self.config, len(audio)
        return {
            "fade_in": between(*config.fade_in, rows, generator),
            "fade_out": between(*config.fade_out, rows, generator),
        }

    def operate(self, clips: Audio, drawn: Drawn, context: Context) -> Tensor:
        wave = clips.wave
        lengths = clips.lengths.to(wave.device)[:, None].to(wave.dtype)
        place = torch.arange(wave.shape[1], device=wave.device, dtype=wave.dtype)
        rise = (place + 1) / (along(drawn["fade_in"], wave) * lengths).clamp(min=1)
        fall = (lengths - place) / (along(drawn["fade_out"], wave) * lengths).clamp(min=1)
        ramps = [ramp.clamp(0, 1) for ramp in (rise, fall)]
        if self.config.shape == "cosine":
            ramps = [(ramp * torch.pi / 2).sin() for ramp in ramps]
        return wave * ramps[0] * ramps[1]


@dataclass(frozen=True)
class WaveRollConfig(WaveOpConfig):
    """A circular roll by a uniformly drawn number of samples (Audio-MAE; CLAR's time shift)."""


class WaveRoll(WaveOp):
    """Rolls the valid samples to the right; certificate: `roll`, samples."""

    moves_time = True

    def draw(self, audio: Audio, generator: torch.Generator) -> Drawn:
        uniform = torch.rand(len(audio), generator=generator, dtype=torch.float64)
        return {"roll": (uniform * audio.lengths.cpu()).long()}

    def operate(self, clips: Audio, drawn: Drawn, context: Context) -> Tensor:
        wave = clips.wave
        lengths = clips.lengths.to(wave.device)[:, None]
        place = torch.arange(wave.shape[1], device=wave.device)
        source = (place - drawn["roll"].to(wave.device)[:, None]) % lengths.clamp(min=1)
        return wave.gather(1, torch.where(valid_samples(clips), source, place))


@dataclass(frozen=True)
class PitchShiftConfig(WaveOpConfig):
    """Pitch shift at the same speed, by this package's phase vocoder (CLMR: p 0.6; range not specified).

    Attributes:
        semitones: range of the shift.
    """

    semitones: Semitones = (-4.0, 4.0)

    def __post_init__(self) -> None:
        check_ranges(self, "semitones")


class PitchShift(WaveOp):
    """Shifts the pitch; certificate: `semitones`."""

    config: PitchShiftConfig

    def draw(self, audio: Audio, generator: torch.Generator) -> Drawn:
        return {"semitones": between(*self.config.semitones, len(audio), generator)}

    def operate(self, clips: Audio, drawn: Drawn, context: Context) -> Tensor:
        return shift_pitch(clips.wave, 2 ** (drawn["semitones"].double() / 12), rate=clips.rate)


@dataclass(frozen=True)
class TimeStretchConfig(WaveOpConfig):
    """Faster or slower at the same pitch; the clip keeps its length: its end is cut off, or silent.

    Attributes:
        speed: range of the speed; above 1 is faster.
    """

    speed: Speeds = (0.7, 1.3)

    def __post_init__(self) -> None:
        check_ranges(self, "speed")


class TimeStretch(WaveOp):
    """Stretches the clip in time; certificate: `speed`."""

    config: TimeStretchConfig
    moves_time = True

    def draw(self, audio: Audio, generator: torch.Generator) -> Drawn:
        return {"speed": between(*self.config.speed, len(audio), generator)}

    def operate(self, clips: Audio, drawn: Drawn, context: Context) -> Tensor:
        return stretch(clips.wave, drawn["speed"].double(), clips.wave.shape[1], rate=clips.rate)
