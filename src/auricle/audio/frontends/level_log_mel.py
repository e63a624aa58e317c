"""Log-mel features of clips that are all equally loud: a gain on the waveform changes nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from auricle.audio.frontends.log_mel import LogMel, LogMelConfig
from auricle.errors import ConfigError


@dataclass(frozen=True)
class LevelLogMelConfig(LogMelConfig):
    """Log-mel features behind a level: every clip is first scaled to one mean power; silence stays silent.

    COLA (arXiv 2010.10915, released code) scales clips to unit Euclidean norm, so that their level goes by their
    length. Said as a mean power, that of unit norm over 0.96 s at 16 kHz (1 / 15360), clips of any length come out
    alike, in training and wherever the encoder is used afterwards.

    Attributes:
        level: mean power (mean square of the samples) of every clip.
    """

    level: float = 1 / 15360

    def __post_init__(self) -> None:
        """Refuse a level that is not positive.

        Raises:
            ConfigError: naming it.
        """
        super().__post_init__()
        if not (self.level > 0 and math.isfinite(self.level)):
            raise ConfigError(f"level is {self.level}; expected a positive mean power")

    def build(self) -> LevelLogMel:
        """Make the front end.

        Raises:
            ConfigError: the mel bands do not fit the sample rate.
        """
        return LevelLogMel(self)


class LevelLogMel(LogMel):
    """`Audio (B, S)` -> `Features (B, T, F)` of clips of one mean power over their valid samples."""

    config: LevelLogMelConfig

    def condition(self, wave: Tensor, lengths: Tensor | None) -> Tensor:
        """Scale each clip, then do what every log-mel front end does at its ends."""
        if lengths is None:
            power = wave.square().mean(1)
        else:
            inside = torch.arange(wave.shape[1], device=wave.device) < lengths.to(wave.device)[:, None]
            power = (wave * inside).square().sum(1) / lengths.to(wave).clamp(min=1)
        scale = torch.where(power > 0, self.config.level / power.clamp(min=torch.finfo(power.dtype).tiny), 1.0).sqrt()
        return super().condition(wave * scale[:, None], lengths)
