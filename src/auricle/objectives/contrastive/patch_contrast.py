"""Telling the hidden patches of a clip from each other: a contrastive term whose candidates are the clip's own patches.

Letters in shapes: R rows, N tokens, K hidden tokens of a row (at most), P elements of a patch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor

from auricle.config import nearest
from auricle.encoders.contract import Encoder, Tokens
from auricle.errors import ConfigError
from auricle.objectives.baselines import position_prediction, spread
from auricle.objectives.contract import Preparation
from auricle.objectives.contrastive.embedding_statistics import effective_rank
from auricle.objectives.distributed import masked_mean, mean_where
from auricle.objectives.predictive.decoder import full_grid
from auricle.objectives.predictive.heads import HeadConfig, MlpHeadConfig
from auricle.objectives.predictive.terms import chosen_tokens, read_source, source_layers
from auricle.objectives.targets.inputs import PatchTargetConfig
from auricle.objectives.targets.target import MaskedBatch, TargetConfig, Term, TermConfig, TermLoss, shuffle_clips

Over = Literal["patches", "predictions"]
Alike = Literal["negatives", "ignored"]

# Squared distance, over the squared norms, below which two patches count as the same sound (digital silence, say).
_SAME = 1e-5


@dataclass(frozen=True)
class PatchContrastConfig(TermConfig):
    """Settings of the contrast between the hidden patches of a clip.

    Prediction i and true patch j of a clip meet in a dot product, without temperature; the pair i = j is to be the
    largest. Source: SSAST (arXiv 2110.09784, section 2.3, equation 1). Its released code normalises over the
    predictions where the paper normalises over the patches.

    Attributes:
        target: what stands for a patch.
        head: the map from a token to it.
        over: `patches`: a softmax over the true patches for each prediction (the paper); `predictions`: one over the
            predictions for each true patch (the code).
        alike: patches that are all but identical to the true one, such as those of silence, are `negatives` like all
            others, as published, or `ignored`, because no prediction can tell them apart.
        source: `decoder`, `encoder`, or `layer 9`.
        weight: of the term.
        name: of its part in the log.
    """

    target: TargetConfig = field(default_factory=lambda: PatchTargetConfig(norm="none"))
    head: HeadConfig = field(default_factory=lambda: MlpHeadConfig(activation="relu"))
    over: Over = "predictions"
    alike: Alike = "negatives"
    source: str = "decoder"
    weight: float = 1.0
    name: str = "nce"

    def __post_init__(self) -> None:
        source_layers(self.source)
        for name, known in (("over", get_args(Over)), ("alike", get_args(Alike))):
            if getattr(self, name) not in known:
                raise ConfigError(f"unknown {name} {getattr(self, name)!r}{nearest(getattr(self, name), known)}")


class PatchContrast(Term):
    """InfoNCE over the hidden patches of each clip, averaged over all hidden patches of all clips, in float32.

    Watched are `accuracy` (the true pair is the largest) and what must be beaten: `chance` (the mean of ln K) and
    `majority` (1 / K), and who knows nothing but the place of each patch: `position` and `position_accuracy`, from the
    distances of the patches from the other clips' mean in each place, at the best of ten temperatures.
    """

    def __init__(self, config: PatchContrastConfig, encoder: Encoder, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.weight = config.weight
        self.layers = source_layers(config.source)
        self.target = config.target.build(encoder, generator)
        if self.target.books or self.target.clip:
            raise ConfigError(
                f"{type(config.target).__name__} gives {'codes' if self.target.books else 'one value a clip'}; a "
                "contrast between patches needs continuous values of tokens, such as PatchTargetConfig's"
            )
        self.prepares = self.target.prepares
        self.head = config.head.build(
            width if config.source == "decoder" else encoder.width, self.target.size, generator
        )

    def prepare(self, encoder: Encoder, preparation: Preparation) -> None:
        self.target.prepare(encoder, preparation)

    def after_step(self, encoder: Encoder, step: int) -> None:
        self.target.after_step(encoder, step)

    def forward(self, masked_batch: MaskedBatch, decoded: Tokens, shuffled: bool) -> TermLoss:
        name = self.config.name
        target: Tensor = self.target(masked_batch)
        per_clip = target.shape[0] == len(masked_batch.view)
        if shuffled:
            target = shuffle_clips(target, 1 if per_clip else masked_batch.clones)
        target = masked_batch.per_row(target) if per_clip else target
        chosen = chosen_tokens("predicted", masked_batch)
        place, there = gathered_places(chosen)
        prediction = _at(self.head(full_grid(read_source(self.config.source, masked_batch, decoded)).x), place)
        with torch.autocast(prediction.device.type, enabled=False):
            truth = _at(target, place)
            logits = self.logits(prediction.to(truth.dtype), truth, there)
            losses = _log_loss(logits)
            value = mean_where(losses, there)
        watch = self._watch(masked_batch, prediction.detach().to(truth.dtype), logits.detach(), target, chosen)
        return TermLoss(value, {name: value.detach()}, {f"{name}/{k}": v for k, v in watch.items()})

    def logits(self, prediction: Tensor, truth: Tensor, there: Tensor) -> Tensor:
        """Return the scores `(R, K, K)` of the candidates (last) of each hidden patch; -inf for who is none.

        Args:
            prediction: `(R, K, P)`.
            truth: `(R, K, P)` the true patches.
            there: `(R, K)` bool, False where a row has fewer hidden patches.
        """
        over = self.config.over
        scores = prediction @ truth.mT if over == "patches" else truth @ prediction.mT
        itself = torch.eye(scores.shape[1], dtype=torch.bool, device=scores.device)
        barred = ~there.unsqueeze(1) & ~itself
        if self.config.alike == "ignored":
            barred = barred | (same_patches(truth) & ~itself)
        return scores.masked_fill(barred, -torch.inf)

    def _watch(
        self, masked_batch: MaskedBatch, prediction: Tensor, logits: Tensor, target: Tensor, chosen: Tensor
    ) -> dict[str, Callable[[], Tensor]]:
        place, there = gathered_places(chosen)
        own = torch.arange(place.shape[1], device=place.device)

        def accuracy() -> Tensor:
            return masked_mean((logits.argmax(-1) == own).to(logits.dtype), there)

        def blind() -> Tensor:
            guess = _at(position_prediction(target, chosen, masked_batch.clones), place)
            apart = torch.cdist(guess, _at(target, place)).square()
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


def gathered_places(chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Return the places `(R, K)` of the chosen tokens of each row, rising, and which of them are there `(R, K)` bool.

    Rows with fewer chosen tokens than the most repeat others, which are not there.

    Args:
        chosen: `(R, N)` bool.

    Raises:
        ConfigError: nothing is chosen in any row.
    """
    counts = chosen.sum(1)
    most = int(counts.max())
    if most == 0:
        raise ConfigError("no patch is hidden from any clip, so there is nothing to tell apart; set objective.mask")
    place = (~chosen).to(torch.uint8).argsort(dim=1, stable=True)[:, :most]
    return place, torch.arange(most, device=chosen.device) < counts.unsqueeze(1)


@torch.no_grad()
def same_patches(truth: Tensor) -> Tensor:
    """Return `(R, K, K)` bool: which patches `truth (R, K, P)` of a row are all but identical."""
    square = truth.square().sum(-1)
    both = square.unsqueeze(2) + square.unsqueeze(1)
    return both - 2 * truth @ truth.mT <= _SAME * both


def _log_loss(logits: Tensor) -> Tensor:
    """Return `(R, K)`: the cross-entropy of each hidden patch, whose own candidate lies on the diagonal."""
    return torch.logsumexp(logits, -1) - logits.diagonal(dim1=1, dim2=2)


def _at(x: Tensor, place: Tensor) -> Tensor:
    return x.gather(1, place.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
