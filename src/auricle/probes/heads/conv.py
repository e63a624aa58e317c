"""Convolution over the token map, then pooling and a linear layer (arXiv 2509.24901, `conv`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from auricle.config import Count
from auricle.errors import ConfigError
from auricle.probes.contract import Inputs, linear_init, repeat
from auricle.probes.heads.pooled_head import PooledConfig, PooledHead
from auricle.probes.heads.recompute import per_setting
from auricle.tokens.token_set import TokenShape


@dataclass(frozen=True)
class ConvConfig(PooledConfig):
    """Settings of the convolutional probe.

    The paper does not specify kernel, channels and pooling. Chosen here: one 3 x 3 convolution over time and
    frequency to 128 channels, ReLU, mean over the valid tokens, linear layer. At width 768 that is
    `9 * 768 * 128 + 128` = 884,864 parameters and the head, between the paper's mlp and mhca.

    Attributes:
        kernel: side of the kernel in tokens, odd; over time only where there is one frequency row.
        channels: of the convolution.
        activation: after it.
        pool: `mean` or `max` over the valid tokens.
        tokens: must be `patch`: class tokens have no position on the map.
    """

    kernel: Count = 3
    channels: Count = 128
    activation: Literal["relu", "gelu"] = "relu"
    pool: Literal["mean", "max"] = "mean"

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0:
            raise ConfigError(f"kernel is {self.kernel}; expected an odd number of tokens")
        if self.tokens != "patch":
            raise ConfigError("class tokens have no position on the map that is convolved; use tokens 'patch'")


class Conv(PooledHead):
    """Convolution, pooling and a linear layer at S settings; `k_t k_f D H + H + C (H + 1)` parameters each."""

    def __init__(
        self, config: ConvConfig, shape: TokenShape, classes: int, settings: int, generator: torch.Generator
    ) -> None:
        super().__init__(config, shape, settings)
        self.freq, self.activation, self.reduce = shape.freq, config.activation, config.pool
        # Over one frequency row, two thirds of a square kernel would see the border only.
        sides = (config.kernel, 1 if shape.freq == 1 else config.kernel)
        fan_in = shape.width * sides[0] * sides[1]
        self.kernel = repeat(linear_init((config.channels, shape.width, *sides), fan_in, generator), settings)
        self.offset = repeat(linear_init((config.channels,), fan_in, generator), settings)
        self._classifier(config.channels, classes, settings, generator)

    def pool(self, inputs: Inputs) -> Tensor:
        x = self.standardised(inputs)
        B, N, D = x.shape
        # Padding is zero like the border: a clip's result does not depend on the other clips' length.
        grid = x.view(B, N // self.freq, self.freq, D).permute(0, 3, 1, 2)
        elements = N * 2 * self.kernel.shape[1]
        return per_setting(self._convolve, [self.kernel, self.offset], [grid, inputs.valid], elements=elements)

    def _convolve(self, kernel: Tensor, offset: Tensor, grid: Tensor, valid: Tensor | None) -> Tensor:
        h = F.conv2d(grid, kernel, offset, padding="same").flatten(2)
        h = F.relu(h) if self.activation == "relu" else F.gelu(h)
        if valid is None:
            return h.mean(2) if self.reduce == "mean" else h.amax(2)
        hidden = ~valid.unsqueeze(1)
        if self.reduce == "max":
            return h.masked_fill(hidden, float("-inf")).amax(2)
        return h.masked_fill(hidden, 0).sum(2) / valid.sum(1, keepdim=True)
