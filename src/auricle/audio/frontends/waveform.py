"""The waveform itself as features, for encoders that start with convolutions over samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.frontend import FrontEnd, FrontEndConfig

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


class Waveform(FrontEnd):
    """`Audio (B, S)` -> `Features (B, S)`, zeros beyond a clip's length; differentiable, any device."""

    config: WaveformConfig

    def __init__(self, config: WaveformConfig) -> None:
        super().__init__(config, frame_rate=float(config.rate), width=1)

    def frames(self, samples: int) -> int:
        return max(1, samples)

    def raw(self, audio: Audio) -> Features:
        self.check_rate(audio)
        return Features(audio.wave, audio.lengths, self.frame_rate)

    def forward(self, audio: Audio) -> Features:
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
