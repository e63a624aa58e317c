"""Contrast between the masked patches of a clip: a contrastive term whose candidates are the clip's own patches.

Letters in shapes: R rows, N tokens, K masked tokens of a row (at most), P elements of a patch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from auricle.encoders.contract import Encoder, Tokens
from auricle.errors import ConfigError
from auricle.objectives.baselines import position_prediction, spread
from auricle.objectives.contrastive.embedding_statistics import effective_rank
from auricle.objectives.distributed import masked_mean, mean_where
from auricle.objectives.predictive.decoder import full_grid
from auricle.objectives.predictive.heads import HeadConfig, MlpHeadConfig
from auricle.objectives.predictive.terms import chosen_tokens, read_source, source_layers
from auricle.objectives.targets.inputs import PatchTargetConfig
from auricle.objectives.targets.learned_codes import Places
from auricle.objectives.targets.target import MaskedBatch, TargetConfig, Term, TermConfig, TermLoss, Weight

Alike = Literal["negatives", "ignored"]

# Squared distance, over the squared norms, below which two patches count as equal (digital silence, for example).
_SAME = 1e-5


@dataclass(frozen=True)
class PatchContrastConfig(TermConfig):
    """Settings of the contrast between the masked patches of a clip.

    The score of prediction i and true patch j of a clip is their dot product, without temperature; that of i = j should
    be the largest. Source: SSAST (arXiv 2110.09784, section 2.3, equation 1). Its released code normalises over the
    predictions, the paper over the patches.

    Attributes:
        target: the true patch.
        head: the map from a token to it.
        over: `patches`: a softmax over the true patches for each prediction (the paper); `predictions`: one over the
            predictions for each true patch (the code).
        alike: patches that are almost identical to the true one, such as those of silence, are `negatives` like all
            others, as published, or `ignored`, because no prediction can distinguish them.
        source: `decoder`, `encoder`, or `layer 9`.
        weight: of the term.
        name: of its part in the log.
    """

    target: TargetConfig = field(default_factory=lambda: PatchTargetConfig(norm="none"))
    head: HeadConfig = field(default_factory=lambda: MlpHeadConfig(activation="relu"))
    over: Literal["patches", "predictions"] = "predictions"
    alike: Alike = "negatives"
    source: str = "decoder"
    weight: Weight = 1.0
    name: str = "nce"

    def __post_init__(self) -> None:
        source_layers(self.source)


class PatchContrast(Term):
    """InfoNCE over the masked patches of each clip, averaged over all masked patches of all clips, in float32.

    Monitored are `accuracy` (the true pair is the largest) and its baselines: `chance` (the mean of ln K), `majority`
    (1 / K), and a prediction by position only: `position` and `position_accuracy`, from the distances of the patches
    from the other clips' mean at each position, at the best of ten temperatures.
    """

    def __init__(self, config: PatchContrastConfig, encoder: Encoder, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.weight = config.weight
        self.layers = source_layers(config.source)
        self.target = config.target.build(encoder, generator)
        self.target.refuse_codes("a contrast between patches")
        width = width if config.source == "decoder" else encoder.width
        self.head = config.head.build(width, self.target.size, generator)

    def forward(self, masked_batch: MaskedBatch, decoded: Tokens, shuffled: bool) -> TermLoss:
        target = self.target.of_rows(masked_batch, shuffled)
        chosen = chosen_tokens("predicted", masked_batch)
        if not bool(chosen.any()):
            raise ConfigError("no patch is masked in any clip, so there are no candidates; set objective.mask")
        places = Places.of(chosen)
        prediction = self.head(full_grid(read_source(self.config.source, masked_batch, decoded)).x)
        with torch.autocast(prediction.device.type, enabled=False):
            truth = places.take(target)
            prediction = places.take(prediction).to(truth.dtype)
            logits = self.logits(prediction, truth, places.real)
            value = mean_where(_log_loss(logits), places.real)
        watch = self._watch(masked_batch, prediction.detach(), logits.detach(), target, chosen, places)
        return TermLoss.of(self.config.name, value, watch)

    def logits(self, prediction: Tensor, truth: Tensor, there: Tensor) -> Tensor:
        """Return the scores `(R, K, K)` of the candidates (last) of each masked patch; -inf where there is none.

        Args:
            prediction: `(R, K, P)`.
            truth: `(R, K, P)` the true patches.
            there: `(R, K)` bool, False where a row has fewer masked patches.
        """
        over = self.config.over
        scores = prediction @ truth.mT if over == "patches" else truth @ prediction.mT
        itself = torch.eye(scores.shape[1], dtype=torch.bool, device=scores.device)
        barred = ~there.unsqueeze(1) & ~itself
        if self.config.alike == "ignored":
            barred = barred | (same_patches(truth) & ~itself)
        return scores.masked_fill(barred, -torch.inf)

    def _watch(
        self,
        masked_batch: MaskedBatch,
        prediction: Tensor,
        logits: Tensor,
        target: Tensor,
        chosen: Tensor,
        places: Places,
    ) -> dict[str, Callable[[], Tensor]]:
        there = places.real
        own = torch.arange(there.shape[1], device=there.device)

        def accuracy() -> Tensor:
            return masked_mean((logits.argmax(-1) == own).to(logits.dtype), there)

        def blind() -> Tensor:
            guess = places.take(position_prediction(target, chosen, masked_batch.clones))
            apart = torch.cdist(guess, places.take(target)).square()
            apart = apart if self.config.over == "patches" else apart.mT
            return -apart.masked_fill(logits.isneginf(), torch.inf)

        def position() -> Tensor:
            scores, size = blind(), masked_mean(target.square().sum(-1), chosen).clamp(min=1e-12)
            each = [_log_loss(scores / (size * 2.0**-power)) for power in range(10)]
            return torch.stack([masked_mean(losses, there) for losses in each]).min()

        count = logits.isfinite().sum(-1).clamp(min=1).to(logits.dtype)
        return {
            "accuracy": accuracy,
            "chance": lambda: masked_mean(count.log(), there),
            "majority": lambda: masked_mean(1 / count, there),
            "position": position,
            "position_ratio": lambda: masked_mean(_log_loss(logits), there) / position().clamp(min=1e-12),
            "position_accuracy": lambda: masked_mean((blind().argmax(-1) == own).to(logits.dtype), there),
            "std_target": lambda: spread(target, chosen),
            "std_prediction": lambda: spread(prediction, there),
            "rank_prediction": lambda: effective_rank(prediction[there][:2048]),
        }


@torch.no_grad()
def same_patches(truth: Tensor) -> Tensor:
    """Return `(R, K, K)` bool: which patches `truth (R, K, P)` of a row are almost identical."""
    square = truth.square().sum(-1)
    both = square.unsqueeze(2) + square.unsqueeze(1)
    return both - 2 * truth @ truth.mT <= _SAME * both


def _log_loss(logits: Tensor) -> Tensor:
    """Return `(R, K)`: the cross-entropy of each masked patch, whose own candidate lies on the diagonal."""
    return torch.logsumexp(logits, -1) - logits.diagonal(dim1=1, dim2=2)
