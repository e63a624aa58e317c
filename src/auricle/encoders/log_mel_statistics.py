"""The baseline without learning: log-mel statistics, as an encoder without weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from auricle.audio.batch import Features
from auricle.config import Count, Positive
from auricle.encoders.contract import Ability, Encoder, EncoderConfig, Grid, Layer, Tokens
from auricle.errors import ConfigError


@dataclass(frozen=True)
class LogMelStatisticsConfig(EncoderConfig):
    """Settings of the baseline.

    Attributes:
        mels: mel bins of the input; also the width of a token.
        frames_per_token: frames averaged into one token (16: 160 ms at 100 frames per second).
        frame_rate: frames per second of the front end.
    """

    mels: Count = 128
    frames_per_token: Count = 16
    frame_rate: Positive = 100.0


class LogMelStatistics(Encoder):
    """Tokens are frames averaged over 160 ms; the clip vector is each mel bin's mean and deviation over frames.

    It has no weights and no layers (its depth is 0: layer 0 is its tokens). The two statistics are two class tokens
    `(B, 2, mels)`: mean, and standard deviation (of the population; zero for a single frame).
    """

    abilities = frozenset({Ability.EXACT_PADDING, Ability.CLS})

    def __init__(self, config: LogMelStatisticsConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.width, self.depth = config.mels, 0
        self.bands, self.input_rate = config.mels, config.frame_rate

    @property
    def pooled_width(self) -> int:
        return 2 * self.width

    def grid(self, frames: int) -> Grid:
        step = self.config.frames_per_token
        return Grid(-(-frames // step), 1, self.config.frame_rate / step)

    def tokenize(self, features: Features) -> Tokens:
        x, step = features.x, self.config.frames_per_token
        if x.dim() != 3 or x.shape[2] != self.config.mels:
            raise ConfigError(
                f"found features of shape {tuple(x.shape)}, expected (B, T, {self.config.mels}); set mels to fit"
            )
        grid = self.grid(x.shape[1])
        inside = torch.arange(x.shape[1], device=x.device) < features.lengths.unsqueeze(1)
        weight = inside.unsqueeze(2).to(x.dtype)
        x = x * weight
        padding = (0, 0, 0, grid.time * step - x.shape[1])
        total = F.pad(x, padding).unflatten(1, (grid.time, step)).sum(2)
        count = F.pad(weight, padding).unflatten(1, (grid.time, step)).sum(2)
        frames = weight.sum(1).clamp(min=1)
        mean = x.sum(1) / frames
        variance = ((x - mean.unsqueeze(1)) * weight).square().sum(1) / frames
        cls = torch.stack([mean, variance.sqrt()], 1)
        valid = None if bool((count > 0).all()) else count.squeeze(2) > 0
        return Tokens(total / count.clamp(min=1), grid, valid=valid, cls=cls)

    def contextualize(self, tokens: Tokens, layers: Sequence[int] = ()) -> Tokens:
        if any(layer != 0 for layer in layers):
            raise ConfigError(f"found layers {list(layers)}, expected 0 only: log-mel statistics have no layers")
        hidden = tuple(Layer(tokens.x, tokens.grid, cls=tokens.cls) for _ in layers)
        return replace(tokens, layers=hidden or None)

    def pool(self, tokens: Tokens) -> Tensor:
        if tokens.cls is None:
            raise ConfigError("found tokens without statistics, expected those that tokenize() returns")
        return tokens.cls.flatten(1)
