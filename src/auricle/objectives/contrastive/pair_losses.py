"""Losses on pairs of projections: which view belongs to which, among all clips of the batch.

Letters in shapes: n clips of the global batch, D width of a projection.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.config import Config, nearest
from auricle.errors import ConfigError
from auricle.objectives.contrastive.ntxent import nt_xent

Similarity = Literal["bilinear", "cosine"]
Draw = Literal["identity", "normal"]
# Deviation of a random W.
_RANDOM = 0.05


@dataclass(frozen=True)
class PairResult:
    """What a pair loss returns.

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
        """Return the accuracy of a guess in a batch of so many clips: one in as many, unless a loss says otherwise."""
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

    @abstractmethod
    def build(self, width: int, generator: torch.Generator | None = None) -> PairLoss:
        """Build the loss for projections of this width; `generator` is for weights that are drawn, if there are any."""


@dataclass(frozen=True)
class NTXentConfig(PairLossConfig):
    """NT-Xent (SimCLR, arXiv 2002.05709, equation 1): partner against both views of all other clips.

    Attributes:
        temperature: divides the cosine similarities.
        chunk: anchors per block of similarities.
    """

    temperature: float = 0.1
    chunk: int = 1024

    def __post_init__(self) -> None:
        if self.temperature <= 0 or self.chunk < 1:
            raise ConfigError(
                f"found temperature {self.temperature} and chunk {self.chunk} of NT-Xent; expected positive numbers"
            )


class _NTXentLoss(PairLoss):
    name = "nt_xent"

    def __init__(self, config: NTXentConfig) -> None:
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
        draw: how W begins: `identity`, over sqrt(D), so that scores are scaled dot products; or
            `normal`, at random with deviation 0.05 (COLA's released code).
    """

    similarity: Similarity = "bilinear"
    temperature: float = 0.2
    symmetric: bool = False
    draw: Draw = "identity"

    def __post_init__(self) -> None:
        if self.similarity not in get_args(Similarity):
            raise ConfigError(f"unknown similarity {self.similarity!r}{nearest(self.similarity, get_args(Similarity))}")
        if self.draw not in get_args(Draw):
            raise ConfigError(f"unknown draw {self.draw!r}{nearest(self.draw, get_args(Draw))}")
        if self.temperature <= 0:
            raise ConfigError(f"found temperature {self.temperature}; expected a positive number")


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
class BarlowConfig(PairLossConfig):
    """Redundancy reduction (Barlow Twins, arXiv 2103.03230, equation 1): the views' cross-correlation becomes identity.

    Attributes:
        off_diagonal: weight of the squared correlations of different dimensions.
    """

    off_diagonal: float = 0.005

    def __post_init__(self) -> None:
        if self.off_diagonal < 0:
            raise ConfigError(f"found off_diagonal {self.off_diagonal}; expected 0 or more")


class _BarlowLoss(PairLoss):
    name = "barlow"

    def __init__(self, config: BarlowConfig) -> None:
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


def check_pairs(z0: Tensor, z1: Tensor) -> int:
    """Return the number of clips.

    Raises:
        ConfigError: shapes differ, or there is one clip only.
    """
    if z0.shape != z1.shape or z0.dim() != 2:
        raise ConfigError(
            f"found projections {tuple(z0.shape)} and {tuple(z1.shape)}, expected two of one shape (n, D)"
        )
    if len(z0) < 2:
        raise ConfigError(
            f"found a batch of {len(z0)} clip, expected at least 2: without other clips nothing contrasts; raise "
            "--loader.batch"
        )
    return len(z0)


def _hits(scores: Tensor, partner: Tensor) -> Tensor:
    return (scores.detach().argmax(1) == partner).to(scores.dtype).mean()
