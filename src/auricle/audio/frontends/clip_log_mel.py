"""Log-mel features with a step over a whole clip: its own mean and deviation, its loudest value, or its level."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.log_mel import LogMel, LogMelConfig
from auricle.audio.frontends.spectral import Spectrum
from auricle.config import Positive
from auricle.errors import ConfigError

_NATS_PER_DB = math.log(10) / 10
# A range below this one is that of silence.
_NARROWEST = 1e-8


@dataclass(frozen=True)
class ClipNormLogMelConfig(LogMelConfig):
    """Log-mel features normalised by each clip's own statistics; a corpus's are not used.

    `clip`: one mean and deviation for all values of a clip (SSAM, arXiv 2406.02178, its code). `bins`: those of each
    mel bin over the clip's frames, the mean and variance normalisation of speech recognition (Mockingjay, TERA, APC
    in s3prl's code; BEST-RQ, arXiv 2202.01855). A gain on the waveform then changes only the effect of the floor.

    Attributes:
        over: `clip` or `bins`.
        variance_floor: added to the variance, so that silence stays zero.
    """

    over: Literal["clip", "bins"] = "bins"
    variance_floor: Positive = 1e-5

    uses_statistics: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mean is not None:
            raise ConfigError(f"mean is {self.mean}; each clip has its own mean: leave mean and std None")


class ClipNormLogMel(LogMel):
    """`Audio (B, S)` -> `Features (B, T, F)` of mean 0 and variance 1 in each clip; frames beyond its length hold 0."""

    config: ClipNormLogMelConfig

    def forward(self, audio: Audio) -> Features:
        return self.normalise(self.raw(audio))

    def normalise(self, features: Features) -> Features:
        x, over = features.x, (1,) if self.config.over == "bins" else (1, 2)
        inside = _inside(features)
        count = features.lengths.to(x.device).clamp(min=1).to(x.dtype)[:, None, None]
        count = count * (1 if self.config.over == "bins" else x.shape[2])
        mean = x.where(inside, 0.0).sum(over, keepdim=True) / count
        centred = (x - mean).where(inside, 0.0)
        variance = centred.square().sum(over, keepdim=True) / count
        return Features(centred * (variance + self.config.variance_floor).rsqrt(), features.lengths, features.rate)


@dataclass(frozen=True)
class TopDbLogMelConfig(LogMelConfig):
    """Log-mel features of limited range: values far below the clip's loudest are raised to that distance.

    ATST (arXiv 2204.12076, its code) has 80 dB, Dasheng (arXiv 2406.06992, its code) 120 dB. Values are natural
    logarithms; the originals' scaling of decibels is in `mean` and `std`.

    Attributes:
        top_db: the greatest distance below a clip's loudest value, in decibels.
    """

    top_db: Positive = 80.0


class TopDbLogMel(LogMel):
    """`Audio (B, S)` -> `Features (B, T, F)`; a clip's values span at most `top_db`."""

    config: TopDbLogMelConfig

    def forward(self, audio: Audio) -> Features:
        return self.normalise(self.raw(audio))

    def raw(self, audio: Audio) -> Features:
        return self._limited(super().raw(audio))

    def log_mel(self, spectrum: Spectrum) -> Features:
        return self._limited(super().log_mel(spectrum))

    def _limited(self, features: Features) -> Features:
        x, inside = features.x, _inside(features)
        loudest = x.masked_fill(~inside, -torch.inf).amax((1, 2), keepdim=True)
        least = loudest - self.config.top_db * _NATS_PER_DB
        return Features(torch.maximum(x, least).where(inside, 0.0), features.lengths, features.rate)


@dataclass(frozen=True)
class RangeLogMelConfig(TopDbLogMelConfig):
    """Log-mel features of limited range, scaled so that each clip reaches from 0 to 1 (BAT, ICML 2026, its code)."""

    uses_statistics: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mean is not None:
            raise ConfigError(f"mean is {self.mean}; each clip has its own range: leave mean and std None")


class RangeLogMel(TopDbLogMel):
    """`Audio (B, S)` -> `Features (B, T, F)` in 0 ... 1; frames beyond a clip's length, and silence, hold 0."""

    config: RangeLogMelConfig

    def normalise(self, features: Features) -> Features:
        x, inside = features.x, _inside(features)
        least = x.masked_fill(~inside, torch.inf).amin((1, 2), keepdim=True)
        most = x.masked_fill(~inside, -torch.inf).amax((1, 2), keepdim=True)
        scaled = (x - least) / (most - least).clamp(min=_NARROWEST)
        return Features(scaled.where(inside, 0.0), features.lengths, features.rate)


@dataclass(frozen=True)
class LevelLogMelConfig(LogMelConfig):
    """Log-mel features of clips scaled to one mean power; silence stays silent.

    COLA (arXiv 2010.10915, released code) scales clips to unit Euclidean norm, so that their level depends on their
    length. Scaling to the mean power of unit norm over 0.96 s at 16 kHz (1 / 15360) gives clips of any length the same
    level, in training and in later use.

    Attributes:
        level: mean power (mean square of the samples) of every clip.
    """

    level: Positive = 1 / 15360


class LevelLogMel(LogMel):
    """`Audio (B, S)` -> `Features (B, T, F)` of clips of one mean power over their valid samples."""

    config: LevelLogMelConfig

    def condition(self, wave: Tensor, lengths: Tensor | None) -> Tensor:
        if lengths is None:
            power = wave.square().mean(1)
        else:
            inside = torch.arange(wave.shape[1], device=wave.device) < lengths.to(wave.device)[:, None]
            power = (wave * inside).square().sum(1) / lengths.to(wave).clamp(min=1)
        scale = torch.where(power > 0, self.config.level / power.clamp(min=torch.finfo(power.dtype).tiny), 1.0).sqrt()
        return super().condition(wave * scale[:, None], lengths)


def _inside(features: Features) -> Tensor:
    """Return `(B, T, 1)` bool: the valid frames."""
    place = torch.arange(features.x.shape[1], device=features.x.device)
    return (place < features.lengths.to(place.device)[:, None])[..., None]
