"""Ordering of shuffled slices of a clip: pre-training by differentiable ranking.

Source: Self-Supervised Learning of Audio Representations from Permutations with Differentiable Ranking, Carr et al.,
arXiv 2103.09879, section 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import Tensor

from auricle.config import Count, Positive
from auricle.encoders.contract import Encoder
from auricle.errors import ConfigError
from auricle.objectives.contract import Loss, Objective, ObjectiveConfig, View
from auricle.objectives.contrastive.embedding_statistics import LazyWatch, effective_rank
from auricle.objectives.distributed import float32_or_wider, mean_where, randn_rows
from auricle.objectives.predictive.heads import HeadConfig, MlpHeadConfig
from auricle.objectives.predictive.slice_embedding import certified, embed_slices
from auricle.objectives.workers.ranking_losses import fenchel_young, hard_ranks, plackett_luce, soft_ranks, spearman


@dataclass(frozen=True)
class PermutationConfig(ObjectiveConfig):
    """Settings of the ordering of slices.

    Attributes:
        slices: number of slices; the views must make as many (`SliceViewsConfig.count`, order `shuffle`).
        loss: `fenchel_young`: ranks of scores with noise, by the perturbed Fenchel-Young loss; `soft_rank`: squared
            distance of soft ranks (projection on the permutahedron) to the true ones; `plackett_luce`: likelihood of
            the true order.
        noise: standard deviation of the noise of `fenchel_young`.
        samples: draws of it.
        strength: regularisation of `soft_rank`.
        head: from the slices' vectors side by side to a score each.
    """

    slices: Annotated[int, Ge(2)] = 5
    loss: Literal["fenchel_young", "soft_rank", "plackett_luce"] = "fenchel_young"
    noise: Positive = 1.0
    samples: Count = 8
    strength: Positive = 1.0
    head: HeadConfig = field(default_factory=lambda: MlpHeadConfig(hidden=(256,), activation="relu"))


class Permutation(Objective):
    """Each slice by itself through the encoder; all vectors side by side through the head; a score for each slice.

    The labels are the views' `place` certificates. Monitored: `permutation/spearman` (0 by chance), `permutation/exact`
    (share of clips in perfect order), `permutation/exact_chance` (1 / n!), `permutation/first` (share whose first slice
    is found) beside `permutation/first_chance`, `permutation/rank_slices` and `permutation/std_slices` (of the slices'
    vectors).
    """

    def __init__(self, config: PermutationConfig, encoder: Encoder, generator: torch.Generator) -> None:
        super().__init__()
        self.config, self.views = config, config.slices
        self.check(encoder)
        self.head = config.head.build(config.slices * encoder.pooled_width, config.slices, generator)

    def forward(self, encoder: Encoder, views: Sequence[View], generator: torch.Generator) -> Loss:
        places = certified(views, "place", "Permutation")
        n = self.config.slices
        if len(views) != n or bool((places.sort(1).values != torch.arange(n, device=places.device)).any()):
            raise ConfigError(
                f"found {len(views)} views that are no permutation of {n} slices; set the views' count to the "
                f"objective's slices ({n})"
            )
        if self.shuffled:
            places = places.roll(1, 0)
        vectors = embed_slices(encoder, views)
        scores = self.head(vectors.flatten(1))
        with torch.autocast(scores.device.type, enabled=False):
            scores = float32_or_wider(scores)
            each = self._loss(scores, places, generator)
            total = mean_where(each, torch.ones_like(each, dtype=torch.bool))
        seen, guess = vectors.detach().flatten(0, 1), scores.detach()
        watch = LazyWatch(
            {
                "permutation/spearman": lambda: spearman(guess, places).mean().float(),
                "permutation/exact": lambda: (hard_ranks(guess) == places).all(1).float().mean(),
                "permutation/exact_chance": lambda: torch.tensor(1 / math.factorial(n)),
                "permutation/first": lambda: (guess.argmin(1) == places.argmin(1)).float().mean(),
                "permutation/first_chance": lambda: torch.tensor(1 / n),
                "permutation/rank_slices": lambda: effective_rank(seen[:2048]),
                "permutation/std_slices": lambda: seen.float().std(0).mean(),
            }
        )
        return Loss(total, {self.config.loss: total.detach()}, watch)

    def _loss(self, scores: Tensor, places: Tensor, generator: torch.Generator) -> Tensor:
        config = self.config
        if config.loss == "plackett_luce":
            return plackett_luce(scores, places)
        if config.loss == "soft_rank":
            return (soft_ranks(scores, config.strength) - places.to(scores.dtype)).square().mean(1) / 2
        noise = randn_rows(generator, len(scores), config.samples, config.slices).to(scores) * config.noise
        return fenchel_young(scores, places, noise)
