"""Frame-wise linear layer, perceptron, and convolution over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auricle.errors import ConfigError
from auricle.probes.contract import Inputs, classify, drop, linear_init, repeat
from auricle.probes.frames.contract import FrameConfig, StandardisedFrames, split_columns
from auricle.tokens.token_set import TokenShape

Rows = Literal["flat", "mean"]


@dataclass(frozen=True)
class FrameLinearConfig(FrameConfig):
    """One linear layer on each column by itself: what a frame's tokens say without any context of the reader's own.

    Attributes:
        rows: what a column's vector is. `flat`: its frequency rows concatenated, `F D` wide, as MSM-MAE and M2D read
            it; `mean`: their mean, `D` wide.
    """

    rows: Rows = "flat"

    def build(self, shape: TokenShape, classes: int, *, settings: int, generator: torch.Generator) -> FrameStack:
        """Build the head: `U C (width + 1)` parameters a setting."""
        return FrameStack(shape, self.rows, (), classes, self.upsample, 0.0, settings, generator)


@dataclass(frozen=True)
class FrameMlpConfig(FrameConfig):
    """Hidden layers on each column by itself, GELU, then the linear layer. HEAR's timestamp tasks are read so.

    Attributes:
        rows: as in `FrameLinearConfig`.
        hidden: width of the hidden layers.
        layers: hidden layers.
        dropout: after each of them, in training.
    """

    rows: Rows = "flat"
    hidden: int = 256
    layers: int = 1
    dropout: float = 0.1

    def build(self, shape: TokenShape, classes: int, *, settings: int, generator: torch.Generator) -> FrameStack:
        """Build the head.

        Raises:
            ConfigError: a count is below one, or dropout is outside [0, 1).
        """
        hidden = ((1, self.hidden),) * self.layers
        if not hidden:
            raise ConfigError(f"found {self.layers} hidden layers; expected at least one, or the linear reader")
        return FrameStack(shape, self.rows, hidden, classes, self.upsample, self.dropout, settings, generator)


@dataclass(frozen=True)
class FrameConvConfig(FrameConfig):
    """A projection of each column, convolutions over time, GELU after each, then the linear layer.

    It sees `layers * (kernel - 1) / 2` columns on either side: onsets and offsets show in the difference of columns.

    Attributes:
        rows: as in `FrameLinearConfig`.
        hidden: width of projection and convolutions.
        kernel: columns that a convolution sees, odd.
        layers: convolutions.
        dropout: after each layer, in training.
    """

    rows: Rows = "flat"
    hidden: int = 128
    kernel: int = 3
    layers: int = 2
    dropout: float = 0.1

    def build(self, shape: TokenShape, classes: int, *, settings: int, generator: torch.Generator) -> FrameStack:
        """Build the head.

        Raises:
            ConfigError: a count is below one, the kernel is even, or dropout is outside [0, 1).
        """
        if self.layers < 1:
            raise ConfigError(f"found {self.layers} convolutions; expected at least one, or the mlp reader")
        hidden = ((1, self.hidden), *((self.kernel, self.hidden),) * self.layers)
        return FrameStack(shape, self.rows, hidden, classes, self.upsample, self.dropout, settings, generator)


class FrameStack(StandardisedFrames):
    """Layers over standardised columns at S settings.

    Args:
        shape: of the tokens.
        rows: what a column's vector is.
        hidden: `(kernel, width)` of each hidden layer.
        classes: C.
        upsample: U.
        dropout: after each hidden layer, in training.
        settings: S.
        generator: of the random start.
    """

    def __init__(
        self,
        shape: TokenShape,
        rows: Rows,
        hidden: tuple[tuple[int, int], ...],
        classes: int,
        upsample: int,
        dropout: float,
        settings: int,
        generator: torch.Generator,
    ) -> None:
        width = shape.width * (shape.freq if rows == "flat" else 1)
        super().__init__(rows, shape.freq, width, settings)
        if any(kernel < 1 or kernel % 2 == 0 or count < 1 for kernel, count in hidden):
            raise ConfigError(f"hidden layers (kernel, width) are {hidden}; expected odd kernels and widths above zero")
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout is {dropout}; expected 0 or more and less than 1")
        self.kernels, self.upsample, self.dropout = [kernel for kernel, _ in hidden], upsample, dropout
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for kernel, count in (*hidden, (1, upsample * classes)):
            fan_in = width * kernel
            self.weights.append(repeat(linear_init((count, fan_in), fan_in, generator), settings))
            self.biases.append(repeat(linear_init((count,), fan_in, generator), settings))
            width = count

    def forward(self, inputs: Inputs, generator: torch.Generator | None = None) -> Tensor:
        """Return logits `(S, M, C)` of the valid frames in a row."""
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
    """Put each valid column's neighbours in time beside it: `(S, M, H)` -> `(S, M, H kernel)`.

    What lies beyond a clip, and columns that are not valid, are zero: a clip's result does not depend on the others.

    Args:
        h: valid columns in a row.
        valid: `(B, T)` which columns these are; None: all.
        shape: B and T.
        kernel: odd number of columns.
    """
    S, H = h.shape[0], h.shape[2]
    B, T = shape
    grid = h if valid is None else h.new_zeros(S, B * T, H).index_copy(1, valid.flatten().nonzero().squeeze(1), h)
    side = kernel // 2
    beside = F.pad(grid.view(S, B, T, H), (0, 0, side, side)).unfold(2, kernel, 1).reshape(S, B * T, H * kernel)
    return beside if valid is None else beside[:, valid.flatten()]
