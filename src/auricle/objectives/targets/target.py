"""The contract of targets and loss terms, and the masked batch that they read.

Letters in shapes: B clips of this rank, M clones of each (rows R = B * M, clip-major), N tokens of the full grid,
K visible tokens, D width.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Gt, Lt
from torch import Tensor

from auricle.config import Config
from auricle.encoders.contract import Encoder, Grid, Layer, Tokens
from auricle.errors import ConfigError
from auricle.objectives.contract import Part, View
from auricle.objectives.masks.token_mask import MaskedPositions

Lifecycle = Literal["formula", "cached", "slow", "learned", "paired"]
TeacherSight = Literal["all", "masked", "visible"]
Weight = Annotated[float, Gt(-math.inf), Lt(math.inf)]
"""A finite weight of a term."""


@dataclass
class MaskedBatch:
    """A batch after the encoder's pass: the input of targets, heads and terms.

    Attributes:
        encoder: the encoder that is trained.
        view: its input.
        clean: the view that targets are taken from: another one where the objective has two, else the same.
        tokens: the tokens before masking, `(B, N, D)` on the full grid, with `stem` where there is one.
        out: the encoder's output: `(R, N, D)`, or `(R, K, D)` with `index` where tokens were dropped.
        layers: hidden states of the layers that terms asked for, each like `out`.
        mask: the masked positions of each of the R rows.
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
    mask: MaskedPositions
    clones: int
    generator: torch.Generator
    progress: float
    step: int
    teach: Callable[[TeacherSight, Sequence[int]], Tokens] | None = None
    altered: Tensor | None = None

    @property
    def grid(self) -> Grid:
        """The token grid of a clip, of the encoder's output (convolutions may coarsen it on the way)."""
        return self.out.grid

    @property
    def valid(self) -> Tensor | None:
        """`(B, N)` bool, False where a token holds padding only; None: all are valid."""
        if self.out.grid == self.tokens.grid:
            return self.tokens.valid
        return None if self.out.valid is None else self.out.valid[:: self.clones]

    def per_row(self, x: Tensor) -> Tensor:
        """Repeat a tensor of clips `(B, ...)` for each clone, `(R, ...)`."""
        return x if self.clones == 1 else x.repeat_interleave(self.clones, 0)


@dataclass(frozen=True)
class TargetConfig(Config, ABC):
    """Base of the settings of targets."""

    def build(self, encoder: Encoder, generator: torch.Generator) -> Target:
        """Build the target for an encoder.

        Raises:
            ConfigError: the target does not fit the encoder (rates, bands), or the encoder of the previous stage.
        """
        return self.built_class()(self, encoder, generator)


class Target(Part, ABC):
    """Base of all targets: continuous values, or codes.

    Attributes:
        lifecycle: origin of the values: `formula` (free), `cached` (an offline stage), `slow` (moving average),
            `learned` (with gradient), `paired` (another modality).
        size: D of continuous values, or the number of codes in each codebook.
        codebooks: G, codes of a token; 0: the values are continuous.
        clip: whether there is one value a clip instead of one a token.
    """

    lifecycle: ClassVar[Lifecycle]
    size: int
    codebooks: int = 0
    clip: bool = False

    @abstractmethod
    def forward(self, masked_batch: MaskedBatch) -> Tensor:
        """Return the target of each clip: `(B, N, size)`, or codes `(B, N, codebooks)` int64, or `(B, size)`.

        A target that depends on the masked positions returns R rows instead of B.

        Raises:
            ConfigError: the batch lacks an input of the target (clean waveform, teacher), or `prepare` was not called.
        """

    def of_rows(self, masked_batch: MaskedBatch, shuffled: bool) -> Tensor:
        """Return the target of each row, `(R, ...)`.

        Args:
            masked_batch: the batch.
            shuffled: take each clip's target from another clip of the batch.
        """
        target: Tensor = self(masked_batch)
        per_clip = target.shape[0] == len(masked_batch.view)
        if shuffled:
            target = shuffle_clips(target, 1 if per_clip else masked_batch.clones)
        return masked_batch.per_row(target) if per_clip else target

    def refuse_codes(self, user: str) -> None:
        """Refuse codes, and values of whole clips, where continuous values of tokens are needed.

        Raises:
            ConfigError: naming the target.
        """
        if self.codebooks or self.clip:
            raise ConfigError(
                f"{type(self).__name__} gives {'codes' if self.codebooks else 'one value a clip'}; {user} needs "
                "continuous values for every token: choose a target such as PatchTargetConfig"
            )


class Term(Part, ABC):
    """Base of loss terms: a prediction, a target, the tokens that they are compared on, a reduction, a weight.

    Attributes:
        weight: of its value in the total.
        layers: hidden layers that it reads (1 ... depth).
    """

    weight: float
    layers: tuple[int, ...] = ()

    @abstractmethod
    def forward(self, masked_batch: MaskedBatch, decoded: Tokens, shuffled: bool) -> TermLoss:
        """Return the term's value.

        Args:
            masked_batch: the batch.
            decoded: the decoder's output, `(R, N, W)` on the full grid (the encoder's output where there is none).
            shuffled: take each clip's target from another clip of the batch.

        Raises:
            ConfigError: the batch lacks an input of the term (teacher, corruption, decoder, certificate).
        """


@dataclass(frozen=True)
class TermLoss:
    """A term's value (to be weighted), its named parts, and makers of monitored scalars.

    Attributes:
        value: scalar with gradient, averaged as the term says; ranks average to the global value.
        parts: scalars of every step, detached.
        watch: scalars that are computed only when they are read.
    """

    value: Tensor
    parts: Mapping[str, Tensor]
    watch: Mapping[str, Callable[[], Tensor]]

    @classmethod
    def of(cls, name: str, value: Tensor, watch: Mapping[str, Callable[[], Tensor]]) -> TermLoss:
        """Return the loss of a term with one part; the names of `watch` follow that of the part: `codes/accuracy`."""
        return cls(value, {name: value.detach()}, {f"{name}/{what}": maker for what, maker in watch.items()})


@dataclass(frozen=True)
class TermConfig(Config, ABC):
    """Base of the settings of terms."""

    def build(self, encoder: Encoder, width: int, generator: torch.Generator) -> Term:
        """Build the term.

        Args:
            encoder: the encoder that is trained.
            width: W of the decoder's output.
            generator: draws its weights.

        Raises:
            ConfigError: the target or the encoder does not fit the term.
        """
        return self.built_class()(self, encoder, width, generator)


def shuffle_clips(target: Tensor, clones: int = 1) -> Tensor:
    """Give each clip another clip's target: the control in which nothing but shortcuts can be learned.

    Args:
        target: `(B, ...)`, or `(B * clones, ...)`.
        clones: rows of each clip.
    """
    return target.roll(clones, 0)
