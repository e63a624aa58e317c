"""What a token's stretch of sound looks like: the frames of the input, or a front end's where the input is samples."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from auricle.audio.frontends.frontend import FrontEndConfig
from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.encoders.contract import Encoder
from auricle.objectives.targets.inputs import FrontEndTargetConfig, PatchTargetConfig
from auricle.objectives.targets.target import Target, TargetConfig


@dataclass(frozen=True)
class FrameTargetConfig(TargetConfig):
    """The frames that a token stands for, side by side, as the encoder reads them.

    Encoders of samples read no frames: theirs are those of `frontend`, made of the clean waveform, each bin
    standardised over the clip.

    Attributes:
        frontend: for encoders of samples; its frame rate must be a multiple of the token rate.
    """

    frontend: FrontEndConfig = field(default_factory=lambda: LogMelConfig(mels=80, n_fft=400, window=400))

    def build(self, encoder: Encoder, generator: torch.Generator) -> Target:
        if encoder.bands is None:
            return FrontEndTargetConfig(self.frontend).build(encoder, generator)
        return PatchTargetConfig(norm="none").build(encoder, generator)
