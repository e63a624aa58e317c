"""Frame-wise linear layer, perceptron, and convolution over time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auricle.config import Count, ShareBelowOne
from auricle.errors import ConfigError
from auricle.probes.contract import Inputs, classify, drop, linear_layer
from auricle.probes.frames.contract import FrameConfig, FrameHead, Rows, split_columns, token_columns
from auricle.probes.heads.token_moments import StandardisedHead
from auricle.tokens.token_set import TokenBatch, TokenShape


@dataclass(frozen=True)
class FrameStackConfig(FrameConfig):
    """Base of settings of layers over columns.

    Attributes:
        rows: a column's vector: `flat` or `mean` (see `Rows`).
    """

    rows: Rows = "flat"

    def layout(self) -> tuple[tuple[tuple[int, int], ...], float]:
        """Return `(kernel, width)` of each hidden layer, and the dropout after each."""
        return (), 0.0


@dataclass(frozen=True)
class FrameLinearConfig(FrameStackConfig):
    """One linear layer on each column: scores a frame by its own tokens, without context.

    `U C (width + 1)` parameters a setting.
    """


@dataclass(frozen=True)
class FrameMlpConfig(FrameStackConfig):
    """Hidden layers on each column, GELU, then the linear layer, as for HEAR's timestamp tasks.

    Attributes:
        hidden: width of the hidden layers.
        layers: hidden layers.
        dropout: after each of them, in training.
    """

    hidden: Count = 256
    layers: Count = 1
    dropout: ShareBelowOne = 0.1

    def layout(self) -> tuple[tuple[tuple[int, int], ...], float]:
        return ((1, self.hidden),) * self.layers, self.dropout


@dataclass(frozen=True)
class FrameConvConfig(FrameStackConfig):
    """A projection of each column, convolutions over time, GELU after each, then the linear layer.

    It sees `layers * (kernel - 1) / 2` columns on either side: onsets and offsets show in the difference of columns.

    Attributes:
        hidden: width of projection and convolutions.
        kernel: columns that a convolution sees, odd.
        layers: convolutions.
        dropout: after each layer, in training.
    """

    hidden: Count = 128
    kernel: Count = 3
    layers: Count = 2
    dropout: ShareBelowOne = 0.1

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0:
            raise ConfigError(f"kernel is {self.kernel}; expected an odd number of columns")

    def layout(self) -> tuple[tuple[tuple[int, int], ...], float]:
        return ((1, self.hidden), *((self.kernel, self.hidden),) * self.layers), self.dropout


class FrameStack(StandardisedHead, FrameHead):
    """Layers over standardised columns at S settings."""

    def __init__(
        self, config: FrameStackConfig, shape: TokenShape, classes: int, settings: int, generator: torch.Generator
    ) -> None:
        width = shape.width * (shape.freq if config.rows == "flat" else 1)
        super().__init__(width, settings)
        hidden, self.dropout = config.layout()
        self.rows, self.freq, self.upsample = config.rows, shape.freq, config.upsample
        self.kernels = [kernel for kernel, _ in hidden]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for kernel, count in (*hidden, (1, config.upsample * classes)):
            weight, bias = linear_layer(count, width * kernel, settings, generator)
            self.weights.append(weight)
            self.biases.append(bias)
            width = count

    def read(self, batch: TokenBatch) -> Inputs:
        x, valid = token_columns(batch, self.freq, self.rows)
        return Inputs(x, None if bool(valid.all()) else valid)

    def forward(self, inputs: Inputs, generator: torch.Generator | None = None) -> Tensor:
        valid = inputs.valid
        B, T, _ = inputs.x.shape
        x = inputs.x.flatten(0, 1) if valid is None else inputs.x[valid]
        share = self.dropout if self.training else 0.0
        h = self._first(x)
        for kernel, weight, bias in zip([*self.kernels[1:], 1], self.weights[1:], self.biases[1:], strict=False):
            h = drop(F.gelu(h), share, generator)
            if kernel > 1:
                h = neighbours(h, valid, (B, T), kernel)
            h = classify(h, weight, bias)
        return split_columns(h, self.upsample)

    def _first(self, x: Tensor) -> Tensor:
        """Standardise columns `(M, width)` and apply the first layer, `(S, M, H)`.

        All settings read the same columns: one product serves them, with the standardisation folded into its weights.
        """
        weight = self.weights[0] * self.scale[0]
        bias = self.biases[0] - weight @ self.mean[0]
        wide = F.linear(x, weight.flatten(0, 1), bias.flatten())
        return wide.view(len(x), self.settings, -1).transpose(0, 1)


def neighbours(h: Tensor, valid: Tensor | None, shape: tuple[int, int], kernel: int) -> Tensor:
    """Concatenate each valid column with its neighbours in time: `(S, M, H)` -> `(S, M, H kernel)`.

    Columns beyond a clip, and invalid ones, are zero, so that a clip's result does not depend on the others.

    Args:
        h: valid columns in a row.
        valid: `(B, T)`; None: all columns are valid.
        shape: B and T.
        kernel: odd number of columns.
    """
    S, H = h.shape[0], h.shape[2]
    B, T = shape
    grid = h if valid is None else h.new_zeros(S, B * T, H).index_copy(1, valid.flatten().nonzero().squeeze(1), h)
    side = kernel // 2
    beside = F.pad(grid.view(S, B, T, H), (0, 0, side, side)).unfold(2, kernel, 1).reshape(S, B * T, H * kernel)
    return beside if valid is None else beside[:, valid.flatten()]
