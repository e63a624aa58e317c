"""The waveform itself as features, for encoders that start with convolutions over samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch

from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.frontend import FrontEnd, FrontEndConfig
from auricle.errors import ConfigError

# Added to a clip's variance, so that silence stays silent (wav2vec 2.0's feature extractor).
_VARIANCE_FLOOR = 1e-7


@dataclass(frozen=True)
class WaveformConfig(FrontEndConfig):
    """Settings of the waveform front end.

    Attributes:
        rate: sample rate in Hz.
        normalise: 'none': samples as they are; 'clip': each clip to zero mean and unit variance over its valid samples.
    """

    normalise: Literal["none", "clip"] = "none"

    uses_statistics: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse settings out of range."""
        super().__post_init__()
        if self.normalise not in ("none", "clip"):
            raise ConfigError(f"normalise is {self.normalise!r}; expected 'none' or 'clip'")

    def build(self) -> Waveform:
        """Make the front end."""
        return Waveform(self)

    def with_statistics(self, mean: float, std: float) -> Self:
        """Return these settings unchanged: samples are normalised clip by clip, or not at all."""
        return self


class Waveform(FrontEnd):
    """`Audio (B, S)` -> `Features (B, S)`, zeros beyond a clip's length; differentiable, any device."""

    config: WaveformConfig

    def __init__(self, config: WaveformConfig) -> None:
        super().__init__(config, frame_rate=float(config.rate), width=1)

    def frames(self, samples: int) -> int:
        """Return the samples: each is a frame. At least one."""
        return max(1, samples)

    def raw(self, audio: Audio) -> Features:
        """Return the samples as they are.

        Raises:
            ConfigError: the audio has another sample rate.
        """
        self.check_rate(audio)
        return Features(audio.wave, audio.lengths, self.frame_rate)

    def forward(self, audio: Audio) -> Features:
        """Return the samples, normalised as the settings say.

        Raises:
            ConfigError: the audio has another sample rate.
        """
        features = self.raw(audio)
        if self.config.normalise == "none":
            return features
        wave = features.x
        valid = torch.arange(wave.shape[1], device=wave.device) < features.lengths[:, None]
        count = features.lengths.clamp(min=1)[:, None]
        centred = (wave - (wave * valid).sum(1, keepdim=True) / count) * valid
        variance = centred.square().sum(1, keepdim=True) / count
        x = centred / (variance + _VARIANCE_FLOOR).sqrt()
        return Features(x, features.lengths, features.rate)
