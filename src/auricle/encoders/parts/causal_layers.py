"""Causal layers with a state, recurrent and convolutional, with one interface.

Sources: APC, arXiv 1904.03240, section 2.1 (recurrent layers with residuals); wav2vec, arXiv 1904.05862, section 3.1
(causal convolutions with residuals).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.encoders.parts.waveform_stem import LayerNormOverChannels

Cell = Literal["gru", "lstm"]
Left = Literal["replicate", "zero", "learned"]
State = tuple[Tensor, ...]


class CausalLayer(nn.Module, ABC):
    """Base: `(B, N, C)` -> `(B, N, D)`, where step n depends on steps up to n, and on the state before the first."""

    @abstractmethod
    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Return the layer's output and the state after the last step; `state` None: the start of a clip."""

    @abstractmethod
    def initialise(self, generator: torch.Generator) -> None:
        """Draw fresh weights."""


class RecurrentLayer(CausalLayer):
    """One GRU or LSTM with dropout on its output and an optional residual.

    Computed in the parameters' precision also under autocast: rounding errors would add up along the clip, and half
    precision is no faster on a CPU.

    Args:
        width_in: C.
        width: D.
        cell: `gru` or `lstm`.
        residual: add the input to the output; C must equal D.
        dropout: in training.
    """

    def __init__(self, width_in: int, width: int, cell: Cell, residual: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.residual, self.dropout = residual, dropout
        self.rnn = (nn.GRU if cell == "gru" else nn.LSTM)(width_in, width, batch_first=True)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        # Uniform in +-1/sqrt(D), as is usual for GRU and LSTM.
        bound = self.rnn.hidden_size**-0.5
        for parameter in self.rnn.parameters():
            parameter.uniform_(-bound, bound, generator=generator)

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Return the output `(B, N, D)` and the state: `(h,)` or `(h, c)`, each `(1, B, D)`."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(next(self.rnn.parameters()).dtype)
            if isinstance(self.rnn, nn.LSTM):
                y, after = self.rnn(x, None if state is None else (state[0], state[1]))
            else:
                y, hidden = self.rnn(x, None if state is None else state[0])
                after = (hidden,)
        y = F.dropout(y, self.dropout, self.training)
        return (x + y if self.residual else y), after


class CausalConvolution(CausalLayer):
    """A convolution over the last `kernel` steps, norm, activation; then (input + output) * sqrt(scale).

    Args:
        width_in: C; where it differs from D the input is projected (1x1, no bias) before it is added.
        width: D.
        kernel: steps in its receptive field.
        norm: `channel` over the channels of a step; `group` over channels and time together, as published (every step
            then depends on the whole clip); `none`.
        activation: `relu` or `gelu`.
        residual_scale: 0.5 keeps the variance; None: no residual.
        left: padding before the first step: copies of it (`replicate`), zeros, or one learned vector.
        dropout: in training, on the convolution's output.
    """

    def __init__(
        self,
        width_in: int,
        width: int,
        kernel: int,
        *,
        norm: Literal["channel", "group", "none"] = "channel",
        activation: Literal["relu", "gelu"] = "relu",
        residual_scale: float | None = 0.5,
        left: Left = "replicate",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.kernel, self.left, self.activation, self.dropout = kernel, left, activation, dropout
        self.scale = None if residual_scale is None else residual_scale**0.5
        self.conv = nn.Conv1d(width_in, width, kernel)
        self.norm: nn.Module = nn.Identity()
        if norm == "channel":
            self.norm = LayerNormOverChannels(width)
        elif norm == "group":
            self.norm = nn.GroupNorm(1, width)
        projected = self.scale is not None and width_in != width
        self.project = nn.Conv1d(width_in, width, 1, bias=False) if projected else nn.Identity()
        # A kernel of one step needs no padding.
        learned = left == "learned" and kernel > 1
        self.before = nn.Parameter(torch.zeros(1, width_in, 1)) if learned else None

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        # Weights and biases uniform in +-1/sqrt(fan in), the learned vector from N(0, 0.02).
        for conv in (self.conv, self.project):
            if isinstance(conv, nn.Conv1d):
                bound = (conv.in_channels * conv.kernel_size[0]) ** -0.5
                for parameter in conv.parameters():
                    parameter.uniform_(-bound, bound, generator=generator)
        if self.before is not None:
            self.before.normal_(std=0.02, generator=generator)

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Return the output `(B, N, D)` and the state: the last kernel - 1 inputs, `(B, C, kernel - 1)`."""
        x = x.transpose(1, 2)
        before = self._start(x) if state is None else state[0]
        wide = torch.cat([before.to(x.dtype), x], 2)
        y = F.dropout(self.conv(wide), self.dropout, self.training)
        y = self.norm(y)
        y = F.relu(y) if self.activation == "relu" else F.gelu(y)
        if self.scale is not None:
            y = (self.project(x) + y) * self.scale
        return y.transpose(1, 2), (wide[:, :, wide.shape[2] - self.kernel + 1 :],)

    def _start(self, x: Tensor) -> Tensor:
        if self.left == "replicate":
            return x[:, :, :1].expand(-1, -1, self.kernel - 1)
        if self.before is not None:
            return self.before.expand(x.shape[0], -1, self.kernel - 1)
        return x.new_zeros(*x.shape[:2], self.kernel - 1)
