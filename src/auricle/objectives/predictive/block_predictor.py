"""The predictor of joint-embedding predictive learning: from the context to the target positions, and no others.

Source: I-JEPA, arXiv 2301.08243 (section 3); A-JEPA, arXiv 2311.15830, whose code is not public.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from auricle.config import Count
from auricle.encoders.contract import Tokens
from auricle.objectives.predictive.decoder import TransformerDecoder, TransformerDecoderConfig
from auricle.objectives.targets.target import MaskedBatch


@dataclass(frozen=True)
class BlockPredictorConfig(TransformerDecoderConfig):
    """A narrow transformer over the context and the target blocks, each token with its position.

    Where targets are blocks of a grid (`JepaMask`), most masked tokens lie in none. They take no part here, while a
    `TransformerDecoderConfig` puts a mask vector in each of their positions.
    """

    width: int = 384
    depth: Count = 6
    heads: Count = 12


class BlockPredictor(TransformerDecoder):
    """Projects to W, puts one vector with its position into each token to be predicted, and runs the blocks.

    All target blocks of a clip are predicted in one pass. Only visible tokens and those to be predicted are attended
    to, padding excepted; the output at other positions has no meaning. Class tokens take no part.
    """

    def decode(self, masked_batch: MaskedBatch) -> Tokens:
        taking_part = ~masked_batch.mask.masked | masked_batch.mask.predicted
        if masked_batch.valid is not None:
            taking_part = taking_part & masked_batch.per_row(masked_batch.valid)
        return self(masked_batch.out, taking_part)

    def forward(self, out: Tokens, valid: Tensor | None = None) -> Tokens:
        return replace(super().forward(replace(out, cls=None), valid), valid=None)
