"""What every objective promises.

An objective binds views, index sets, heads, targets and loss terms. It never logs, never steps an optimiser and
never reads a file. All its randomness comes from the generator it is given.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from auricle.audio.batch import Features
from auricle.encoders.contract import Ability, Encoder, Grid
from auricle.errors import NeedError


@dataclass(frozen=True)
class View:
    """An input as the encoder gets it, with its certificate.

    Attributes:
        features: the front end's output for B clips.
        clip: `(B,)` int64, which clip each row shows (its place in the corpus).
        certificate: whatever an operator did that makes a label (crop offset, gain, partner ...), each `(B, ...)`.
    """

    features: Features
    clip: Tensor
    certificate: Mapping[str, Tensor] = field(default_factory=dict)

    def __getitem__(self, rows: slice) -> View:
        return View(self.features[rows], self.clip[rows], {k: v[rows] for k, v in self.certificate.items()})

    def __len__(self) -> int:
        return len(self.features)


@dataclass(frozen=True)
class IndexSet:
    """Which tokens: a named set of places `index (B, K)` on a grid."""

    name: str
    index: Tensor
    grid: Grid

    def __getitem__(self, rows: slice) -> IndexSet:
        return IndexSet(self.name, self.index[rows], self.grid)


@dataclass(frozen=True)
class Loss:
    """A scalar to minimise, its named parts, and scalars worth watching (detached)."""

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    watch: Mapping[str, Tensor] = field(default_factory=dict)


class Objective(nn.Module, ABC):
    """Base of all objectives.

    Attributes:
        needs: abilities that the encoder must have.
        views: how many views of a clip it wants.
    """

    needs: ClassVar[frozenset[Ability]] = frozenset()
    views: ClassVar[int] = 1

    @abstractmethod
    def forward(self, encoder: Encoder, views: Sequence[View], generator: torch.Generator) -> Loss:
        """Compute the loss of one batch, this rank's rows coupled with the other ranks' where they must be."""

    def after_step(self, encoder: Encoder, step: int) -> None:
        """Do what follows an optimiser step (moving averages, codebooks). Nothing by default."""

    def check(self, encoder: Encoder) -> None:
        """Refuse an encoder that lacks a need.

        Raises:
            NeedError: naming the need.
        """
        for need in sorted(self.needs - encoder.abilities, key=lambda a: a.name):
            raise NeedError(
                f"{type(self).__name__} needs {need.name} (an encoder that {need.value}), which "
                f"{type(encoder).__name__} does not offer; choose an encoder whose abilities include {need.name}"
            )


class BatchCoupled(Objective):
    """An objective whose loss couples the clips of a batch only through one vector per view and clip.

    The split lets a large batch train in bounded memory (gradient caching): representations first, in micro-batches;
    then the loss and its gradient at the representations of the whole batch; then each micro-batch again, with
    that gradient. Everything that mixes clips (BatchNorm included) belongs to `compare`.
    """

    @abstractmethod
    def draw(self, encoder: Encoder, views: Sequence[View], generator: torch.Generator) -> tuple[IndexSet, ...]:
        """Draw all that is random (masks), once, for the whole batch: one index set per view."""

    @abstractmethod
    def represent(self, encoder: Encoder, views: Sequence[View], draws: Sequence[IndexSet]) -> tuple[Tensor, ...]:
        """Return one representation `(b, D)` per view for some rows of the batch."""

    @abstractmethod
    def compare(self, representations: Sequence[Tensor]) -> Loss:
        """Return the loss of the whole batch from its representations, coupled across ranks."""

    def forward(self, encoder: Encoder, views: Sequence[View], generator: torch.Generator) -> Loss:
        """Compute the loss directly, all rows at once."""
        return self.compare(self.represent(encoder, views, self.draw(encoder, views, generator)))
