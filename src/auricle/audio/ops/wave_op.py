"""The contract of operators on waveforms: clips in, clips of the same lengths out, and what was done to each.

An operator acts on each clip with a probability. Random parameters are drawn first, on the CPU, for all clips; the
work is then done on the device of the audio, for the chosen clips only. Padding stays zero.

Letters in shapes: B clips, R chosen clips, S samples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from auricle.audio.batch import Audio
from auricle.config import Config, Share

Drawn = dict[str, Tensor]
"""Random parameters by name, each `(B, ...)` on the CPU; names with a leading underscore are not certified."""


@dataclass(frozen=True)
class WaveOpConfig(Config):
    """Base of the settings of operators on waveforms.

    Attributes:
        p: probability of acting on a clip.
    """

    p: Share = 1.0

    def build(self) -> WaveOp:
        """Make the operator."""
        operator: WaveOp = self.built_class()(self)
        return operator


@dataclass(frozen=True)
class Context:
    """The batch that an operator's clips come from.

    Attributes:
        batch: all clips of the batch before this operator: mixing partners come from here.
        rows: `(R,)` int64 on the CPU, rows of the chosen clips in the batch.
        generator: for noise, on the CPU.
    """

    batch: Audio
    rows: Tensor
    generator: torch.Generator


class WaveOp(nn.Module, ABC):
    """An operator on a batch of waveforms, without parameters or gradient.

    Attributes:
        config: the settings.
        moves_time: whether sounds move in time, so that the clip before the operator is no reference for targets.
    """

    moves_time: ClassVar[bool] = False

    def __init__(self, config: WaveOpConfig) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def draw(self, audio: Audio, generator: torch.Generator) -> Drawn:
        """Draw the parameters of every clip, used or not, in a fixed order, on the CPU.

        Raises:
            ConfigError: the settings do not fit the audio's sample rate.
        """

    @abstractmethod
    def operate(self, clips: Audio, drawn: Drawn, context: Context) -> Tensor:
        """Return the waves `(R, S)` of the chosen clips; their padding is zeroed afterwards."""

    @torch.no_grad()
    def forward(self, audio: Audio, generator: torch.Generator) -> tuple[Audio, Mapping[str, Tensor]]:
        chosen = torch.rand(len(audio), generator=generator) < self.config.p
        drawn = self.draw(audio, generator)
        rows = chosen.nonzero()[:, 0]
        wave = audio.wave
        if len(rows):
            where = rows.to(wave.device)
            clips = Audio(wave[where], audio.lengths[where.to(audio.lengths.device)], audio.rate)
            made = self.operate(
                clips, {name: value[rows] for name, value in drawn.items()}, Context(audio, rows, generator)
            )
            wave = wave.index_copy(0, where, made * valid_samples(clips))
        certificate = {name: _unless(chosen, value) for name, value in drawn.items() if not name.startswith("_")}
        return Audio(wave, audio.lengths, audio.rate), certificate


def between(low: float, high: float, rows: int, generator: torch.Generator) -> Tensor:
    """Return `(rows,)` float32 drawn uniformly from low to high."""
    return low + (high - low) * torch.rand(rows, generator=generator)


def one_of(values: tuple[float, ...], rows: int, generator: torch.Generator) -> Tensor:
    """Return `(rows,)` float32, each one of the values with equal probability."""
    return torch.tensor(values)[torch.randint(len(values), (rows,), generator=generator)]


def valid_samples(audio: Audio) -> Tensor:
    """Return `(B, S)` bool, False in padding."""
    return torch.arange(audio.wave.shape[1], device=audio.wave.device) < audio.lengths.to(audio.wave.device)[:, None]


def along(values: Tensor, wave: Tensor) -> Tensor:
    """Return per-clip values `(R,)` as `(R, 1)` in the precision and on the device of the wave."""
    return values.to(wave)[:, None]


def mean_power(wave: Tensor, lengths: Tensor) -> Tensor:
    """Return the mean square `(R, 1)` over each clip's valid samples; the wave is zero in its padding."""
    return (wave.square().sum(1) / lengths.to(wave.device).clamp(min=1))[:, None]


def unit_noise(wave: Tensor, generator: torch.Generator) -> Tensor:
    """Return white Gaussian noise of unit variance in the shape of the wave `(R, S)`.

    The clips share one noise of twice their length, each from its own offset: many times cheaper than separate noise,
    and two clips rarely get the same offset.
    """
    rows, samples = wave.shape
    noise = torch.randn(2 * samples, generator=generator).to(wave)
    starts = torch.randint(samples, (rows,), generator=generator).to(wave.device)
    return noise.unfold(0, samples, 1)[starts]


def _unless(chosen: Tensor, value: Tensor) -> Tensor:
    kept = chosen.reshape(-1, *([1] * (value.dim() - 1)))
    if value.dtype == torch.bool:
        return value & kept
    return torch.where(kept, value, torch.nan if value.is_floating_point() else -1)
