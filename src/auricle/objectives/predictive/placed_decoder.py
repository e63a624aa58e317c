"""Transformer decoders whose positions or blocks are not those of the masked autoencoder: Dasheng, MSM-MAE, BAT ..."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.config import ShareBelowOne
from auricle.encoders.contract import Encoder, Grid, Tokens
from auricle.encoders.parts.positions import sincos_tokens, sinusoid_table
from auricle.encoders.parts.transformer_block import TransformerBlock
from auricle.errors import ConfigError
from auricle.objectives.predictive.decoder import TransformerDecoder, TransformerDecoderConfig, restore


@dataclass(frozen=True)
class PlacedDecoderConfig(TransformerDecoderConfig):
    """A transformer decoder with a choice of positions and blocks; as wide as the encoder, it has no projection.

    Sources, from released code: Dasheng (arXiv 2406.06992): learned positions that begin at zero; MSM-MAE
    (arXiv 2204.12260): sinusoids on one axis, band after band; MAE-AST (arXiv 2203.16691): sinusoids on one axis, time
    step after time step, post-norm blocks behind a norm, dropout; BAT (ICML 2026): learned positions that begin as
    sin-cos (`position_grid` released), gated post-norm blocks, no class token.

    Attributes:
        positions: `learned_zero`, `learned_sincos`, `sinusoid` (tokens in their order, all bands of a time step before
            the next), or `sinusoid_bands` (all time steps of a band before the next).
        block_norm: `pre`: norms before attention and feed-forward, and one at the end; `post`: after their residual
            sums.
        pre_norm: a norm before the first block.
        gate: the output of attention is gated by its input (see `TransformerBlock`).
        cls: class tokens take part, without positions.
        dropout: of the first block's input, of every branch, and of attention weights.
        position_grid: of `learned_sincos`: `true`, or `released` (see `auricle.encoders.parts.positions`).
    """

    positions: Literal["learned_zero", "learned_sincos", "sinusoid", "sinusoid_bands"] = "learned_zero"
    block_norm: Literal["pre", "post"] = "pre"
    pre_norm: bool = False
    gate: bool = False
    cls: bool = True
    dropout: ShareBelowOne = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.position_grid == "released" and self.positions != "learned_sincos":
            raise ConfigError(
                f"objective.decoder.position_grid is released, and positions are {self.positions!r}, which lie on no "
                "grid; set objective.decoder.position_grid to true, or objective.decoder.positions to learned_sincos"
            )

    def build(self, encoder: Encoder, generator: torch.Generator) -> PlacedDecoder:
        return PlacedDecoder(self, encoder, generator)


# Longest input of learned positions, where the encoder takes inputs of any length.
_SECONDS = 60.0


class PlacedDecoder(TransformerDecoder):
    """See `PlacedDecoderConfig`. Shorter inputs use the first time steps of learned positions.

    Learned positions are as many as the encoder's longest input has, or a minute's where it takes any length.
    """

    config: PlacedDecoderConfig
    no_decay = frozenset({"mask_token", "positions"})

    def __init__(self, config: PlacedDecoderConfig, encoder: Encoder, generator: torch.Generator) -> None:
        super().__init__(config, encoder.width, generator)
        if config.width == encoder.width:
            self.embed = nn.Identity()
        if config.block_norm == "post":
            self.norm = nn.Identity()
        self.norm_pre = nn.LayerNorm(config.width, eps=1e-6) if config.pre_norm else nn.Identity()
        self.positions: nn.Parameter | None = None
        if config.positions.startswith("learned"):
            grid = encoder.grid(encoder.max_frames or round(_SECONDS * encoder.input_rate))
            table = torch.zeros(grid.tokens, config.width)
            if config.positions == "learned_sincos":
                table = sincos_tokens(grid.time, grid.freq, config.width, config.position_grid).float()
            self.positions = nn.Parameter(table.view(1, grid.time, grid.freq, -1))

    def _block(self, number: int) -> nn.Module:
        config = self.config
        return TransformerBlock(
            self.width,
            config.heads,
            int(self.width * config.mlp_ratio),
            post_norm=config.block_norm == "post",
            dropout=config.dropout,
            attention_dropout=config.dropout,
            gate=config.gate,
        )

    def _placed(self, out: Tokens) -> Tensor:
        x = restore(self.embed(out.x), out, self.mask_token)
        x = self.norm_pre(x + self._table(out.grid).to(x))
        return F.dropout(x, self.config.dropout, self.training)

    def _table(self, grid: Grid) -> Tensor:
        """Return the positions `(1, N, W)` of a grid."""
        if self.positions is not None:
            if grid.time > self.positions.shape[1]:
                raise ConfigError(
                    f"found a window of {grid.time} time steps at {grid.rate:g} per second, and the decoder has "
                    f"learned "
                    f"positions for {self.positions.shape[1]}; take shorter windows (--window.seconds), or set "
                    "objective.decoder.positions to sinusoid"
                )
            return self.positions[:, : grid.time, : grid.freq].flatten(1, 2)
        key = (grid.time, grid.freq)
        if key not in self._tables:
            table = sinusoid_table(grid.tokens, self.width)
            if self.config.positions == "sinusoid_bands":
                table = table.view(grid.freq, grid.time, -1).transpose(0, 1).flatten(0, 1)
            self._tables[key] = table[None]
        return self._tables[key]

    def forward(self, out: Tokens, valid: Tensor | None = None) -> Tokens:
        return super().forward(out if self.config.cls else replace(out, cls=None), valid)
