"""Decoders between an encoder and the heads: none, or one that puts masked tokens back into their positions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from auricle.config import Config, Count
from auricle.encoders.contract import Encoder, Tokens
from auricle.encoders.parts.attention import key_mask
from auricle.encoders.parts.first_weights import LinearInit, initialise_linear
from auricle.encoders.parts.positions import PositionGrid, sincos_tokens
from auricle.encoders.parts.transformer_block import TransformerBlock
from auricle.errors import ConfigError
from auricle.objectives.targets.target import MaskedBatch


@dataclass(frozen=True)
class DecoderConfig(Config, ABC, section="decoder"):
    """Base of the settings of decoders."""

    def build(self, encoder: Encoder, generator: torch.Generator) -> Decoder:
        """Build the decoder for an encoder's output, its weights drawn from the generator."""
        return self.built_class()(self, encoder.width, generator)


class Decoder(nn.Module, ABC):
    """Base of decoders.

    Attributes:
        width: W of its output.
        restores: whether dropped tokens are put back, so that the output lies on the full grid.
    """

    width: int
    restores: bool = True

    @abstractmethod
    def forward(self, out: Tokens) -> Tokens:
        """Turn the encoder's output `(R, K or N, D)` into `(R, N, W)` on the full grid."""

    def decode(self, masked_batch: MaskedBatch) -> Tokens:
        """Decode a batch; decoders that draw noise, or read masked positions or padding, override this method."""
        return self(masked_batch.out)


@dataclass(frozen=True)
class NoDecoderConfig(DecoderConfig):
    """No decoder: heads read the encoder's output."""


class NoDecoder(Decoder):
    """Returns the encoder's output."""

    restores = False

    def __init__(self, config: NoDecoderConfig, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.width = width

    def forward(self, out: Tokens) -> Tokens:
        return out


@dataclass(frozen=True)
class TransformerDecoderConfig(DecoderConfig):
    """A narrow transformer over all places, as masked autoencoders use it (arXiv 2111.06377, section 3).

    Attributes:
        width: W, a multiple of 4 and of `heads`.
        depth: blocks.
        heads: attention heads.
        mlp_ratio: feed-forward width over W.
        init: first weights of all linear layers.
        position_grid: of the sin-cos positions: `true`, or `released` (see `auricle.encoders.parts.positions`).
    """

    width: int = 512
    depth: Count = 8
    heads: Count = 16
    mlp_ratio: float = 4.0
    init: LinearInit = "trunc_normal"
    position_grid: PositionGrid = "true"

    def __post_init__(self) -> None:
        if self.width % self.heads or self.width % 4:
            raise ConfigError(
                f"found decoder width {self.width} and heads {self.heads}; expected a width that is a multiple of the "
                "heads and of 4"
            )


class TransformerDecoder(Decoder):
    """Projects to W, puts a mask vector in place of dropped tokens, adds fixed sin-cos positions, runs the blocks.

    Class tokens take part without a position and are returned. Tokens of padding are not attended to.
    """

    no_decay = frozenset({"mask_token"})

    def __init__(self, config: TransformerDecoderConfig, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.width = config.width
        self.embed: nn.Module = nn.Linear(width, config.width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.blocks = nn.ModuleList(self._block(number) for number in range(config.depth))
        self.norm: nn.Module = nn.LayerNorm(config.width, eps=1e-6)
        self._tables: dict[tuple[int, int], Tensor] = {}
        initialise_linear(self, generator, config.init)
        with torch.no_grad():
            nn.init.normal_(self.mask_token, std=0.02, generator=generator)

    def _block(self, number: int) -> nn.Module:
        """Return the block of a number, from 0."""
        return TransformerBlock(self.width, self.config.heads, int(self.width * self.config.mlp_ratio))

    def _placed(self, out: Tokens) -> Tensor:
        """Return the projected tokens on the full grid `(R, N, W)`, with their positions."""
        x = restore(self.embed(out.x), out, self.mask_token)
        key = (out.grid.time, out.grid.freq)
        if key not in self._tables:
            self._tables[key] = sincos_tokens(*key, self.width, self.config.position_grid)[None]
        return x + self._tables[key].to(x)

    def decode(self, masked_batch: MaskedBatch) -> Tokens:
        return self(masked_batch.out, row_validity(masked_batch))

    def forward(self, out: Tokens, valid: Tensor | None = None) -> Tokens:
        x = self._placed(out)
        cls = None if out.cls is None else self.embed(out.cls)
        skip = 0 if cls is None else cls.shape[1]
        if cls is not None:
            x = torch.cat([cls, x], 1)
        mask = None if valid is None else key_mask(valid, skip)
        for block in self.blocks:
            x, _ = block(x, mask)
        x = self.norm(x)
        return Tokens(x[:, skip:], out.grid, valid=valid, cls=x[:, :skip] if skip else None)


def row_validity(masked_batch: MaskedBatch) -> Tensor | None:
    """Return `(R, N)` bool, False for places of padding of the full grid; None: all are valid."""
    return None if masked_batch.valid is None else masked_batch.per_row(masked_batch.valid)


def restore(x: Tensor, out: Tokens, mask_token: Tensor) -> Tensor:
    """Put visible tokens `x (R, K, W)` into their positions `out.index`, and `mask_token (1, 1, W)` everywhere else.

    Returns:
        `(R, N, W)`; `x` itself where nothing was dropped.
    """
    if out.index is None:
        return x
    full = mask_token.to(x.dtype).expand(x.shape[0], out.grid.tokens, -1)
    return full.scatter(1, out.index.unsqueeze(-1).expand(-1, -1, x.shape[-1]), x)


def full_grid(tokens: Tokens) -> Tokens:
    """Return the tokens, refusing those from which some were dropped.

    Raises:
        ConfigError: tokens were dropped and no decoder put them back.
    """
    if tokens.index is not None:
        raise ConfigError(
            "the encoder saw the visible tokens only and there is no decoder to put the masked ones back; choose a "
            "decoder, or replace masked tokens by a vector (set objective.hide to token)"
        )
    return replace(tokens)
