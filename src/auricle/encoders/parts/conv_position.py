"""Positions from a convolution over the sequence itself, and how dropped tokens take part in it.

Sources: wav2vec 2.0, arXiv 2006.11477 (section 2): one wide grouped convolution with weight normalisation;
data2vec, arXiv 2202.03555 (section 3.1): five narrower ones, each with a norm; data2vec 2.0, arXiv 2212.07525:
the same on a sequence with zeros at hidden tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.config import Config, Count
from auricle.encoders.contract import Tokens
from auricle.errors import ConfigError

_EPS = 1e-5


@dataclass(frozen=True)
class ConvPositionConfig(Config):
    """Settings of convolutional positions.

    Attributes:
        kernel: tokens in the receptive field of one convolution.
        groups: groups of channels; the encoder's width must be a multiple of it.
        depth: 1: one convolution with weight normalisation (wav2vec 2.0, HuBERT, WavLM, BEATs); more: that many plain
            convolutions, each followed by a norm over channels without weights (data2vec: 5 of kernel 19).
    """

    kernel: Count = 128
    groups: Count = 16
    depth: Count = 1


class _NormedWeightConv(nn.Module):
    """A grouped convolution whose weight is a direction times a gain per tap."""

    def __init__(self, width: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.groups, self.kernel = groups, kernel
        self.direction = nn.Parameter(torch.empty(width, width // groups, kernel))
        self.gain = nn.Parameter(torch.empty(kernel))
        self.bias = nn.Parameter(torch.zeros(width))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        width = self.direction.shape[0]
        nn.init.normal_(self.direction, std=math.sqrt(4 / (self.kernel * width)), generator=generator)
        self.gain.copy_(self.direction.norm(dim=(0, 1)))
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.direction * (self.gain / self.direction.norm(dim=(0, 1)))
        return F.conv1d(x, weight, self.bias, padding=self.kernel // 2, groups=self.groups)


class ConvPosition(nn.Module):
    """Position embedding of each token, computed from its neighbours.

    Args:
        config: the convolutions.
        width: D.

    Raises:
        ConfigError: the width is not a multiple of the groups.
    """

    def __init__(self, config: ConvPositionConfig, width: int) -> None:
        super().__init__()
        if width % config.groups:
            raise ConfigError(
                f"found width {width}, expected a multiple of the {config.groups} groups of the positions"
            )
        self.config = config
        kernel, groups = config.kernel, config.groups
        if config.depth == 1:
            convs: list[nn.Module] = [_NormedWeightConv(width, kernel, groups)]
        else:
            convs = [nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=groups) for _ in range(config.depth)]
        self.convs = nn.ModuleList(convs)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Draw fresh weights: normal of std sqrt(4 / (kernel D)), or uniform by fan-in where they are stacked."""
        for conv in self.convs:
            if isinstance(conv, _NormedWeightConv):
                conv.initialise(generator)
            elif isinstance(conv, nn.Conv1d) and conv.bias is not None:
                nn.init.kaiming_uniform_(conv.weight, a=math.sqrt(5), generator=generator)
                nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor, within: Tensor | None = None) -> Tensor:
        """Return the positions `(B, N, D)` of a dense sequence `x (B, N, D)`.

        Args:
            x: the tokens in order.
            within: `(B, N)` bool, False beyond a clip's end: zeroed before each convolution, as if the sequence ended
                there (the published stack does not, and depends on padding). None: all clips have full length.
        """
        N = x.shape[1]
        y = x.transpose(1, 2)
        for conv in self.convs:
            if within is not None:
                y = y * within.unsqueeze(1)
            # An even kernel yields one step too many; the last is dropped.
            y = conv(y)[..., :N]
            if self.config.depth > 1:
                y = F.layer_norm(y.transpose(1, 2), (y.shape[1],), eps=_EPS).transpose(1, 2)
            y = F.gelu(y)
        return y.transpose(1, 2)


def with_positions(tokens: Tokens, position: ConvPosition) -> Tensor:
    """Return the tokens `(B, K, D)` with positions added; padding is zeroed first.

    Where tokens were dropped, the visible ones are scattered onto the full grid, with zeros elsewhere, as in data2vec
    2.0: nothing hidden leaks into a visible token. Positions after a clip's last visible token count as beyond its end.
    """
    x, valid, index = tokens.x, tokens.valid, tokens.index
    if valid is not None:
        x = x * valid.unsqueeze(-1)
    if index is None:
        return x + position(x, valid)
    places = index.unsqueeze(-1).expand_as(x)
    room = x.new_zeros(x.shape[0], tokens.grid.tokens, x.shape[2]).scatter(1, places, x)
    reached = index if valid is None else index.masked_fill(~valid, -1)
    within = torch.arange(tokens.grid.tokens, device=index.device) <= reached.amax(1, keepdim=True)
    return x + position(room, within).gather(1, places)
