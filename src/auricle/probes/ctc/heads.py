"""Sequence readers: each time column becomes frames, each frame a row of logits.

They are trained by connectionist temporal classification (Graves et al., ICML 2006).

An encoder's columns are often slower than the symbols of speech (160 ms a column against 15 letters a second), and
such a loss needs at least one frame a symbol. So a column is split into U frames, each with weights of its own: the
same as a transposed convolution whose kernel and stride are U.

Letters in shapes: S settings, B clips, T columns, F frequency rows, D width of a token, W width of a column, U frames a
column, H hidden width, C symbols and the blank, which is class 0.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from auricle.errors import ConfigError
from auricle.probes.contract import Inputs, ProbeConfig, ProbeHead, drop, linear_init, repeat
from auricle.probes.ctc.lstm import BiLstm
from auricle.probes.heads.token_moments import training_moments
from auricle.tokens.token_set import TokenBatch, TokenShape


@dataclass(frozen=True)
class CtcConfig(ProbeConfig):
    """Settings of a sequence reader.

    Attributes:
        context: `none`: a linear layer on each column; `conv`: a projection to H, two convolutions over `kernel`
            columns with skip connections, and the linear layer; `bilstm`: a projection to H, the split into frames, one
            bidirectional LSTM of H cells a direction, and the linear layer. The first says what the columns hold by
            themselves; the others are readers with a capacity of their own.
        rows: what a column's vector is: its frequency rows' tokens concatenated (`flat`, W = F D), or their `mean`.
        upsample: U; None: the smallest power of two that gives `frame_rate` (`for_rate`).
        frame_rate: frames a second that None asks for at least.
        hidden: H.
        kernel: columns that a convolution sees, odd.
        dropout: share of hidden values dropped in training, where there are any.
        rounds: epochs, in multiples of the search's: the loss first teaches blanks everywhere, and goes no further
            in a few updates.
        decode: `greedy`: the likeliest symbol of each frame; `beam`: a beam search over symbol strings, without
            lexicon or language model (extra `speech`).
        beam: strings that the beam keeps.
    """

    lr_range: ClassVar[tuple[float, float]] = (3e-4, 1e-2)
    context: Literal["none", "conv", "bilstm"] = "none"
    rows: Literal["flat", "mean"] = "flat"
    upsample: int | None = None
    frame_rate: float = 50.0
    hidden: int = 128
    kernel: int = 5
    dropout: float = 0.1
    rounds: int = 1
    decode: Literal["greedy", "beam"] = "greedy"
    beam: int = 50

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ConfigError: a word is unknown, or a number is out of range.
        """
        super().__post_init__()
        if (self.upsample is not None and self.upsample < 1) or min(self.hidden, self.beam, self.rounds) < 1:
            raise ConfigError("upsample, hidden, beam and rounds must be at least 1")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ConfigError(f"kernel is {self.kernel}; expected an odd number of columns")
        if not 0 <= self.dropout < 1 or not self.frame_rate > 0:
            raise ConfigError(
                f"dropout is {self.dropout}, frame_rate {self.frame_rate}; expected 0 <= p < 1 and > 0 Hz"
            )

    def for_rate(self, rate: float) -> CtcConfig:
        """Return the settings for columns of this rate (Hz), with `upsample` decided."""
        if self.upsample is not None:
            return self
        return self.replace(upsample=2 ** max(0, math.ceil(math.log2(self.frame_rate / rate) - 1e-9)))

    def build(self, shape: TokenShape, classes: int, *, settings: int, generator: torch.Generator) -> CtcHead:
        """Build the head.

        Args:
            shape: of the tokens that it will read.
            classes: C, symbols and the blank.
            settings: S.
            generator: of the random start.

        Raises:
            ConfigError: `upsample` is not decided.
        """
        if self.upsample is None:
            raise ConfigError("upsample is not decided; take `for_rate` of the tokens' columns a second")
        heads: dict[str, type[CtcLinear | CtcConv | CtcLstm]] = {"none": CtcLinear, "conv": CtcConv, "bilstm": CtcLstm}
        return heads[self.context](self, self.upsample, shape, classes, settings, generator)


class CtcHead(ProbeHead):
    """Base of the heads; `forward` returns `(S, B, T U, C)` logits, of which a clip's first `lengths` count."""

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        config: CtcConfig,
        upsample: int,
        shape: TokenShape,
        classes: int,
        settings: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.config, self.upsample, self.freq, self.classes = config, upsample, shape.freq, classes
        self.width = shape.width * (shape.freq if config.rows == "flat" else 1)
        self.register_buffer("mean", torch.zeros(settings, self.width))
        self.register_buffer("scale", torch.ones(settings, self.width))
        self.grow(generator, settings)

    @abstractmethod
    def grow(self, generator: torch.Generator, settings: int) -> None:
        """Make the parameters."""

    @abstractmethod
    def frames(self, x: Tensor, valid: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return logits `(S, B, T U, C)` of standardised columns `(B, T, W)`, zeros where not `valid (B, T)`."""

    def read(self, batch: TokenBatch) -> Inputs:
        """Return columns `(B, T, W)` and which are valid; a column counts if any of its tokens does.

        Valid columns come first: what stands between them is not heard.
        """
        B, N, D = batch.x.shape
        valid = batch.valid.view(B, N // self.freq, self.freq)
        x = batch.x.view(B, N // self.freq, self.freq, D)
        if self.config.rows == "flat":
            x = x.flatten(2)
        else:
            weight = valid.unsqueeze(-1).to(x.dtype)
            x = (x * weight).sum(2) / weight.sum(2).clamp(min=1)
        counts = valid.any(2)
        order = torch.argsort((~counts).to(torch.uint8), dim=1, stable=True)
        x = x.gather(1, order.unsqueeze(-1).expand_as(x))
        counts = counts.gather(1, order)
        return Inputs(x, None if bool(counts.all()) else counts)

    def calibrate(self, inputs: Iterable[Inputs]) -> None:
        """Measure mean and deviation over the valid training columns; constant dimensions are left at zero."""
        mean, std = training_moments(inputs)
        self.mean.copy_(mean.to(self.mean).expand_as(self.mean))
        self.scale.copy_((1 / std).to(self.scale).expand_as(self.scale))

    def forward(self, inputs: Inputs, generator: torch.Generator | None = None) -> Tensor:
        """Return logits `(S, B, T U, C)`."""
        valid = columns(inputs)
        # The statistics are of the clips: every setting has the same.
        x = ((inputs.x - self.mean[0]) * self.scale[0]).masked_fill(~valid.unsqueeze(-1), 0)
        return self.frames(x, valid, generator)

    def lengths(self, inputs: Inputs) -> Tensor:
        """Return how many frames of each clip count, `(B,)` int64."""
        return columns(inputs).sum(1) * self.upsample

    def dropped(self, h: Tensor, generator: torch.Generator | None) -> Tensor:
        """Apply dropout in training."""
        return drop(h, self.config.dropout, generator) if self.training else h


class CtcLinear(CtcHead):
    """A linear layer: `U C (W + 1)` parameters a setting."""

    def grow(self, generator: torch.Generator, settings: int) -> None:
        """Make the parameters."""
        wide = self.upsample * self.classes
        self.weight = repeat(linear_init((wide, self.width), self.width, generator), settings)
        self.bias = repeat(linear_init((wide,), self.width, generator), settings)

    def frames(self, x: Tensor, valid: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return logits."""
        return split(shared_linear(x, self.weight, self.bias), self.upsample)


class CtcConv(CtcHead):
    """A projection, two convolutions over columns with skip connections, a linear layer on each column."""

    def grow(self, generator: torch.Generator, settings: int) -> None:
        """Make the parameters."""
        H, wide, seen = self.config.hidden, self.upsample * self.classes, self.config.kernel * self.config.hidden
        self.project = repeat(linear_init((H, self.width), self.width, generator), settings)
        self.project_bias = repeat(linear_init((H,), self.width, generator), settings)
        self.first = repeat(linear_init((H, seen), seen, generator), settings)
        self.first_bias = repeat(linear_init((H,), seen, generator), settings)
        self.second = repeat(linear_init((H, seen), seen, generator), settings)
        self.second_bias = repeat(linear_init((H,), seen, generator), settings)
        self.weight = repeat(linear_init((wide, H), H, generator), settings)
        self.bias = repeat(linear_init((wide,), H, generator), settings)

    def frames(self, x: Tensor, valid: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return logits; columns beyond a clip are zeros to the convolutions, whatever it is batched with."""
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
        """Make the parameters."""
        H, wide = self.config.hidden, self.upsample * self.config.hidden
        self.project = repeat(linear_init((wide, self.width), self.width, generator), settings)
        self.project_bias = repeat(linear_init((wide,), self.width, generator), settings)
        self.lstm = BiLstm(H, H, settings, generator)
        self.weight = repeat(linear_init((self.classes, 2 * H), 2 * H, generator), settings)
        self.bias = repeat(linear_init((self.classes,), 2 * H, generator), settings)

    def frames(self, x: Tensor, valid: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return logits."""
        h = F.gelu(split(shared_linear(x, self.project, self.project_bias), self.upsample))
        h = self.lstm(self.dropped(h, generator), valid.sum(1) * self.upsample)
        return own_linear(self.dropped(h, generator), self.weight, self.bias)


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
    # A linear layer on concatenated rows has F times the weights and learns few utterances by heart.
    "ctc": CtcConfig(rows="mean"),
    "ctc_flat": CtcConfig(),
    "ctc_conv": CtcConfig(context="conv"),
    "ctc_bilstm": CtcConfig(context="bilstm"),
    "ctc_beam": CtcConfig(rows="mean", decode="beam"),
    "ctc_conv_beam": CtcConfig(context="conv", decode="beam"),
}
