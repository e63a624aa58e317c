"""Sequence probes: each time column becomes frames, each frame a row of logits, trained by CTC.

Connectionist temporal classification (Graves et al., ICML 2006) needs at least one frame a symbol, and an encoder's
columns are often slower than the symbols of speech (160 ms a column against 15 letters a second). A column is therefore
split into U frames with their own weights, which equals a transposed convolution with kernel and stride U.

Letters in shapes: S settings, B clips, T columns, F frequency rows, D width of a token, W width of a column, U frames a
column, H hidden width, C symbols and the blank, which is class 0.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auricle.config import Count, Positive, ShareBelowOne
from auricle.errors import ConfigError
from auricle.probes.contract import Inputs, ProbeConfig, drop, linear_init, linear_layer, repeat
from auricle.probes.frames.contract import Rows, token_columns
from auricle.probes.heads.token_moments import StandardisedHead
from auricle.tokens.token_set import TokenBatch, TokenShape


@dataclass(frozen=True)
class CtcConfig(ProbeConfig):
    """Settings of a sequence probe.

    Attributes:
        context: `none`: a linear layer on each column; `conv`: a projection to H, two convolutions over `kernel`
            columns with skip connections, and the linear layer; `bilstm`: a projection to H, the split into frames, one
            bidirectional LSTM of H cells a direction, and the linear layer. The first measures the columns alone; the
            others add a capacity of their own.
        rows: a column's vector: its frequency rows' tokens concatenated (`flat`, W = F D), or their `mean`.
        upsample: U; None: the smallest power of two that gives `frame_rate` (`for_rate`).
        frame_rate: least frames a second where `upsample` is None.
        hidden: H.
        kernel: columns that a convolution sees, odd.
        dropout: share of hidden values dropped in training.
        rounds: epochs, in multiples of the search's: the loss first leads to blanks everywhere, and needs many updates.
        decode: `greedy`: the likeliest symbol of each frame; `beam`: a beam search over symbol strings, without
            lexicon or language model (extra `speech`).
        beam: strings that the beam keeps.
    """

    lr_range: ClassVar[tuple[float, float]] = (3e-4, 1e-2)
    context: Literal["none", "conv", "bilstm"] = "none"
    rows: Rows = "flat"
    upsample: Count | None = None
    frame_rate: Positive = 50.0
    hidden: Count = 128
    kernel: Count = 5
    dropout: ShareBelowOne = 0.1
    rounds: Count = 1
    decode: Literal["greedy", "beam"] = "greedy"
    beam: Count = 50

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0:
            raise ConfigError(f"kernel is {self.kernel}; expected an odd number of columns")

    def for_rate(self, rate: float) -> CtcConfig:
        """Return the settings for columns of this rate (Hz), with `upsample` decided.

        Examples:
            >>> CtcConfig().for_rate(6.25).upsample
            8
        """
        if self.upsample is not None:
            return self
        return self.replace(upsample=2 ** max(0, math.ceil(math.log2(self.frame_rate / rate) - 1e-9)))

    def build(self, shape: TokenShape, classes: int, *, settings: int, generator: torch.Generator) -> CtcHead:
        heads: dict[str, type[CtcHead]] = {"none": CtcLinear, "conv": CtcConv, "bilstm": CtcLstm}
        return heads[self.context](self, shape, classes, settings, generator)


class CtcHead(StandardisedHead):
    """Base of the heads over symbols and the blank; `forward` returns `(S, B, T U, C)` logits.

    Of these, a clip's first `lengths` are valid.
    """

    def __init__(
        self, config: CtcConfig, shape: TokenShape, classes: int, settings: int, generator: torch.Generator
    ) -> None:
        if config.upsample is None:
            raise ConfigError("upsample is not decided; take `for_rate` of the tokens' columns a second")
        width = shape.width * (shape.freq if config.rows == "flat" else 1)
        super().__init__(width, settings)
        self.config, self.upsample, self.freq = config, config.upsample, shape.freq
        self.width, self.classes = width, classes
        self.grow(generator, settings)

    @abstractmethod
    def grow(self, generator: torch.Generator, settings: int) -> None:
        """Make the parameters."""

    @abstractmethod
    def frames(self, x: Tensor, valid: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return logits `(S, B, T U, C)` of standardised columns `(B, T, W)`, zeros where not `valid (B, T)`."""

    def read(self, batch: TokenBatch) -> Inputs:
        x, valid = token_columns(batch, self.freq, self.config.rows)
        # Valid columns come first; invalid ones between them are skipped.
        order = torch.argsort((~valid).to(torch.uint8), dim=1, stable=True)
        x, valid = x.gather(1, order.unsqueeze(-1).expand_as(x)), valid.gather(1, order)
        return Inputs(x, None if bool(valid.all()) else valid)

    def forward(self, inputs: Inputs, generator: torch.Generator | None = None) -> Tensor:
        valid = columns(inputs)
        x = ((inputs.x - self.mean[0]) * self.scale[0]).masked_fill(~valid.unsqueeze(-1), 0)
        return self.frames(x, valid, generator)

    def lengths(self, inputs: Inputs) -> Tensor:
        """Return the number of valid frames of each clip, `(B,)` int64."""
        return columns(inputs).sum(1) * self.upsample

    def dropped(self, h: Tensor, generator: torch.Generator | None) -> Tensor:
        """Apply dropout in training."""
        return drop(h, self.config.dropout, generator) if self.training else h


class CtcLinear(CtcHead):
    """A linear layer: `U C (W + 1)` parameters a setting."""

    def grow(self, generator: torch.Generator, settings: int) -> None:
        self.weight, self.bias = linear_layer(self.upsample * self.classes, self.width, settings, generator)

    def frames(self, x: Tensor, valid: Tensor, generator: torch.Generator | None) -> Tensor:
        return split(shared_linear(x, self.weight, self.bias), self.upsample)


class CtcConv(CtcHead):
    """A projection, two convolutions over columns with skip connections, a linear layer on each column."""

    def grow(self, generator: torch.Generator, settings: int) -> None:
        H, wide, seen = self.config.hidden, self.upsample * self.classes, self.config.kernel * self.config.hidden
        self.project, self.project_bias = linear_layer(H, self.width, settings, generator)
        self.first, self.first_bias = linear_layer(H, seen, settings, generator)
        self.second, self.second_bias = linear_layer(H, seen, settings, generator)
        self.weight, self.bias = linear_layer(wide, H, settings, generator)

    def frames(self, x: Tensor, valid: Tensor, generator: torch.Generator | None) -> Tensor:
        # Columns beyond a clip are zeros to the convolutions: a clip's result does not depend on the others.
        hidden = ~valid.unsqueeze(-1)
        h = F.gelu(shared_linear(x, self.project, self.project_bias)).masked_fill(hidden, 0)
        for weight, bias in ((self.first, self.first_bias), (self.second, self.second_bias)):
            seen = self._neighbours(self.dropped(h, generator))
            h = (h + F.gelu(own_linear(seen, weight, bias))).masked_fill(hidden, 0)
        return split(own_linear(h, self.weight, self.bias), self.upsample)

    def _neighbours(self, h: Tensor) -> Tensor:
        """Return each column beside its neighbours, `(S, B, T, kernel H)`."""
        S, B, T, _ = h.shape
        reach = self.config.kernel // 2
        return F.pad(h, (0, 0, reach, reach)).unfold(2, self.config.kernel, 1).transpose(3, 4).reshape(S, B, T, -1)


class CtcLstm(CtcHead):
    """A projection, the split into frames, one bidirectional LSTM, a linear layer on each frame."""

    def grow(self, generator: torch.Generator, settings: int) -> None:
        H, wide = self.config.hidden, self.upsample * self.config.hidden
        self.project, self.project_bias = linear_layer(wide, self.width, settings, generator)
        self.lstm = BiLstm(H, H, settings, generator)
        self.weight, self.bias = linear_layer(self.classes, 2 * H, settings, generator)

    def frames(self, x: Tensor, valid: Tensor, generator: torch.Generator | None) -> Tensor:
        h = F.gelu(split(shared_linear(x, self.project, self.project_bias), self.upsample))
        h = self.lstm(self.dropped(h, generator), valid.sum(1) * self.upsample)
        return own_linear(self.dropped(h, generator), self.weight, self.bias)


class BiLstm(nn.Module):
    """One layer of `torch.nn.LSTM(width, hidden, bidirectional=True)`, for S settings.

    The two directions of all settings are 2 S groups of one batched product a step. Gates are in torch's order: input,
    forget, cell, output. Each direction has one bias instead of torch's two, which are only ever added.

    Args:
        width: of the input.
        hidden: H, cells a direction.
        settings: S.
        generator: of the random start.
    """

    def __init__(self, width: int, hidden: int, settings: int, generator: torch.Generator) -> None:
        super().__init__()
        self.hidden = hidden
        self.into = repeat(linear_init((2, 4 * hidden, width), hidden, generator), settings)
        self.around = repeat(linear_init((2, 4 * hidden, hidden), hidden, generator), settings)
        self.bias = repeat(linear_init((2, 4 * hidden), hidden, generator), settings)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Return `(S, B, T, 2 H)`, forward cells first; zeros from a sequence's end on.

        Args:
            x: `(S, B, T, width)`.
            lengths: `(B,)` steps of each sequence; the backward direction begins at its own last step.
        """
        S, B, T, width = x.shape
        H = self.hidden
        step = torch.arange(T, device=x.device)
        inside = step < lengths.unsqueeze(1)
        backward = torch.where(inside, lengths.unsqueeze(1) - 1 - step, step)
        turned = x.gather(2, backward.view(1, B, T, 1).expand_as(x))
        both = torch.stack([x, turned], 1).reshape(2 * S, B * T, width)
        gates = torch.bmm(both, self.into.view(2 * S, 4 * H, width).transpose(1, 2)).view(2 * S, B, T, 4 * H)
        gates = gates + self.bias.view(2 * S, 1, 1, 4 * H)
        around = self.around.view(2 * S, 4 * H, H).transpose(1, 2)
        h = cell = x.new_zeros(2 * S, B, H)
        steps = []
        # Slices taken one by one would each get a gradient as large as the whole.
        for gate in gates.unbind(2):
            i, f, g, o = torch.baddbmm(gate, h, around).chunk(4, -1)
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            h = o.sigmoid() * cell.tanh()
            steps.append(h)
        out = torch.stack(steps, 2).view(S, 2, B, T, H)
        ahead, behind = out[:, 0], out[:, 1].gather(2, backward.view(1, B, T, 1).expand(S, B, T, H))
        return torch.cat([ahead, behind], -1).masked_fill(~inside.view(1, B, T, 1), 0)


def columns(inputs: Inputs) -> Tensor:
    """Return which columns are valid, `(B, T)` bool."""
    if inputs.valid is not None:
        return inputs.valid
    return torch.ones(inputs.x.shape[:2], dtype=torch.bool, device=inputs.x.device)


def split(h: Tensor, upsample: int) -> Tensor:
    """Turn one row a column `(S, B, T, U K)` into one row a frame `(S, B, T U, K)`."""
    S, B, T, wide = h.shape
    return h.reshape(S, B, T * upsample, wide // upsample)


def shared_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Apply each setting's layer to what all read: `(B, T, W)`, `(S, K, W)`, `(S, K)` -> `(S, B, T, K)`."""
    S, K, W = weight.shape
    y = x.reshape(-1, W) @ weight.reshape(S * K, W).t()
    return y.view(*x.shape[:2], S, K).permute(2, 0, 1, 3) + bias[:, None, None]


def own_linear(h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Apply each setting's layer to its own: `(S, B, T, H)`, `(S, K, H)`, `(S, K)` -> `(S, B, T, K)`."""
    S, B, T, H = h.shape
    y = torch.baddbmm(bias.unsqueeze(1), h.reshape(S, B * T, H), weight.transpose(1, 2))
    return y.view(S, B, T, -1)


CTC: dict[str, CtcConfig] = {
    # A linear layer on concatenated rows has F times the weights and overfits few utterances.
    "ctc": CtcConfig(rows="mean"),
    "ctc_flat": CtcConfig(),
    "ctc_conv": CtcConfig(context="conv"),
    "ctc_bilstm": CtcConfig(context="bilstm"),
    "ctc_beam": CtcConfig(rows="mean", decode="beam"),
    "ctc_conv_beam": CtcConfig(context="conv", decode="beam"),
}
