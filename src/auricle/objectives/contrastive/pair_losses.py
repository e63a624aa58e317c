"""Losses on pairs of projections: each view against those of all clips of the batch.

Letters in shapes: n clips of the global batch, D width of a projection.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.config import Config, Count, NonNegative, Positive
from auricle.objectives.contrastive.ntxent import check_pairs, nt_xent

# Deviation of a random W.
_RANDOM = 0.05


@dataclass(frozen=True)
class PairResult:
    """Result of a pair loss.

    Attributes:
        loss: scalar with gradient: this rank's share, so that the mean over ranks is the loss of the global batch.
        accuracy: share of this rank's anchors whose nearest candidate is their partner, detached.
        watch: makers of further scalars.
    """

    loss: Tensor
    accuracy: Tensor
    watch: Mapping[str, Callable[[], Tensor]] = field(default_factory=dict)


class PairLoss(nn.Module, ABC):
    """Base of losses that compare two views of every clip.

    Attributes:
        name: of its part in the log.
    """

    name: ClassVar[str]

    def chance(self, clips: int) -> float:
        """Return the accuracy of a guess in a batch of a number of clips: one in as many by default."""
        return 1 / clips

    @abstractmethod
    def forward(self, z0: Tensor, z1: Tensor, rows: slice) -> PairResult:
        """Compare views.

        Args:
            z0: `(n, D)` projections of the first views of the global batch.
            z1: `(n, D)` projections of the second views, in the same order.
            rows: the clips of this rank.

        Raises:
            ConfigError: there are not at least two clips.
        """


@dataclass(frozen=True)
class PairLossConfig(Config, ABC):
    """Base of the settings of pair losses."""

    def build(self, width: int, generator: torch.Generator | None = None) -> PairLoss:
        """Build the loss for projections of a width, its weights, if any, drawn from `generator` (None: seed 0)."""
        return self.built_class()(self, width, torch.Generator().manual_seed(0) if generator is None else generator)


@dataclass(frozen=True)
class NTXentConfig(PairLossConfig, builds="_NTXentLoss"):
    """NT-Xent (SimCLR, arXiv 2002.05709, equation 1): partner against both views of all other clips.

    Attributes:
        temperature: divides the cosine similarities.
        chunk: anchors per block of similarities.
    """

    temperature: Positive = 0.1
    chunk: Count = 1024


class _NTXentLoss(PairLoss):
    name = "nt_xent"

    def __init__(self, config: NTXentConfig, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config

    def chance(self, clips: int) -> float:
        return 1 / (2 * clips - 1)

    def forward(self, z0: Tensor, z1: Tensor, rows: slice) -> PairResult:
        made = nt_xent(z0, z1, self.config.temperature, chunk=self.config.chunk, rows=rows)
        return PairResult(made.loss, made.accuracy)


@dataclass(frozen=True)
class InBatchConfig(PairLossConfig):
    """Softmax over the second views of the batch (COLA, arXiv 2010.10915, equations 1 and 2).

    Attributes:
        similarity: `bilinear`: z0' W z1 with a learned W, not normalised, no temperature; `cosine`: over `temperature`.
        temperature: of the cosine (COLA's dot-product variant: 0.2).
        symmetric: also from second to first views, averaged; COLA contrasts in one direction.
        draw: first values of W: `identity`, over sqrt(D), so that scores are scaled dot products; or `normal`, at
            random with deviation 0.05 (COLA's released code).
    """

    similarity: Literal["bilinear", "cosine"] = "bilinear"
    temperature: Positive = 0.2
    symmetric: bool = False
    draw: Literal["identity", "normal"] = "identity"


class InBatch(PairLoss):
    """Cross-entropy of the partner among the second views of all clips; chance is ln n.

    Attributes:
        matrix: `(D, D)` W, None where the similarity is the cosine.
    """

    name = "in_batch"

    def __init__(self, config: InBatchConfig, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.matrix: nn.Parameter | None = None
        if config.similarity == "bilinear":
            first = torch.eye(width) / width**0.5
            if config.draw == "normal":
                first = _RANDOM * torch.randn(width, width, generator=generator)
            self.matrix = nn.Parameter(first)

    def forward(self, z0: Tensor, z1: Tensor, rows: slice) -> PairResult:
        n = check_pairs(z0, z1)
        partner = torch.arange(n, device=z0.device)[rows]
        if self.matrix is None:
            z0, z1 = (F.normalize(z, dim=1) / self.config.temperature**0.5 for z in (z0, z1))
        else:
            z0 = z0 @ self.matrix
        scores = z0[rows] @ z1.T
        loss, hits = F.cross_entropy(scores, partner), _hits(scores, partner)
        if self.config.symmetric:
            back = z1[rows] @ z0.T
            loss, hits = (loss + F.cross_entropy(back, partner)) / 2, (hits + _hits(back, partner)) / 2
        return PairResult(loss, hits)


@dataclass(frozen=True)
class BarlowConfig(PairLossConfig, builds="_BarlowLoss"):
    """Redundancy reduction (Barlow Twins, arXiv 2103.03230, equation 1): the views' cross-correlation becomes identity.

    Attributes:
        off_diagonal: weight of the squared correlations of different dimensions.
    """

    off_diagonal: NonNegative = 0.005


class _BarlowLoss(PairLoss):
    """Every rank compares all clips. Monitored: `diagonal` and `off_diagonal` (RMS)."""

    name = "barlow"

    def __init__(self, config: BarlowConfig, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config

    def forward(self, z0: Tensor, z1: Tensor, rows: slice) -> PairResult:
        n = check_pairs(z0, z1)
        c = cross_correlation(z0, z1)
        diagonal = c.diagonal()
        apart = c.square().sum() - diagonal.square().sum()
        loss = (1 - diagonal).square().sum() + self.config.off_diagonal * apart
        with torch.no_grad():
            partner = torch.arange(n, device=z0.device)[rows]
            accuracy = _hits(F.normalize(z0, dim=1)[rows] @ F.normalize(z1, dim=1).T, partner)
        pairs, mean, square = max(1, c.numel() - len(c)), diagonal.detach().mean(), apart.detach()
        return PairResult(
            loss, accuracy, {"diagonal": lambda: mean, "off_diagonal": lambda: (square / pairs).clamp(min=0).sqrt()}
        )


def cross_correlation(z0: Tensor, z1: Tensor, eps: float = 1e-5) -> Tensor:
    """Return `(D, D)`: the correlation, over the batch, of each dimension of `z0 (n, D)` with each of `z1 (n, D)`."""
    whitened = [(z - z.mean(0)) * (z.var(0, correction=0) + eps).rsqrt() for z in (z0, z1)]
    return whitened[0].T @ whitened[1] / len(z0)


def _hits(scores: Tensor, partner: Tensor) -> Tensor:
    return (scores.detach().argmax(1) == partner).to(scores.dtype).mean()
