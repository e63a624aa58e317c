"""AudioMosaic's augmentation: a batch of clips to several differently augmented views, as normalised features.

The chain (arXiv 2605.14231, as released), each step with its own probability and range, in this order: circular roll,
gain (Beta(10, 10) + 0.5), polarity inversion, time stretch, Gaussian noise at a signal-to-noise ratio, gain in
decibels, high-pass, band-stop, pitch shift; then the front end. Two implementations obey the same draws:

* `waveform` acts on samples as published, once per view: the reference.
* `spectral` takes one short-time transform per clip, and makes all views from its power: an encoder that reads log-mels
  never sees phases, so most of the chain is a multiplication or a re-reading of the power spectrum. Many times faster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import torch

from auricle.audio.augment.draws import DB_PER_OCTAVE_PER_ORDER, draw
from auricle.audio.augment.spectral import SpectralChain
from auricle.audio.augment.waveform import WaveformChain
from auricle.audio.batch import Audio
from auricle.audio.frontends.frontend import FrontEnd, SpectralFrontEnd
from auricle.audio.views import MadeView, ViewMaker, ViewsConfig
from auricle.errors import ConfigError


@dataclass(frozen=True)
class AugmentConfig(ViewsConfig):
    """Settings of the chain; the defaults are those published.

    Attributes:
        method: the implementation, `spectral` or `waveform`.
        roll: whether the clip is rolled by a uniformly drawn number of samples, circularly.
        gain_beta: a of the first gain Beta(a, a) + 0.5; 0: no such gain.
        polarity_p: probability of inverted polarity.
        stretch_p: probability of a time stretch at the same pitch; the clip keeps its length: what passes the end is
            cut off, what is missing at the end is silent.
        stretch: range of its speed; above 1 is faster.
        noise_p: probability of white Gaussian noise.
        snr_db: range of the ratio of the clip's mean power (silence included) to the noise's, in dB.
        level_p: probability of the second gain.
        level_db: its range in dB.
        high_pass_p: probability of a Butterworth high-pass.
        high_pass_hz: range of its cut-off frequency, drawn evenly on the mel scale.
        high_pass_db_per_octave: range of its steepness, drawn from the multiples of 6.
        band_stop_p: probability of a Butterworth band-stop.
        band_stop_hz: range of its centre, drawn evenly on the mel scale.
        band_stop_fraction: range of its width as a fraction of the centre, below 2.
        band_stop_db_per_octave: range of the steepness of each edge, drawn from the multiples of 6.
        pitch_p: probability of a pitch shift at the same speed.
        pitch: its range in semitones.
    """

    method: Literal["spectral", "waveform"] = "spectral"
    roll: bool = True
    gain_beta: float = 10.0
    polarity_p: float = 0.5
    stretch_p: float = 0.7
    stretch: tuple[float, float] = (0.7, 1.3)
    noise_p: float = 0.5
    snr_db: tuple[float, float] = (5.0, 40.0)
    level_p: float = 0.3
    level_db: tuple[float, float] = (-12.0, 12.0)
    high_pass_p: float = 0.3
    high_pass_hz: tuple[float, float] = (20.0, 2400.0)
    high_pass_db_per_octave: tuple[int, int] = (12, 24)
    band_stop_p: float = 0.5
    band_stop_hz: tuple[float, float] = (200.0, 4000.0)
    band_stop_fraction: tuple[float, float] = (0.5, 1.99)
    band_stop_db_per_octave: tuple[int, int] = (12, 24)
    pitch_p: float = 0.6
    pitch: tuple[float, float] = (-4.0, 4.0)

    def __post_init__(self) -> None:
        """Refuse settings out of range."""
        if self.method not in ("spectral", "waveform"):
            raise ConfigError(f"augment.method is {self.method!r}; choose 'spectral' or 'waveform'")
        if self.gain_beta < 0:
            raise ConfigError(f"augment.gain_beta is {self.gain_beta}; it is positive, or 0 for no gain")
        for name in ("polarity_p", "stretch_p", "noise_p", "level_p", "high_pass_p", "band_stop_p", "pitch_p"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"augment.{name} is {getattr(self, name)}; a probability lies between 0 and 1")
        self._check("stretch", 0.1, 10.0)
        self._check("snr_db", -200.0, 200.0)
        self._check("level_db", -200.0, 200.0)
        self._check("high_pass_hz", 1.0, self.high_pass_hz[1])
        self._check("band_stop_hz", 1.0, self.band_stop_hz[1])
        self._check("band_stop_fraction", 0.01, 1.999)
        self._check("pitch", -24.0, 24.0)
        for name in ("high_pass_db_per_octave", "band_stop_db_per_octave"):
            self._check(name, 6, 96)
            if any(value % DB_PER_OCTAVE_PER_ORDER for value in getattr(self, name)):
                raise ConfigError(f"augment.{name} is {getattr(self, name)}; both are multiples of 6 dB per octave")

    def _check(self, name: str, least: float, most: float) -> None:
        low, high = getattr(self, name)
        if not least <= low <= high <= most:
            raise ConfigError(
                f"augment.{name} is ({low}, {high}); give (lowest, highest) in this order, between {least} and {most}"
            )

    @classmethod
    def off(cls) -> Self:
        """Return settings that change nothing: all views are the clip's features."""
        nothing = dict.fromkeys(
            ("polarity_p", "stretch_p", "noise_p", "level_p", "high_pass_p", "band_stop_p", "pitch_p"), 0.0
        )
        return cls(roll=False, gain_beta=0.0, **nothing)  # type: ignore[arg-type]

    @classmethod
    def light(cls) -> Self:
        """Return the published settings without time stretch and pitch shift."""
        return cls(stretch_p=0.0, pitch_p=0.0)

    @classmethod
    def mild(cls) -> Self:
        """Return the whole chain, each step less often and noise from 15 dB on: for short runs on little audio.

        How it was chosen, and how far that was measured: benchmarks/foundation.md.
        """
        return cls(stretch_p=0.3, pitch_p=0.3, noise_p=0.2, snr_db=(15.0, 50.0), high_pass_p=0.1, band_stop_p=0.15)

    def build(self, frontend: FrontEnd) -> Augment:
        """Make the augmentation for a front end.

        Raises:
            ConfigError: the front end has no power spectrum to augment.
        """
        if not isinstance(frontend, SpectralFrontEnd):
            raise ConfigError(
                f"augmentation needs a front end of power spectra (KaldiFbankConfig, LogMelConfig), "
                f"found {type(frontend).__name__}"
            )
        return Augment(self, frontend)


class Augment(ViewMaker):
    """A batch of clips to augmented, normalised views.

    Nothing here has parameters or a gradient. The work is done on the device of the audio.

    Attributes:
        config: the settings.
        frontend: the front end whose features come out.
    """

    def __init__(self, config: AugmentConfig, frontend: SpectralFrontEnd) -> None:
        super().__init__()
        self.config = config
        self.frontend = frontend
        self._chain = SpectralChain(frontend) if config.method == "spectral" else WaveformChain(frontend)

    @torch.no_grad()
    def forward(self, audio: Audio, views: int, generator: torch.Generator) -> tuple[MadeView, ...]:
        """Return each view: its features, its certificate, and the clips as its reference if they kept their time.

        Everything that chance decides is drawn from the generator first, so that neither the device nor the
        implementation changes it. Rolling and stretching act on a clip's valid samples only; its padding stays
        padding, and its number of frames is that of the clip.

        Args:
            audio: `(B, S)`, each clip at least one sample long.
            views: how many, at least 1.
            generator: on the CPU.

        Returns:
            The views. The certificate's tensors are `(B,)` float32 on the CPU, NaN where a transform was not applied:
            roll (samples), gain, polarity, rate, snr_db, level_db, high_pass_hz, high_pass_db_per_octave,
            band_stop_low_hz, band_stop_high_hz, band_stop_db_per_octave, semitones. The reference is None where the
            settings roll or stretch clips, whatever was drawn.

        Raises:
            ConfigError: the rate is not the front end's, the generator is not on the CPU, or there are no views.
        """
        self.frontend.check_rate(audio)
        if generator.device.type != "cpu":
            raise ConfigError(f"the generator is on {generator.device}; draws are made on the CPU: torch.Generator()")
        if views < 1:
            raise ConfigError(f"{views} views were asked for; at least one is needed")
        audio = Audio(audio.wave.float(), audio.lengths, audio.rate)
        draws, noise = draw(self.config, audio, views, self.frontend, generator)
        with torch.autocast(audio.wave.device.type, enabled=False):
            features = self._chain(audio, draws, noise)
        moved = self.config.roll or self.config.stretch_p > 0
        reference = None if moved else audio
        return tuple(MadeView(x, d.certificate(), reference) for x, d in zip(features, draws, strict=True))
