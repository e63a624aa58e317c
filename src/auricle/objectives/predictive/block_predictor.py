"""The predictor of joint-embedding predictive learning: from the context to the places that are asked for, no others.

Source: I-JEPA, arXiv 2301.08243 (section 3); A-JEPA, arXiv 2311.15830, whose code is not public.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from auricle.encoders.contract import Encoder, Tokens
from auricle.objectives.predictive.decoder import TransformerDecoder, TransformerDecoderConfig
from auricle.objectives.targets.target import MaskedBatch


@dataclass(frozen=True)
class BlockPredictorConfig(TransformerDecoderConfig):
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


class BlockPredictor(TransformerDecoder):
    """Projects to W, puts one vector with the place's position in each place to be predicted, and runs the blocks.

    All target blocks of a clip are predicted in one pass. Nothing is attended to but visible tokens and those to be
    predicted, padding excepted; what comes out in other places means nothing. Class tokens take no part.

    Args:
        config: width, depth, heads.
        width: D of the encoder's tokens.
        generator: draws the weights.
    """

    def decode(self, masked_batch: MaskedBatch) -> Tokens:
        taking_part = ~masked_batch.hidden.masked | masked_batch.hidden.predicted
        if masked_batch.valid is not None:
            taking_part = taking_part & masked_batch.per_row(masked_batch.valid)
        return self(masked_batch.out, taking_part)

    def forward(self, out: Tokens, valid: Tensor | None = None) -> Tokens:
        return replace(super().forward(replace(out, cls=None), valid), valid=None)
