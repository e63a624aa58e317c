"""Operators that add to a waveform, or scale it: noise, gains, polarity, clipping, fades, rolls, stretches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import scipy.special
import torch
from torch import Tensor

from auricle.audio.batch import Audio
from auricle.audio.ops.phase_vocoder import shift_pitch, stretch
from auricle.audio.ops.wave_op import (
    Drawn,
    Scene,
    WaveOp,
    WaveOpConfig,
    along,
    between,
    mean_power,
    one_of,
    unit_noise,
    valid_samples,
)
from auricle.errors import ConfigError


@dataclass(frozen=True)
class WaveNoiseConfig(WaveOpConfig):
    """White Gaussian noise. COLA (arXiv 2010.10915, as released) has `sigma=(0.001, 0.001)` on the positive only.

    Attributes:
        snr_db: range of the ratio of the clip's mean power to the noise's, in dB.
        choices_db: ratios to choose from instead of the range (PASE+: 0, 5, 10).
        sigma: range of the noise's standard deviation in units of the samples, instead of a ratio.
    """

    snr_db: tuple[float, float] = (5.0, 40.0)
    choices_db: tuple[float, ...] = ()
    sigma: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Refuse settings out of range."""
        super().__post_init__()
        self._check_range("snr_db", -200.0, 200.0)
        if self.sigma is not None:
            self._check_range("sigma", 0.0, 1e6)
            if self.choices_db:
                raise ConfigError("WaveNoiseConfig has choices_db and sigma; give one of them")

    def build(self) -> WaveNoise:
        """Make the operator."""
        return WaveNoise(self)


class WaveNoise(WaveOp):
    """Adds white Gaussian noise; certificate: `snr_db` or `sigma`."""

    config: WaveNoiseConfig

    def draw(self, audio: Audio, generator: torch.Generator) -> Drawn:
        """Draw the level of the noise."""
        config = self.config
        if config.sigma is not None:
            return {"sigma": between(*config.sigma, len(audio), generator)}
        if config.choices_db:
            return {"snr_db": one_of(config.choices_db, len(audio), generator)}
        return {"snr_db": between(*config.snr_db, len(audio), generator)}

    def operate(self, clips: Audio, drawn: Drawn, scene: Scene) -> Tensor:
        """Add it."""
        wave = clips.wave
        if "sigma" in drawn:
            size = along(drawn["sigma"], wave)
        else:
            size = mean_power(wave, clips.lengths).sqrt() * 10 ** (-along(drawn["snr_db"], wave) / 20)
        return wave + size * unit_noise(wave, scene.generator)


@dataclass(frozen=True)
class WaveGainConfig(WaveOpConfig):
    """A factor: even in decibels, or Beta(a, a) + 0.5 (Audio-MAE, arXiv 2207.06405, as released: a = 10).

    Attributes:
        db: range of the gain in dB.
        beta: a of the Beta distribution instead of the range; 0: the range.
    """

    db: tuple[float, float] = (-12.0, 12.0)
    beta: float = 0.0

    def __post_init__(self) -> None:
        """Refuse settings out of range."""
        super().__post_init__()
        self._check_range("db", -200.0, 200.0)
        if self.beta < 0:
            raise ConfigError(f"WaveGainConfig.beta is {self.beta}; it is positive, or 0 for the range in dB")

    def build(self) -> WaveGain:
        """Make the operator."""
        return WaveGain(self)


class WaveGain(WaveOp):
    """Multiplies by a factor; certificate: `gain`, the factor."""

    config: WaveGainConfig

    def draw(self, audio: Audio, generator: torch.Generator) -> Drawn:
        """Draw the factor."""
        if self.config.beta:
            uniform = torch.rand(len(audio), generator=generator, dtype=torch.float64)
            shape = self.config.beta
            return {"gain": torch.from_numpy(scipy.special.betaincinv(shape, shape, uniform.numpy())).float() + 0.5}
        return {"gain": 10 ** (between(*self.config.db, len(audio), generator) / 20)}

    def operate(self, clips: Audio, drawn: Drawn, scene: Scene) -> Tensor:
        """Multiply by it."""
        return clips.wave * along(drawn["gain"], clips.wave)


@dataclass(frozen=True)
class PolarityConfig(WaveOpConfig):
    """Inverted polarity (CLMR, arXiv 2103.09410: with probability 0.8)."""

    p: float = 0.5

    def build(self) -> Polarity:
        """Make the operator."""
        return Polarity(self)


class Polarity(WaveOp):
    """Inverts the sign of the samples; certificate: `inverted`."""

    def draw(self, audio: Audio, generator: torch.Generator) -> Drawn:
        """Nothing but the choice of the clips is random."""
        return {"inverted": torch.ones(len(audio), dtype=torch.bool)}

    def operate(self, clips: Audio, drawn: Drawn, scene: Scene) -> Tensor:
        """Invert."""
        return -clips.wave


@dataclass(frozen=True)
class ClippingConfig(WaveOpConfig):
    """Samples beyond a share of the clip's peak are set to it (PASE+, arXiv 2001.09239: 0.1, 0.3 or 0.5 with p 0.2).

    Attributes:
        factors: shares of the peak to choose from.
    """

    p: float = 0.2
    factors: tuple[float, ...] = (0.1, 0.3, 0.5)

    def __post_init__(self) -> None:
        """Refuse settings out of range."""
        super().__post_init__()
        if not self.factors or not all(0 < factor <= 1 for factor in self.factors):
            raise ConfigError(f"ClippingConfig.factors are {self.factors}; give shares of the peak above 0, at most 1")

    def build(self) -> Clipping:
        """Make the operator."""
        return Clipping(self)


class Clipping(WaveOp):
    """Clips the amplitude; certificate: `clip_factor`."""

    config: ClippingConfig

    def draw(self, audio: Audio, generator: torch.Generator) -> Drawn:
        """Draw the share of the peak."""
        return {"clip_factor": one_of(self.config.factors, len(audio), generator)}

    def operate(self, clips: Audio, drawn: Drawn, scene: Scene) -> Tensor:
        """Clip."""
        bound = clips.wave.abs().amax(1, keepdim=True) * along(drawn["clip_factor"], clips.wave)
        return clips.wave.clamp(-bound, bound)


@dataclass(frozen=True)
class WaveFadeConfig(WaveOpConfig):
    """The clip grows from silence at its start and falls to it at its end (CLAR, arXiv 2010.09542).

    CLAR's lengths and shape are not known to us; these are chosen: each fade up to half of the clip.

    Attributes:
        fade_in: range of the first fade's length as a share of the clip.
        fade_out: range of the last one's.
        shape: 'linear' in amplitude, or 'cosine' (a quarter sine).
    """

    fade_in: tuple[float, float] = (0.0, 0.5)
    fade_out: tuple[float, float] = (0.0, 0.5)
    shape: Literal["linear", "cosine"] = "linear"

    def __post_init__(self) -> None:
        """Refuse settings out of range."""
        super().__post_init__()
        self._check_range("fade_in", 0.0, 1.0)
        self._check_range("fade_out", 0.0, 1.0)
        if self.shape not in ("linear", "cosine"):
            raise ConfigError(f"WaveFadeConfig.shape is {self.shape!r}; expected 'linear' or 'cosine'")

    def build(self) -> WaveFade:
        """Make the operator."""
        return WaveFade(self)


class WaveFade(WaveOp):
    """Fades in and out; certificate: `fade_in`, `fade_out`, shares of the clip."""

    config: WaveFadeConfig

    def draw(self, audio: Audio, generator: torch.Generator) -> Drawn:
        """Draw the lengths."""
        config, rows = self.config, len(audio)
        return {
            "fade_in": between(*config.fade_in, rows, generator),
            "fade_out": between(*config.fade_out, rows, generator),
        }

    def operate(self, clips: Audio, drawn: Drawn, scene: Scene) -> Tensor:
        """Multiply by both ramps."""
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
    """The clip is rolled circularly by an evenly drawn number of samples (Audio-MAE; CLAR's time shift)."""

    def build(self) -> WaveRoll:
        """Make the operator."""
        return WaveRoll(self)


class WaveRoll(WaveOp):
    """Rolls the valid samples to the right; certificate: `roll`, samples."""

    moves_time = True

    def draw(self, audio: Audio, generator: torch.Generator) -> Drawn:
        """Draw the shift."""
        uniform = torch.rand(len(audio), generator=generator, dtype=torch.float64)
        return {"roll": (uniform * audio.lengths.cpu()).long()}

    def operate(self, clips: Audio, drawn: Drawn, scene: Scene) -> Tensor:
        """Roll."""
        wave = clips.wave
        lengths = clips.lengths.to(wave.device)[:, None]
        place = torch.arange(wave.shape[1], device=wave.device)
        source = (place - drawn["roll"].to(wave.device)[:, None]) % lengths.clamp(min=1)
        return wave.gather(1, torch.where(valid_samples(clips), source, place))


@dataclass(frozen=True)
class PitchShiftConfig(WaveOpConfig):
    """Pitch shift at the same speed, by this package's phase vocoder (CLMR: p 0.6; its range is chosen here).

    Attributes:
        semitones: range of the shift.
    """

    semitones: tuple[float, float] = (-4.0, 4.0)

    def __post_init__(self) -> None:
        """Refuse settings out of range."""
        super().__post_init__()
        self._check_range("semitones", -24.0, 24.0)

    def build(self) -> PitchShift:
        """Make the operator."""
        return PitchShift(self)


class PitchShift(WaveOp):
    """Shifts the pitch; certificate: `semitones`."""

    config: PitchShiftConfig

    def draw(self, audio: Audio, generator: torch.Generator) -> Drawn:
        """Draw the shift."""
        return {"semitones": between(*self.config.semitones, len(audio), generator)}

    def operate(self, clips: Audio, drawn: Drawn, scene: Scene) -> Tensor:
        """Shift."""
        return shift_pitch(clips.wave, 2 ** (drawn["semitones"].double() / 12), rate=clips.rate)


@dataclass(frozen=True)
class TimeStretchConfig(WaveOpConfig):
    """Faster or slower at the same pitch; the clip keeps its length: its end is cut off, or silent.

    Attributes:
        speed: range of the speed; above 1 is faster.
    """

    speed: tuple[float, float] = (0.7, 1.3)

    def __post_init__(self) -> None:
        """Refuse settings out of range."""
        super().__post_init__()
        self._check_range("speed", 0.1, 10.0)

    def build(self) -> TimeStretch:
        """Make the operator."""
        return TimeStretch(self)


class TimeStretch(WaveOp):
    """Stretches the clip in time; certificate: `speed`."""

    config: TimeStretchConfig
    moves_time = True

    def draw(self, audio: Audio, generator: torch.Generator) -> Drawn:
        """Draw the speed."""
        return {"speed": between(*self.config.speed, len(audio), generator)}

    def operate(self, clips: Audio, drawn: Drawn, scene: Scene) -> Tensor:
        """Stretch."""
        return stretch(clips.wave, drawn["speed"].double(), clips.wave.shape[1], rate=clips.rate)
