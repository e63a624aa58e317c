"""Convolutional decoders: masked tokens are filled in from their neighbours on the grid.

Sources: data2vec 2.0, arXiv 2212.07525 (section 3; along time), EAT, arXiv 2401.03497 (section 3.1; on time and
frequency), and their released code for what the papers leave open: a grouped convolution, a norm over channels without
weights, GELU, and a residual wherever the width stays the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.config import Count, NonNegative, ShareBelowOne
from auricle.encoders.contract import Grid, Tokens
from auricle.errors import ConfigError
from auricle.objectives.distributed import randn_rows
from auricle.objectives.predictive.decoder import Decoder, DecoderConfig, row_validity
from auricle.objectives.targets.target import MaskedBatch

_EPS = 1e-5


@dataclass(frozen=True)
class _ConvDecoderConfig(DecoderConfig, builds="ConvDecoder"):
    """Settings of both kinds of decoders.

    Attributes:
        width: W, a multiple of `groups`.
        depth: layers.
        kernel: odd, in tokens, on each axis.
        groups: of channels; the encoder's width must be a multiple of it, too.
        noise: standard deviation of the noise in place of masked tokens.
        input_dropout: of the visible tokens (data2vec 2.0 on speech: 0.1).
    """

    axes: ClassVar[int]

    width: Count = 384
    depth: Count = 4
    kernel: Count = 7
    groups: Count = 16
    noise: NonNegative = 0.01
    input_dropout: ShareBelowOne = 0.0

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0:
            raise ConfigError(f"found decoder kernel {self.kernel}, expected an odd one, centred on a token")
        if self.width % self.groups:
            raise ConfigError(f"decoder width {self.width} must be a multiple of its {self.groups} groups")


@dataclass(frozen=True)
class Conv1dDecoderConfig(_ConvDecoderConfig):
    """Convolutions along time (data2vec 2.0: 4 layers of 384 channels, kernel 7, 16 groups).

    On grids with several frequency tokens each row of them is a separate sequence.
    """

    axes = 1


@dataclass(frozen=True)
class Conv2dDecoderConfig(_ConvDecoderConfig):
    """Convolutions over time and frequency (EAT: 6 layers of 768 channels, kernel 3, 16 groups)."""

    axes = 2

    width: Count = 768
    depth: Count = 6
    kernel: Count = 3


class ConvDecoder(Decoder):
    """Puts the visible tokens on their grid, noise everywhere else, and runs the convolutions.

    Class tokens take no part. Positions of padding are zero before each convolution, as if the clip's grid ended there.
    `decode` draws the noise from the batch's generator; `forward` refuses tokens from which some were dropped.

    Raises:
        ConfigError: the encoder's width is not a multiple of the groups.
    """

    def __init__(self, config: _ConvDecoderConfig, width: int, generator: torch.Generator) -> None:
        super().__init__()
        if width % config.groups:
            raise ConfigError(
                f"the encoder's width {width} must be a multiple of the decoder's {config.groups} groups; change "
                "objective.decoder.groups"
            )
        self.config, self.axes = config, config.axes
        self.width = config.width
        make = nn.Conv1d if self.axes == 1 else nn.Conv2d
        widths = [width] + [config.width] * config.depth
        self.convs = nn.ModuleList(
            make(before, after, config.kernel, padding=config.kernel // 2, groups=config.groups)
            for before, after in pairwise(widths)
        )
        with torch.no_grad():
            for conv in self.convs:
                if isinstance(conv, nn.Conv1d | nn.Conv2d) and conv.bias is not None:
                    nn.init.kaiming_uniform_(conv.weight, a=math.sqrt(5), generator=generator)
                    nn.init.zeros_(conv.bias)

    def decode(self, masked_batch: MaskedBatch) -> Tokens:
        out, grid = masked_batch.out, masked_batch.out.grid
        x = F.dropout(out.x, self.config.input_dropout, self.training)
        if out.index is not None:
            noise = randn_rows(masked_batch.generator, x.shape[0], grid.tokens, x.shape[2]) * self.config.noise
            x = noise.to(x).scatter(1, out.index.unsqueeze(-1).expand_as(x), x)
        return self(replace(out, x=x, index=None, valid=row_validity(masked_batch), layers=None))

    def forward(self, out: Tokens) -> Tokens:
        if out.index is not None:
            raise ConfigError("a convolution needs the whole grid and tokens were dropped; call decode with the batch")
        grid = out.grid
        x = self._maps(out.x, grid)
        inside = None if out.valid is None else self._maps(out.valid.unsqueeze(-1).to(x.dtype), grid)
        for conv in self.convs:
            x = x if inside is None else x * inside
            y = conv(x).movedim(1, -1)
            y = F.gelu(F.layer_norm(y, y.shape[-1:], eps=_EPS)).movedim(-1, 1)
            x = x + y if x.shape == y.shape else y
        return Tokens(self._tokens(x, grid), grid)

    def _maps(self, x: Tensor, grid: Grid) -> Tensor:
        """Turn tokens `(R, T * F, C)` into maps `(R, C, T, F)`, or `(R * F, C, T)` where time is the only axis."""
        maps = x.unflatten(1, (grid.time, grid.freq))
        return maps.permute(0, 3, 1, 2) if self.axes == 2 else maps.permute(0, 2, 3, 1).flatten(0, 1)

    def _tokens(self, x: Tensor, grid: Grid) -> Tensor:
        if self.axes == 2:
            return x.permute(0, 2, 3, 1).flatten(1, 2)
        return x.unflatten(0, (-1, grid.freq)).permute(0, 3, 1, 2).flatten(1, 2)
