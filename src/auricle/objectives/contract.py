"""What every objective promises.

An objective binds views, index sets, heads, targets and loss terms. It never logs, never steps an optimiser and
never reads a file. All its randomness comes from the generator it is given, which is in the same state on every rank
(see `auricle.objectives.draws`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from auricle.audio.batch import Audio, Features
from auricle.config import Config
from auricle.encoders.contract import MEETS, Ability, Encoder, Grid
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import NeedError


@dataclass(frozen=True)
class View:
    """An input as the encoder gets it, with its certificate.

    Attributes:
        features: the front end's output for B clips.
        clip: `(B,)` int64, which clip each row shows (its place in the corpus).
        certificate: whatever an operator did that makes a label (crop offset, gain, partner ...), each `(B, ...)`.
        reference: the clean waveform in step with the features, or None where the view was moved or stretched in time.
    """

    features: Features
    clip: Tensor
    certificate: Mapping[str, Tensor] = field(default_factory=dict)
    reference: Audio | None = None

    def __getitem__(self, rows: slice) -> View:
        certificate = {k: v[rows] for k, v in self.certificate.items()}
        reference = None if self.reference is None else self.reference[rows]
        return View(self.features[rows], self.clip[rows], certificate, reference)

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


@dataclass(frozen=True)
class ObjectiveConfig(Config, ABC):
    """Base of an objective's settings."""

    @abstractmethod
    def build(self, encoder: Encoder, generator: torch.Generator | None = None) -> Objective:
        """Build the objective for an encoder, its own weights drawn from `generator` (None: one seeded with 1).

        Raises:
            NeedError: the encoder lacks an ability.
            ConfigError: settings of the two contradict each other.
        """


@dataclass(frozen=True)
class Preparation:
    """What a stage before the first step may use: the corpus, and what the stage before it left.

    Attributes:
        views: yields batches (one plain `View` each) of about so many windows, at most an epoch of them, in an order
            that the seed decides; a long recording gives several.
        clips: windows in an epoch.
        earlier: the encoder that the stage before trained, or None.
        generator: for the stage's own draws, on the CPU.
        note: takes a line for the log.
    """

    views: Callable[[int], Iterator[View]]
    clips: int
    previous: FrozenEncoder | None
    generator: torch.Generator
    note: Callable[[str], None]


class Objective(nn.Module, ABC):
    """Base of all objectives.

    Attributes:
        needs: abilities that the encoder must have (class or instance attribute).
        views: how many views of a clip it wants.
        columns: columns of the corpus that it reads (captions, say).
        prepares: whether `prepare` does anything: fits clusters, takes over weights ...
        length: steps of the whole training, for schedules; the training sets it.
        shuffled: the control: what is to be predicted comes from another clip of the batch. Nothing but what all clips
            share can then be learned; what an objective still gains is a shortcut.
    """

    needs: ClassVar[frozenset[Ability]] = frozenset()
    views: int = 1
    columns: tuple[str, ...] = ()
    prepares: bool = False
    length: int = 1
    shuffled: bool = False
    done: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))
        self._done = 0

    @property
    def step(self) -> int:
        """Steps that are done; it travels in checkpoints."""
        if self._done < 0:
            self._done = int(self.done.item())
        return self._done

    @property
    def progress(self) -> float:
        """Share of the training that is done, 0 ... 1."""
        return min(1.0, self.step / max(1, self.length))

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._done = -1  # to be read again from the buffer

    def take_columns(self, columns: Mapping[str, Sequence[object]]) -> None:
        """Take the values `columns[name][clip]` of the corpus's columns that it reads, before the first step.

        Raises:
            ConfigError: a value is not usable.
        """

    def prepare(self, encoder: Encoder, preparation: Preparation) -> None:
        """Do what must be done before the first step (clusters, statistics, tokenizers); the result is in buffers.

        Raises:
            ConfigError: it can't be done with this corpus, or with what the stage before left.
        """

    @abstractmethod
    def forward(self, encoder: Encoder, views: Sequence[View], generator: torch.Generator) -> Loss:
        """Compute the loss of one batch, this rank's rows coupled with the other ranks' where they must be."""

    def after_step(self, encoder: Encoder, step: int) -> None:
        """Do what follows optimiser step number `step` (moving averages, codebooks); who overrides it calls it."""
        self._done = step + 1
        self.done.fill_(step + 1)

    def check(self, encoder: Encoder) -> None:
        """Refuse an encoder that lacks a need.

        Raises:
            NeedError: naming each need, and who offers it.
        """
        missing = sorted(self.needs - encoder.abilities, key=lambda ability: ability.name)
        if missing:
            what = "; ".join(
                f"{need.name} (an encoder that {need.value}; offered by {MEETS[need]})" for need in missing
            )
            raise NeedError(
                f"{type(self).__name__} needs {what}, which {type(encoder).__name__} does not offer",
                tuple(need.name for need in missing),
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
