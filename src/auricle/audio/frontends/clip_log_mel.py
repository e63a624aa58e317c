"""Log-mel features with a step that looks at a whole clip: its own mean and deviation, or its loudest value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, Self, get_args

import torch
from torch import Tensor

from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.frontend import Spectrum
from auricle.audio.frontends.log_mel import LogMel, LogMelConfig
from auricle.config import nearest
from auricle.errors import ConfigError

Over = Literal["clip", "bins"]

_NATS_PER_DB = math.log(10) / 10


@dataclass(frozen=True)
class ClipNormLogMelConfig(LogMelConfig):
    """Log-mel features that each clip normalises by its own statistics; a corpus's are not used.

    `clip`: one mean and deviation for all values of a clip (SSAM, arXiv 2406.02178, its code). `bins`: those of each
    mel bin over the clip's frames, the mean and variance normalisation of speech recognition (Mockingjay, TERA, APC
    in s3prl's code; BEST-RQ, arXiv 2202.01855). A gain on the waveform then changes nothing but where the floor lies.

    Attributes:
        over: `clip` or `bins`.
        variance_floor: added to the variance, so that silence stays zero.
    """

    over: Over = "bins"
    variance_floor: float = 1e-5

    uses_statistics: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse settings out of range.

        Raises:
            ConfigError: naming the setting.
        """
        super().__post_init__()
        if self.over not in get_args(Over):
            raise ConfigError(f"unknown over {self.over!r}{nearest(self.over, get_args(Over))}")
        if not self.variance_floor > 0:
            raise ConfigError(f"variance_floor is {self.variance_floor}; expected a small positive number")
        if self.mean is not None:
            raise ConfigError(f"mean is {self.mean}; each clip has its own here: leave mean and std None")

    def build(self) -> ClipNormLogMel:
        """Make the front end.

        Raises:
            ConfigError: the mel bands do not fit the sample rate.
        """
        return ClipNormLogMel(self)

    def with_statistics(self, mean: float, std: float) -> Self:
        """Return these settings unchanged: every clip is normalised by itself."""
        return self


class ClipNormLogMel(LogMel):
    """`Audio (B, S)` -> `Features (B, T, F)` of mean 0 and variance 1 in each clip; frames beyond its length hold 0."""

    config: ClipNormLogMelConfig

    def forward(self, audio: Audio) -> Features:
        """Return `normalise(raw(audio))`."""
        return self.normalise(self.raw(audio))

    def normalise(self, features: Features) -> Features:
        """Return raw features standardised over each clip's valid frames."""
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
    logarithms here, not decibels: what the originals do to decibels is in `mean` and `std`.

    Attributes:
        top_db: the greatest distance below a clip's loudest value, in decibels.
    """

    top_db: float = 80.0

    def __post_init__(self) -> None:
        """Refuse settings out of range.

        Raises:
            ConfigError: naming the setting.
        """
        super().__post_init__()
        if not (self.top_db > 0 and math.isfinite(self.top_db)):
            raise ConfigError(f"top_db is {self.top_db}; expected a positive number of decibels")

    def build(self) -> TopDbLogMel:
        """Make the front end.

        Raises:
            ConfigError: the mel bands do not fit the sample rate.
        """
        return TopDbLogMel(self)


class TopDbLogMel(LogMel):
    """`Audio (B, S)` -> `Features (B, T, F)`; a clip's values span at most `top_db`."""

    config: TopDbLogMelConfig

    def forward(self, audio: Audio) -> Features:
        """Return `normalise(raw(audio))`."""
        return self.normalise(self.raw(audio))

    def raw(self, audio: Audio) -> Features:
        """Return log-mel features of limited range before normalisation; zeros beyond a clip's length."""
        return self._limited(super().raw(audio))

    def log_mel(self, spectrum: Spectrum) -> Features:
        """Return raw features of limited range; zeros beyond a clip's length."""
        return self._limited(super().log_mel(spectrum))

    def _limited(self, features: Features) -> Features:
        x, inside = features.x, _inside(features)
        loudest = x.masked_fill(~inside, -torch.inf).amax((1, 2), keepdim=True)
        least = loudest - self.config.top_db * _NATS_PER_DB
        return Features(torch.maximum(x, least).where(inside, 0.0), features.lengths, features.rate)


def _inside(features: Features) -> Tensor:
    """Return `(B, T, 1)` bool: the valid frames."""
    place = torch.arange(features.x.shape[1], device=features.x.device)
    return (place < features.lengths.to(place.device)[:, None])[..., None]
