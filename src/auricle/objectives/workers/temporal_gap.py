"""Estimation of the time between two slices of a clip.

Source: TemporalGap, Tagliasacchi et al., Self-supervised audio representation learning for mobile devices, arXiv
1905.11796, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from auricle.encoders.contract import Encoder
from auricle.objectives.contract import Loss, Objective, ObjectiveConfig, View
from auricle.objectives.contrastive.embedding_statistics import LazyWatch, effective_rank
from auricle.objectives.distributed import float32_or_wider, mean_where
from auricle.objectives.predictive.heads import HeadConfig, MlpHeadConfig
from auricle.objectives.predictive.slice_embedding import certified, embed_slices


@dataclass(frozen=True)
class TemporalGapConfig(ObjectiveConfig):
    """Settings of the estimation of the gap.

    Attributes:
        loss: `bce`: binary cross-entropy against the gap as a soft label; `l2`: squared error.
        head: from both slices' vectors, in the order of time, to one number; a sigmoid follows.
    """

    loss: Literal["bce", "l2"] = "bce"
    head: HeadConfig = field(default_factory=lambda: MlpHeadConfig(hidden=(128,), activation="relu"))


class TemporalGap(Objective):
    """Estimates the distance of two slices as a share of the largest possible: the views' `gap` certificate.

    Monitored: `gap/r` (Pearson's correlation with the true gap), `gap/error` (mean absolute) beside
    `gap/constant_error` (of always predicting the batch's median), `gap/constant` (the loss of always predicting its
    mean), `gap/std_prediction` and `gap/rank_slices`.
    """

    views = 2

    def __init__(self, config: TemporalGapConfig, encoder: Encoder, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.check(encoder)
        self.head = config.head.build(2 * encoder.pooled_width, 1, generator)

    def forward(self, encoder: Encoder, views: Sequence[View], generator: torch.Generator) -> Loss:
        gap = certified(views, "gap", "TemporalGap")[:, 0]
        if self.shuffled:
            gap = gap.roll(1, 0)
        vectors = embed_slices(encoder, views)
        logit = self.head(vectors.flatten(1))[:, 0]
        with torch.autocast(logit.device.type, enabled=False):
            logit = float32_or_wider(logit)
            gap = gap.to(logit.dtype)
            each = self._loss(logit, gap)
            total = mean_where(each, torch.ones_like(each, dtype=torch.bool))
        guess, seen = logit.detach().sigmoid(), vectors.detach().flatten(0, 1)
        watch = LazyWatch(
            {
                "gap/r": lambda: _correlation(guess, gap),
                "gap/error": lambda: (guess - gap).abs().mean(),
                "gap/constant_error": lambda: (gap.median() - gap).abs().mean(),
                "gap/constant": lambda: self._loss(gap.mean().logit(1e-6).expand_as(gap), gap).mean(),
                "gap/std_prediction": lambda: guess.std(),
                "gap/rank_slices": lambda: effective_rank(seen[:2048]),
            }
        )
        return Loss(total, {self.config.loss: total.detach()}, watch)

    def _loss(self, logit: Tensor, gap: Tensor) -> Tensor:
        if self.config.loss == "bce":
            return F.binary_cross_entropy_with_logits(logit, gap, reduction="none")
        return (logit.sigmoid() - gap).square()


def _correlation(x: Tensor, y: Tensor) -> Tensor:
    x, y = x - x.mean(), y - y.mean()
    return (x * y).sum() / (x.norm() * y.norm()).clamp(min=torch.finfo(x.dtype).tiny)
