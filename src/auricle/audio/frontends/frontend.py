"""The contract of front ends: a batch of waveforms in, a batch of features with their lengths out.

Letters in shapes: B clips, S samples, T frames, F values of a frame.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

from torch import nn

from auricle.audio.batch import Audio, Features
from auricle.config import Config, Count
from auricle.errors import ConfigError


@dataclass(frozen=True)
class FrontEndConfig(Config, section="frontend"):
    """Settings of a front end.

    Attributes:
        rate: sample rate in Hz of the audio that the front end takes.
    """

    rate: Count = 16000

    uses_statistics: ClassVar[bool] = False
    """Whether features are normalised by a corpus's statistics, so that `with_statistics` changes the settings."""

    def build(self) -> FrontEnd:
        """Make the front end.

        Raises:
            ConfigError: the mel bands do not fit the sample rate.
        """
        frontend: FrontEnd = self.built_class()(self)
        return frontend

    def with_statistics(self, mean: float, std: float) -> Self:
        """Return these settings with a corpus's mean and standard deviation of the raw features.

        Settings without `uses_statistics` are returned unchanged.

        Raises:
            ConfigError: the standard deviation is not positive, or a value is not finite.
        """
        return self.replace(mean=mean, std=std) if self.uses_statistics else self


class FrontEnd(nn.Module, ABC):
    """Base of all front ends. Without parameters; works on the device and in the precision of the audio.

    Attributes:
        config: the settings.
        rate: sample rate in Hz of the audio.
        frame_rate: frames per second (the sample rate itself for the waveform).
        width: F, values per frame (1 for the waveform).
    """

    config: FrontEndConfig
    rate: int
    frame_rate: float
    width: int

    def __init__(self, config: FrontEndConfig, *, frame_rate: float, width: int) -> None:
        super().__init__()
        self.config = config
        self.rate = config.rate
        self.frame_rate = frame_rate
        self.width = width

    @abstractmethod
    def forward(self, audio: Audio) -> Features:
        """Turn audio into normalised features; frames beyond a clip's length hold `Features.pad`.

        Raises:
            ConfigError: the audio has another sample rate.
        """

    @abstractmethod
    def raw(self, audio: Audio) -> Features:
        """Return the features before normalisation, for measuring statistics; `pad` is 0.

        Raises:
            ConfigError: the audio has another sample rate.
        """

    @abstractmethod
    def frames(self, samples: int) -> int:
        """Return the number of frames of a clip of this many samples; at least one."""

    def check_rate(self, audio: Audio) -> None:
        """Refuse audio of another sample rate.

        Raises:
            ConfigError: the rates differ.
        """
        if audio.rate != self.rate:
            raise ConfigError(
                f"audio of {audio.rate} Hz met a front end of {self.rate} Hz; "
                f"decode with rate={self.rate} or build the front end with rate={audio.rate}"
            )
