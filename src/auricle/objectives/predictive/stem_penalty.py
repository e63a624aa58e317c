"""A penalty on the output of a stem of convolutions, beside any prediction (wav2vec 2.0, HuBERT)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from auricle.config import NonNegative
from auricle.encoders.contract import Encoder, Tokens
from auricle.objectives.distributed import float32_or_wider, mean_where
from auricle.objectives.targets.target import MaskedBatch, Term, TermConfig, TermLoss


@dataclass(frozen=True)
class StemPenaltyConfig(TermConfig):
    """The mean square of a stem's output before its norm (`Stem.raw`), or of the tokens, over the valid ones.

    Half precision overflows where the output of a stem without norms grows, and the norm behind the stem hides the
    growth from every other loss. The term is zero for an encoder without a stem of convolutions.

    Source: wav2vec 2.0 (arXiv 2006.11477) as released in fairseq: weight 10 for the base model, 0 for the large one;
    HuBERT (2106.07447) likewise. Its gradient is scaled with the stem's (`stem_gradient`), as there. w2v-BERT
    (2108.06209) as re-implemented in WeNet: weight 0.01 on the subsampled features, which are the tokens.

    Attributes:
        of: the `stem`'s output, or the `tokens` before context.
        weight: of the term.
        name: of its part in the log.
    """

    of: Literal["stem", "tokens"] = "stem"
    weight: NonNegative = 10.0
    name: str = "stem_penalty"


class StemPenalty(Term):
    """See `StemPenaltyConfig`. Computed in float32 or wider, without padding; `shuffled` changes nothing."""

    def __init__(self, config: StemPenaltyConfig, encoder: Encoder, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.config, self.weight, self.name = config, config.weight, config.name

    def forward(self, masked_batch: MaskedBatch, decoded: Tokens, shuffled: bool) -> TermLoss:
        tokens = masked_batch.tokens
        found = tokens.x if self.config.of == "tokens" else None if tokens.stem is None else tokens.stem.raw
        if found is None:
            value = torch.zeros((), device=tokens.x.device)
        else:
            with torch.autocast(found.device.type, enabled=False):
                raw = float32_or_wider(found)
                chosen = torch.ones(raw.shape[:2], dtype=torch.bool, device=raw.device)
                value = mean_where(raw.square().mean(-1), chosen if masked_batch.valid is None else masked_batch.valid)
        return TermLoss.of(self.name, value, {})
