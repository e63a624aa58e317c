"""What every target promises: what is predicted, on the encoder's token grid, and how it comes about.

Letters in shapes: B clips of this rank, M clones of each (rows R = B * M, clip-major), N tokens of the full grid,
K visible tokens, D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from auricle.config import Config
from auricle.encoders.contract import Encoder, Grid, Layer, Tokens
from auricle.objectives.contract import Preparation, View
from auricle.objectives.masks.token_mask import MaskedPositions

Lifecycle = Literal["formula", "cached", "slow", "learned", "paired"]
TeacherSight = Literal["all", "masked", "visible"]


@dataclass
class MaskedBatch:
    """One batch as it stands after the encoder's pass: all that targets, heads and terms may look at.

    Attributes:
        encoder: the encoder that is trained.
        view: what it was shown.
        clean: what targets are taken from: another view where the objective has two, else the same.
        tokens: its tokens before anything was hidden, `(B, N, D)` on the full grid, with `stem` where there is one.
        out: what came out: `(R, N, D)`, or `(R, K, D)` with `index` where tokens were dropped.
        layers: hidden states of the layers that terms asked for, each like `out`.
        hidden: what was hidden from each of the R rows.
        clones: M, differently masked copies of each clip.
        generator: for draws, in the same state on every rank.
        progress: share of the training that is done.
        step: steps that are done.
        teach: runs the slow teacher on the clean view (see `Teacher`), or None without one.
        altered: `(B, T', F')` bool, the elements of the features that a corruption chose; None without one.
    """

    encoder: Encoder
    view: View
    clean: View
    tokens: Tokens
    out: Tokens
    layers: Mapping[int, Layer]
    hidden: MaskedPositions
    clones: int
    generator: torch.Generator
    progress: float
    step: int
    teach: Callable[[TeacherSight, Sequence[int]], Tokens] | None = None
    altered: Tensor | None = None

    @property
    def grid(self) -> Grid:
        """The token grid of a clip: the one that comes out of the encoder (convolutions may coarsen it on the way)."""
        return self.out.grid

    @property
    def valid(self) -> Tensor | None:
        """`(B, N)` bool, False where a token holds padding only; None: all are valid."""
        if self.out.grid == self.tokens.grid:
            return self.tokens.valid
        return None if self.out.valid is None else self.out.valid[:: self.clones]

    def per_row(self, x: Tensor) -> Tensor:
        """Repeat what belongs to clips `(B, ...)` for each clone, `(R, ...)`."""
        return x if self.clones == 1 else x.repeat_interleave(self.clones, 0)


@dataclass(frozen=True)
class TargetConfig(Config, ABC):
    """Base of the settings of targets."""

    @abstractmethod
    def build(self, encoder: Encoder, generator: torch.Generator) -> Target:
        """Build the target for an encoder.

        Raises:
            ConfigError: it does not fit the encoder (rates, bands).
        """


class Target(nn.Module, ABC):
    """Base of all targets: continuous values, or codes.

    Attributes:
        lifecycle: how it comes about: `formula` (free), `cached` (an offline stage makes it), `slow` (moving average),
            `learned` (gradient flows into it), `paired` (another modality).
        size: D of continuous values, or the number of codes of each book.
        books: G, how many codes a token has; 0: the values are continuous.
        clip: whether it is one value a clip instead of one a token.
        prepares: whether `prepare` does anything.
    """

    lifecycle: ClassVar[Lifecycle]
    size: int
    books: int = 0
    clip: bool = False
    prepares: bool = False

    @abstractmethod
    def forward(self, masked_batch: MaskedBatch) -> Tensor:
        """Return the target of each clip: `(B, N, size)`, or codes `(B, N, books)` int64, or `(B, size)`.

        A target that depends on what was hidden returns R rows instead of B.
        """

    def prepare(self, encoder: Encoder, preparation: Preparation) -> None:
        """Do what must be done before the first step; see `Objective.prepare`."""

    def after_step(self, encoder: Encoder, step: int) -> None:
        """Do what follows an optimiser step (codebooks)."""


class Term(nn.Module, ABC):
    """Base of loss terms: a prediction, a target, the index set that they are compared on, a reduction, a weight.

    Attributes:
        weight: of its value in the total.
        layers: hidden layers that it reads (1 ... depth).
        prepares: whether `prepare` does anything.
    """

    weight: float
    layers: tuple[int, ...] = ()
    prepares: bool = False

    @abstractmethod
    def forward(self, masked_batch: MaskedBatch, decoded: Tokens, shuffled: bool) -> TermLoss:
        """Return the term's value.

        Args:
            masked_batch: the batch.
            decoded: the decoder's output, `(R, N, W)` on the full grid (the encoder's output where there is none).
            shuffled: take each clip's target from another clip of the batch.
        """

    def prepare(self, encoder: Encoder, preparation: Preparation) -> None:
        """Do what must be done before the first step; see `Objective.prepare`."""

    def after_step(self, encoder: Encoder, step: int) -> None:
        """Do what follows an optimiser step."""


@dataclass(frozen=True)
class TermLoss:
    """A term's value (to be weighted), its named parts, and makers of scalars worth watching.

    Attributes:
        value: scalar with gradient, averaged as the term says; ranks average to the global value.
        parts: scalars of every step, detached.
        watch: scalars that are computed only when they are read.
    """

    value: Tensor
    parts: Mapping[str, Tensor]
    watch: Mapping[str, Callable[[], Tensor]]


@dataclass(frozen=True)
class TermConfig(Config, ABC):
    """Base of the settings of terms."""

    @abstractmethod
    def build(self, encoder: Encoder, width: int, generator: torch.Generator) -> Term:
        """Build the term.

        Args:
            encoder: what is trained.
            width: W of the decoder's output.
            generator: draws its weights.
        """


def shuffle_clips(target: Tensor, clones: int = 1) -> Tensor:
    """Give each clip another clip's target: the control in which nothing but shortcuts can be learned.

    Args:
        target: `(B, ...)`, or `(B * clones, ...)`.
        clones: rows of each clip.
    """
    return target.roll(clones, 0)
