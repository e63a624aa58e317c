"""AudioMosaic's augmentation: a batch of clips to several differently augmented views, as normalised features.

The chain (arXiv 2605.14231, as released), each step with its own probability and range, in this order: circular roll,
gain (Beta(10, 10) + 0.5), polarity inversion, time stretch, Gaussian noise at a signal-to-noise ratio, gain in
decibels, high-pass, band-stop, pitch shift; then the front end. Two implementations use the same draws:

* `waveform` acts on samples as published, once per view: the reference.
* `spectral` makes all views of a clip from one short-time transform: an encoder on log-mels never sees phases, so most
  of the chain is a multiplication or a re-reading of the power spectrum. Many times faster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Self

import scipy.special
import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from auricle.audio.augment.draws import DB_PER_OCTAVE_PER_ORDER, Draws, Noise
from auricle.audio.augment.spectral import SpectralChain
from auricle.audio.augment.waveform import WaveformChain
from auricle.audio.batch import Audio
from auricle.audio.frontends.frontend import FrontEnd
from auricle.audio.frontends.spectral import SpectralFrontEnd
from auricle.audio.ranges import Decibels, Hertz, Semitones, Speeds, check_ranges
from auricle.audio.views import SEEDS, DegradedViewsConfig, MadeView, ViewMaker, degraded
from auricle.config import NonNegative, Share
from auricle.errors import ConfigError

_Steepness = Annotated[int, Ge(6), Le(96)]
_Fraction = Annotated[float, Ge(0.01), Le(1.999)]


@dataclass(frozen=True)
class AugmentConfig(DegradedViewsConfig):
    """Settings of the chain; the defaults are those published.

    Attributes:
        method: the implementation, `spectral` or `waveform`.
        roll: roll the clip circularly by a uniformly drawn number of samples.
        gain_beta: a of the first gain Beta(a, a) + 0.5; 0: no such gain.
        polarity_p: probability of inverted polarity.
        stretch_p: probability of a time stretch at the same pitch; the clip keeps its length: its end is cut off, or
            silent.
        stretch: range of its speed; above 1 is faster.
        noise_p: probability of white Gaussian noise.
        snr_db: range of the ratio of the clip's mean power (silence included) to the noise's, in dB.
        level_p: probability of the second gain.
        level_db: its range in dB.
        high_pass_p: probability of a Butterworth high-pass.
        high_pass_hz: range of its cut-off frequency, drawn uniformly on the mel scale.
        high_pass_db_per_octave: range of its steepness, drawn from the multiples of 6.
        band_stop_p: probability of a Butterworth band-stop.
        band_stop_hz: range of its centre, drawn uniformly on the mel scale.
        band_stop_fraction: range of its width as a fraction of the centre, below 2.
        band_stop_db_per_octave: range of the steepness of each edge, drawn from the multiples of 6.
        pitch_p: probability of a pitch shift at the same speed.
        pitch: its range in semitones.
    """

    method: Literal["spectral", "waveform"] = "spectral"
    roll: bool = True
    gain_beta: NonNegative = 10.0
    polarity_p: Share = 0.5
    stretch_p: Share = 0.7
    stretch: Speeds = (0.7, 1.3)
    noise_p: Share = 0.5
    snr_db: Decibels = (5.0, 40.0)
    level_p: Share = 0.3
    level_db: Decibels = (-12.0, 12.0)
    high_pass_p: Share = 0.3
    high_pass_hz: Hertz = (20.0, 2400.0)
    high_pass_db_per_octave: tuple[_Steepness, _Steepness] = (12, 24)
    band_stop_p: Share = 0.5
    band_stop_hz: Hertz = (200.0, 4000.0)
    band_stop_fraction: tuple[_Fraction, _Fraction] = (0.5, 1.99)
    band_stop_db_per_octave: tuple[_Steepness, _Steepness] = (12, 24)
    pitch_p: Share = 0.6
    pitch: Semitones = (-4.0, 4.0)

    def __post_init__(self) -> None:
        steepness = ("high_pass_db_per_octave", "band_stop_db_per_octave")
        check_ranges(self, "stretch", "snr_db", "level_db", "high_pass_hz", "band_stop_hz", "band_stop_fraction")
        check_ranges(self, "pitch", *steepness)
        for name in steepness:
            if any(value % DB_PER_OCTAVE_PER_ORDER for value in getattr(self, name)):
                raise ConfigError(f"augment.{name} is {getattr(self, name)}; expected multiples of 6 dB per octave")

    @classmethod
    def off(cls) -> Self:
        """Return settings that change nothing: all views are the clip's features."""
        nothing = dict.fromkeys(
            ("polarity_p", "stretch_p", "noise_p", "level_p", "high_pass_p", "band_stop_p", "pitch_p"), 0.0
        )
        return cls(roll=False, gain_beta=0.0, **nothing)  # type: ignore[arg-type]

    @classmethod
    def mild(cls) -> Self:
        """Return the whole chain, with lower probabilities and less noise: for short runs on little audio."""
        return cls(stretch_p=0.3, pitch_p=0.3, noise_p=0.2, snr_db=(15.0, 50.0), high_pass_p=0.1, band_stop_p=0.15)


class Augment(ViewMaker):
    """Makes augmented, normalised views of a batch of clips, without parameters or gradient, on the audio's device.

    All random parameters are drawn first, so that neither the device nor the implementation changes them. Rolling and
    stretching act on a clip's valid samples only; padding stays padding, and the number of frames is that of the clip.

    Certificates are `(B,)` float32 on the CPU, NaN where a transform was not applied: roll (samples), gain, polarity,
    rate, snr_db, level_db, high_pass_hz, high_pass_db_per_octave, band_stop_low_hz, band_stop_high_hz,
    band_stop_db_per_octave, semitones. The reference is None if the settings roll or stretch clips, whatever is drawn.
    """

    config: AugmentConfig
    frontend: SpectralFrontEnd

    def __init__(self, config: AugmentConfig, frontend: FrontEnd) -> None:
        if not isinstance(frontend, SpectralFrontEnd):
            raise ConfigError(
                "the augmentation needs a front end of power spectra (KaldiFbankConfig, LogMelConfig), "
                f"found {type(frontend).__name__}; use one of these"
            )
        super().__init__(config, frontend)
        self._wave = nn.ModuleList(op.build() for op in config.degradations())
        self._chain = SpectralChain(frontend) if config.method == "spectral" else WaveformChain(frontend)

    @torch.no_grad()
    def forward(self, audio: Audio, views: int, generator: torch.Generator) -> tuple[MadeView, ...]:
        self.check_input(audio, generator)
        if views < 1:
            raise ConfigError(f"{views} views were asked for; expected at least one")
        audio = Audio(audio.wave.float(), audio.lengths, audio.rate)
        draws, noise = draw(self.config, audio, views, self.frontend, generator)
        clips: list[tuple[Audio, dict[str, Tensor]]] = [(audio, {})] * views
        if len(self._wave):
            seeds = torch.randint(SEEDS, (views, len(self._wave)), generator=generator).tolist()
            clips = [degraded(self._wave, audio, chain) for chain in seeds]
        with torch.autocast(audio.wave.device.type, enabled=False):
            if len(self._wave):
                # Each view has a waveform of its own: nothing is shared between them.
                features = tuple(self._chain(c, (d,), noise)[0] for (c, _), d in zip(clips, draws, strict=True))
            else:
                features = self._chain(audio, draws, noise)
        moved = self.config.roll or self.config.stretch_p > 0
        reference = None if moved else audio
        parts = zip(features, draws, clips, strict=True)
        return tuple(MadeView(x, {**drawn.certificate(), **entries}, reference) for x, drawn, (_, entries) in parts)


def draw(
    config: AugmentConfig, audio: Audio, views: int, frontend: SpectralFrontEnd, generator: torch.Generator
) -> tuple[tuple[Draws, ...], Noise]:
    """Draw the parameters of all views of a batch.

    Every parameter is drawn for every view of every clip, used or not, in a fixed order: disabling one transform or
    changing its range leaves the draws of the others unchanged.

    Args:
        config: probabilities and ranges.
        audio: the batch; only lengths, width and rate are used.
        views: number of views.
        frontend: noise starts at a multiple of its hop, so that the noise's own frames serve all clips.
        generator: on the CPU.

    Returns:
        The draws of each view, and the noise that their offsets refer to.
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


def _beta_gain(shape: float, uniform: Tensor) -> Tensor:
    """Beta(shape, shape) + 0.5 by its inverse distribution; NaN where the shape is 0."""
    if shape == 0:
        return torch.full_like(uniform, torch.nan)
    return torch.from_numpy(scipy.special.betaincinv(shape, shape, uniform.numpy())) + 0.5
