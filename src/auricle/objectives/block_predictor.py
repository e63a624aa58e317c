"""The predictor of joint-embedding predictive learning: from the context to the places that are asked for, no others.

Source: I-JEPA, arXiv 2301.08243 (section 3); A-JEPA, arXiv 2311.15830, whose code is not public.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from auricle.encoders.contract import Encoder, Tokens
from auricle.encoders.positions import sincos_grid
from auricle.encoders.transformer_block import TransformerBlock, key_mask
from auricle.errors import ConfigError
from auricle.objectives.decoder import Decoder, DecoderConfig, initialise_linear, restore
from auricle.objectives.target import Scene


@dataclass(frozen=True)
class BlockPredictorConfig(DecoderConfig):
    """A narrow transformer over the context and the target blocks, each place with its position.

    Where targets are blocks of a grid (`JepaMask`), most hidden tokens lie in none. They take no part here, while a
    `TransformerDecoderConfig` puts a mask vector in each of their places.

    Attributes:
        width: W, a multiple of 4 and of `heads`.
        depth: blocks.
        heads: attention heads.
        mlp_ratio: feed-forward width over W.
    """

    width: int = 384
    depth: int = 6
    heads: int = 12
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        """Refuse widths that do not divide.

        Raises:
            ConfigError: naming them.
        """
        if self.depth < 1 or self.heads < 1 or self.width % self.heads or self.width % 4:
            raise ConfigError(
                f"found predictor width {self.width}, depth {self.depth}, heads {self.heads}; the width is a multiple "
                "of the heads and of 4, the others are at least 1"
            )

    def build(self, encoder: Encoder, generator: torch.Generator) -> BlockPredictor:
        """Build the predictor, its weights drawn from the generator."""
        return BlockPredictor(self, encoder.width, generator)


class BlockPredictor(Decoder):
    """Projects to W, puts one vector with the place's position in each place to be predicted, and runs the blocks.

    All target blocks of a clip are predicted in one pass. Nothing is attended to but visible tokens and those to be
    predicted, padding excepted; what comes out in other places means nothing. Class tokens take no part.

    Args:
        config: width, depth, heads.
        width: D of the encoder's tokens.
        generator: draws the weights.
    """

    no_decay = frozenset({"mask_token"})

    def __init__(self, config: BlockPredictorConfig, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.width = config.width
        self.embed = nn.Linear(width, config.width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.width))
        hidden = int(config.width * config.mlp_ratio)
        self.blocks = nn.ModuleList(TransformerBlock(config.width, config.heads, hidden) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=1e-6)
        initialise_linear(self, generator)
        with torch.no_grad():
            nn.init.normal_(self.mask_token, std=0.02, generator=generator)

    def decode(self, scene: Scene) -> Tokens:
        """Predict the tokens that the scene's mask asks for."""
        taking_part = ~scene.hidden.masked | scene.hidden.predicted
        if scene.valid is not None:
            taking_part = taking_part & scene.per_row(scene.valid)
        return self._run(scene.out, taking_part)

    def forward(self, out: Tokens) -> Tokens:
        """Predict every place of the grid from `(R, K, D)`: `(R, N, W)`."""
        return self._run(out, None)

    def _run(self, out: Tokens, taking_part: Tensor | None) -> Tokens:
        x = restore(self.embed(out.x), out, self.mask_token)
        x = x + sincos_grid(out.grid.time, out.grid.freq, self.width).to(x)
        mask = None if taking_part is None else key_mask(taking_part)
        for block in self.blocks:
            x, _ = block(x, mask)
        return Tokens(self.norm(x), out.grid)
