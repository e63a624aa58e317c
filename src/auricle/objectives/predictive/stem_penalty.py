"""A penalty that keeps a stem of convolutions small, beside any prediction: wav2vec 2.0's, and HuBERT's after it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from auricle.encoders.contract import Encoder, Tokens
from auricle.errors import ConfigError
from auricle.objectives.distributed import mean_where
from auricle.objectives.targets.target import MaskedBatch, Term, TermConfig, TermLoss


@dataclass(frozen=True)
class StemPenaltyConfig(TermConfig):
    """The mean square of what a stem computes, before it is normalised (`Stem.raw`), over the valid tokens.

    Half precision overflows where a stem without a norm of its own grows, and a norm behind it hides the growth from
    every other loss. An encoder without a stem of convolutions has nothing of the kind: the term is zero there.

    Source: wav2vec 2.0 (arXiv 2006.11477) as released in fairseq: weight 10 for the base model, 0 for the large one;
    HuBERT (2106.07447) likewise. Its gradient is scaled with the stem's (`stem_gradient`), as there.

    Attributes:
        weight: of the term.
        name: of its part in the log.
    """

    weight: float = 10.0
    name: str = "stem_penalty"

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise ConfigError(f"found weight {self.weight} of the stem penalty, expected 0 or more")


class StemPenalty(Term):
    """See its settings. Computed in float32 (or wider); padding does not count, and neither does `shuffled`."""

    def __init__(self, config: StemPenaltyConfig) -> None:
        super().__init__()
        self.weight, self.name = config.weight, config.name

    def forward(self, masked_batch: MaskedBatch, decoded: Tokens, shuffled: bool) -> TermLoss:
        stem = masked_batch.tokens.stem
        if stem is None:
            value = torch.zeros((), device=masked_batch.tokens.x.device)
        else:
            with torch.autocast(stem.raw.device.type, enabled=False):
                raw = stem.raw if stem.raw.dtype == torch.float64 else stem.raw.float()
                chosen = torch.ones(raw.shape[:2], dtype=torch.bool, device=raw.device)
                value = mean_where(raw.square().mean(-1), chosen if masked_batch.valid is None else masked_batch.valid)
        return TermLoss(value, {self.name: value.detach()}, {})
