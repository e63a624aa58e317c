"""The contract of all encoders, and the token maps that they return.

An encoder works in two steps, because every masking method acts between them:

    tokenize(features)                -> Tokens   before context: patches or conv features, positions added
    contextualize(tokens, layers=...) -> Tokens   after context

Letters in shapes: B clips, T time tokens, F frequency tokens, N tokens (N = T * F), D width, K kept tokens,
P class tokens. Time-major: token index = t * F + f.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from auricle.audio.batch import Features
from auricle.config import Config, nearest
from auricle.errors import ConfigError


class Ability(Enum):
    """What an encoder can do beyond encoding; objectives name what they need."""

    DROP = "takes a subset of its tokens"
    MASK = "takes tokens replaced by a mask vector"
    CLS = "has a class token"
    CAUSAL = "never lets a token depend on later input"
    STREAM = "runs chunk by chunk with carried state"
    EXACT_PADDING = "never lets padding change a valid token"
    CODES = "has a codebook at its end"


MEETS = {
    Ability.DROP: "transformers on patches (SpectrogramTransformerConfig, BEATsConfig)",
    Ability.MASK: "transformers, Conformers and state space encoders (settings say which)",
    Ability.CLS: "a SpectrogramTransformerConfig with cls",
    Ability.CAUSAL: "recurrent encoders, causal convolutions, a state space encoder in one direction",
    Ability.STREAM: "recurrent encoders",
    Ability.EXACT_PADDING: "encoders without normalisation over time",
    Ability.CODES: "CodingEncoderConfig around any encoder",
}
"""Which encoders have an ability, for the errors of objectives that need it."""


@dataclass(frozen=True)
class Grid:
    """A grid of `time` x `freq` tokens, with `rate` time steps per second (Hz)."""

    time: int
    freq: int
    rate: float

    @property
    def tokens(self) -> int:
        """N, the number of tokens."""
        return self.time * self.freq


@dataclass(frozen=True)
class Layer:
    """One layer's hidden states: block output `(B, N, D)`, feed-forward output, class tokens, its own grid."""

    block: Tensor
    grid: Grid
    feedforward: Tensor | None = None
    cls: Tensor | None = None


@dataclass(frozen=True)
class Stem:
    """Output of a stem of convolutions before its projection to D; some targets and penalties are computed from it.

    Attributes:
        raw: `(B, N, C)` the last convolution's output.
        x: `(B, N, C)` the same after the norm in front of the projection.
    """

    raw: Tensor
    x: Tensor


@dataclass(frozen=True)
class Tokens:
    """A batch of token maps.

    Attributes:
        x: `(B, N, D)`, or `(B, K, D)` where tokens were dropped.
        grid: the full grid of the tokens.
        valid: `(B, N)` (or `(B, K)`) bool, False where a token holds padding only; None: all valid.
        index: `(B, K)` int64 positions on the grid where tokens were dropped; None: all N, in order.
        cls: `(B, P, D)` class tokens, or None.
        layers: hidden states of the requested layers, in the requested order, or None.
        positions: `(1, N, D)` position embeddings that `tokenize` added to `x`, or None. Code that replaces a token by
            a mask vector adds them again.
        stem: of encoders with a stem of convolutions, on the full grid; else None.
    """

    x: Tensor
    grid: Grid
    valid: Tensor | None = None
    index: Tensor | None = None
    cls: Tensor | None = None
    layers: tuple[Layer, ...] | None = None
    positions: Tensor | None = None
    stem: Stem | None = None

    def keep(self, index: Tensor) -> Tokens:
        """Keep the tokens at `index (B, K)` and drop the others."""
        x = self.x.gather(1, index.unsqueeze(-1).expand(-1, -1, self.x.shape[-1]))
        valid = None if self.valid is None else self.valid.gather(1, index)
        place = index if self.index is None else self.index.gather(1, index)
        return replace(self, x=x, valid=valid, index=place)

    def mean(self, with_cls: bool = False) -> Tensor:
        """Return the mean of the valid tokens (and of the class tokens), `(B, D)`; zeros for a clip without any."""
        x, valid = self.x, self.valid
        if with_cls and self.cls is not None:
            x = torch.cat([self.cls, x], 1)
            if valid is not None:
                valid = torch.cat([valid.new_ones(valid.shape[0], self.cls.shape[1]), valid], 1)
        if valid is None:
            return x.mean(1)
        weight = valid.unsqueeze(-1).to(x.dtype)
        return (x * weight).sum(1) / weight.sum(1).clamp(min=1)


def valid_positions(lengths: Tensor, count: int, freq: int = 1) -> Tensor | None:
    """Return `(B, count * freq)` bool, True for the tokens of the first `lengths (B,)` time steps; None: all are valid.

    Without a mask, attention and pooling take their faster paths.

    Args:
        lengths: valid time steps of each row.
        count: time steps.
        freq: tokens per time step.
    """
    valid = torch.arange(count, device=lengths.device) < lengths.unsqueeze(1)
    return None if bool(valid.all()) else valid.repeat_interleave(freq, 1)


@dataclass(frozen=True)
class EncoderConfig(Config, ABC, section="encoder"):
    """Base of an encoder's settings.

    Examples:
        >>> from auricle.encoders.beats import BEATsConfig
        >>> encoder = BEATsConfig.size("tiny", depth=2).build()
        >>> encoder.grid(998)
        Grid(time=62, freq=8, rate=6.25)

    Attributes:
        sizes: settings of the named sizes.
    """

    sizes: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @classmethod
    def size(cls, name: str, /, **changes: Any) -> Self:
        """Return the settings of a named size, with any others changed.

        Raises:
            ConfigError: no such size.
        """
        if name not in cls.sizes:
            raise ConfigError(f"unknown size {name!r}{nearest(name, cls.sizes)}")
        return cls(**{**cls.sizes[name], **changes})

    def build(self, generator: torch.Generator | None = None) -> Encoder:
        """Build the encoder with fresh weights, drawn from `generator` (None: one seeded with 0)."""
        encoder: Encoder = self.built_class()(self, generator)
        return encoder


class Encoder(nn.Module, ABC):
    """Base of all encoders.

    Attributes:
        abilities: of this encoder (class or instance attribute).
        width: D, the size of a token.
        depth: L, the number of layers; layers are counted 1 ... L, 0 is the tokenizer's output.
        bands: F, mel bins of the input; None: the input is samples; 0: any number.
        input_rate: frames (or samples) per second of the input.
        max_frames: longest input (frames or samples), or None for any.
        least_frames: shortest input (frames or samples) that gives a token.
    """

    abilities: frozenset[Ability] = frozenset()
    width: int
    depth: int
    bands: int | None = 0
    input_rate: float = 100.0
    max_frames: int | None = None
    least_frames: int = 1

    @property
    def pooled_width(self) -> int:
        """Size of the clip vector that `pool` returns; D unless the encoder says otherwise."""
        return self.width

    @abstractmethod
    def tokenize(self, features: Features) -> Tokens:
        """Turn features `(B, T', F')` (or samples `(B, S)`) into tokens before context, positions added.

        Raises:
            ConfigError: the features have another shape, rate or length than the encoder reads (see `check_input`).
        """

    @abstractmethod
    def contextualize(self, tokens: Tokens, layers: Sequence[int] = ()) -> Tokens:
        """Mix the tokens; `layers` (1 ... L; 0: before the first block) are returned in `Tokens.layers`.

        Raises:
            ConfigError: a layer outside 0 ... L is requested, or tokens were dropped and the encoder needs all.
        """

    def forward(self, features: Features, layers: Sequence[int] = ()) -> Tokens:
        """Encode: `contextualize(tokenize(features))`."""
        return self.contextualize(self.tokenize(features), layers)

    def pool(self, tokens: Tokens) -> Tensor:
        """Return the clip vector `(B, D)` as in the encoder's pre-training; by default the mean of the valid tokens."""
        return tokens.mean()

    @abstractmethod
    def grid(self, frames: int) -> Grid:
        """Return the token grid of an input of `frames` frames (or samples)."""

    def check_layers(self, layers: Sequence[int]) -> None:
        """Refuse layers that the encoder does not have.

        Raises:
            ConfigError: a layer outside 0 ... depth is requested.
        """
        wrong = [layer for layer in layers if not 0 <= layer <= self.depth]
        if wrong:
            raise ConfigError(f"found layers {wrong}, expected numbers from 0 to {self.depth}")

    def check_all_tokens(self, tokens: Tokens) -> None:
        """Refuse tokens of which some were dropped, for encoders without `Ability.DROP`.

        Raises:
            ConfigError: with what the encoder offers instead.
        """
        if tokens.index is not None:
            masked = "replace hidden tokens by a mask vector (MASK), or " if Ability.MASK in self.abilities else ""
            raise ConfigError(
                f"found {tokens.x.shape[1]} of {tokens.grid.tokens} tokens, {type(self).__name__} needs all of them; "
                f"{masked}use an encoder that can drop tokens (DROP)"
            )

    def check_input(self, features: Features) -> None:
        """Refuse features of another shape, rate or length than the encoder reads.

        Raises:
            ConfigError: naming what was found, what was expected, and what to set.
        """
        x, name = features.x, type(self).__name__
        if self.bands is None:
            if x.dim() != 2:
                raise ConfigError(
                    f"{name} reads samples (B, S), found features of shape {tuple(x.shape)}; use the front end "
                    "WaveformConfig"
                )
        elif x.dim() != 3 or (self.bands and x.shape[2] != self.bands):
            bands = self.bands or "F"
            raise ConfigError(
                f"found features of shape {tuple(x.shape)}, expected (B, T, {bands}); set the encoder's mel bins to "
                "those of the front end"
            )
        if abs(features.rate - self.input_rate) > 1e-6 * self.input_rate:
            raise ConfigError(
                f"found features at {features.rate:g} per second, {name} expects {self.input_rate:g}; set the "
                "encoder's rate to the front end's"
            )
        if x.shape[1] < self.least_frames:
            unit = "samples" if self.bands is None else "frames"
            raise ConfigError(
                f"found {x.shape[1]} {unit}, {name} needs at least {self.least_frames} for one token (its receptive "
                "field); use longer clips, or in pre-training longer windows (--window.seconds), and exclude shorter "
                "clips (--loader.shortest) or repeat them (--window.short repeat)"
            )
        if self.max_frames is not None and x.shape[1] > self.max_frames:
            raise ConfigError(
                f"found {x.shape[1]} frames, expected at most {self.max_frames}; cut the input into windows or build "
                "the encoder for longer ones"
            )
