"""A penalty on the output of a stem of convolutions, beside any prediction (wav2vec 2.0, HuBERT)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from auricle.config import NonNegative
from auricle.encoders.contract import Encoder, Tokens
from auricle.objectives.distributed import float32_or_wider, mean_where
from auricle.objectives.targets.target import MaskedBatch, Term, TermConfig, TermLoss


@dataclass(frozen=True)
class StemPenaltyConfig(TermConfig):
    """The mean square of a stem's output before its norm (`Stem.raw`), over the valid tokens.

    Half precision overflows where the output of a stem without norms grows, and the norm behind the stem hides the
    growth from every other loss. The term is zero for an encoder without a stem of convolutions.

    Source: wav2vec 2.0 (arXiv 2006.11477) as released in fairseq: weight 10 for the base model, 0 for the large one;
    HuBERT (2106.07447) likewise. Its gradient is scaled with the stem's (`stem_gradient`), as there.

    Attributes:
        weight: of the term.
        name: of its part in the log.
    """

    weight: NonNegative = 10.0
    name: str = "stem_penalty"


class StemPenalty(Term):
    """See `StemPenaltyConfig`. Computed in float32 or wider, without padding; `shuffled` changes nothing."""

    def __init__(self, config: StemPenaltyConfig, encoder: Encoder, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.weight, self.name = config.weight, config.name

    def forward(self, masked_batch: MaskedBatch, decoded: Tokens, shuffled: bool) -> TermLoss:
        stem = masked_batch.tokens.stem
        if stem is None:
            value = torch.zeros((), device=masked_batch.tokens.x.device)
        else:
            with torch.autocast(stem.raw.device.type, enabled=False):
                raw = float32_or_wider(stem.raw)
                chosen = torch.ones(raw.shape[:2], dtype=torch.bool, device=raw.device)
                value = mean_where(raw.square().mean(-1), chosen if masked_batch.valid is None else masked_batch.valid)
        return TermLoss.of(self.name, value, {})
