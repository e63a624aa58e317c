"""The contract of objectives: views in, a loss out.

An objective binds views, index sets, heads, targets and loss terms. It never logs, never steps an optimiser and
never reads a file. All its randomness comes from the generator it is given, which is in the same state on every rank
(see `auricle.objectives.distributed`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from auricle.audio.batch import Audio, Features
from auricle.config import Config
from auricle.encoders.contract import MEETS, Ability, Encoder, Grid
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import ConfigError, NeedError


@dataclass(frozen=True)
class View:
    """An input as the encoder gets it, with its certificate.

    Attributes:
        features: the front end's output for B clips.
        clip: `(B,)` int64, which clip each row shows (its place in the corpus).
        certificate: labels that operators leave (crop offset, gain, partner ...), each `(B, ...)`.
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


def side_by_side(views: Sequence[View]) -> Features:
    """Return the features of all views of a batch as one of as many times its rows, the first view's first.

    Raises:
        ConfigError: their features differ in shape.
    """
    shapes = {tuple(view.features.x.shape) for view in views}
    if len(shapes) > 1:
        raise ConfigError(
            f"found views of shapes {sorted(shapes)}, expected equal ones to normalise them jointly; set "
            "objective.norm_scope to view"
        )
    first = views[0].features
    x, lengths = (torch.cat([getattr(view.features, name) for view in views]) for name in ("x", "lengths"))
    return Features(x, lengths, first.rate, first.pad)


def clean_audio(view: View, what: str) -> Audio:
    """Return the clean waveform behind a view.

    Args:
        view: the view.
        what: name of the target or term, for the message.

    Raises:
        ConfigError: the view was moved or stretched in time, or is a band or a tile.
    """
    if view.reference is None:
        raise ConfigError(
            f"{what} is taken from the clean waveform, and the view has none in step with it: the view was moved or "
            "stretched in time, or cut along frequency; choose views that keep time (PlainViewsConfig, slices of time, "
            "or a plan without rolling and stretching)"
        )
    return view.reference


@dataclass(frozen=True)
class IndexSet:
    """A named set of tokens: their positions `index (B, K)` on a grid."""

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
class ObjectiveConfig(Config, ABC, section="objective"):
    """Base of an objective's settings."""

    def build(self, encoder: Encoder, generator: torch.Generator | None = None) -> Objective:
        """Build the objective for an encoder, its own weights drawn from `generator` (None: one seeded with 1).

        Raises:
            NeedError: the encoder lacks an ability.
            ConfigError: settings of the two contradict each other.

        Examples:
            >>> from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
            >>> from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
            >>> encoder = SpectrogramTransformerConfig(width=16, depth=1, heads=2).build()
            >>> type(MaskedPredictionConfig().build(encoder)).__name__
            'MaskedPrediction'
        """
        return self.built_class()(self, encoder, torch.Generator().manual_seed(1) if generator is None else generator)


@dataclass(frozen=True)
class Preparation:
    """Input of the preparation before the first step: the corpus, and the encoder of the previous stage.

    Attributes:
        views: yields batches (one plain `View` each) of about the given number of windows, at most an epoch of them, in
            an order that the seed decides; a long recording gives several.
        clips: windows in an epoch.
        previous: the encoder that the previous stage trained, or None.
        generator: for the preparation's own draws, on the CPU.
        note: takes a line for the log.
    """

    views: Callable[[int], Iterator[View]]
    clips: int
    previous: FrozenEncoder | None
    generator: torch.Generator
    note: Callable[[str], None]


class Part(nn.Module):
    """Base of objectives and of their parts (targets, terms) that are prepared before training or follow its steps.

    By default the parts inside are prepared, and follow.
    """

    def _parts(self) -> Iterator[Part]:
        """Yield the outermost parts inside."""
        waiting = list(self.children())
        while waiting:
            child = waiting.pop(0)
            if isinstance(child, Part):
                yield child
            else:
                waiting[:0] = child.children()

    @property
    def prepares(self) -> bool:
        """Whether `prepare` does anything: fits clusters, loads weights ..."""
        return any(part.prepares for part in self._parts())

    def prepare(self, encoder: Encoder, preparation: Preparation) -> None:
        """Fit clusters, statistics or tokenizers before the first step; the results are in buffers.

        Raises:
            ConfigError: this corpus, or the encoder of the previous stage, does not fit.
        """
        for part in self._parts():
            part.prepare(encoder, preparation)

    def after_step(self, encoder: Encoder, step: int) -> None:
        """Update moving averages and codebooks after optimiser step number `step`; overrides call this one."""
        for part in self._parts():
            part.after_step(encoder, step)


class Objective(Part, ABC):
    """Base of all objectives.

    Attributes:
        needs: abilities that the encoder must have (class or instance attribute).
        views: how many views of a clip the objective takes.
        columns: columns of the corpus that the objective reads (captions, for example).
        fewest: clips of a batch below which a corpus that is smaller than the batch is refused.
        progress: share of the training that is done, 0 ... 1, for schedules; the training sets it before each step.
        shuffled: the control: targets come from another clip of the batch. Nothing but what all clips share can then be
            learned; what an objective still gains is a shortcut.
    """

    needs: ClassVar[frozenset[Ability]] = frozenset()
    views: int = 1
    columns: tuple[str, ...] = ()
    fewest: int = 1
    progress: float = 0.0
    shuffled: bool = False
    done: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))
        self._done = 0

    @property
    def step(self) -> int:
        """Steps that are done; saved in checkpoints."""
        if self._done < 0:
            self._done = int(self.done.item())
        return self._done

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._done = -1  # to be read again from the buffer

    def take_columns(self, columns: Mapping[str, Sequence[object]]) -> None:
        """Take the values `columns[name][clip]` of the columns that the objective reads, before the first step.

        Raises:
            ConfigError: a value is not usable.
        """

    @abstractmethod
    def forward(self, encoder: Encoder, views: Sequence[View], generator: torch.Generator) -> Loss:
        """Compute the loss of one batch, this rank's rows coupled with the other ranks' where they must be."""

    def after_step(self, encoder: Encoder, step: int) -> None:
        super().after_step(encoder, step)
        self._done = step + 1
        self.done.fill_(step + 1)

    def check_views(self, views: Sequence[View]) -> None:
        """Refuse another number of views than `views`.

        Raises:
            ConfigError: naming both numbers.
        """
        if len(views) != self.views:
            raise ConfigError(f"found {len(views)} views, expected {self.views}; set as many in the recipe's views")

    def check(self, encoder: Encoder) -> None:
        """Refuse an encoder that lacks an ability in `needs`.

        Raises:
            NeedError: naming each ability, and the encoders that offer it.
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


NormScope = Literal["view", "joint"]
"""`view`: every BatchNorm sees the views one after the other; `joint`: all views of a batch at once."""


class BatchCoupled(Objective):
    """An objective whose loss couples the clips of a batch only through one vector per view and clip.

    The split bounds the memory of a large batch (see `gradient_cache`). Everything that mixes clips, BatchNorm
    included, belongs to `compare`.
    """

    fewest = 8

    @abstractmethod
    def draw(self, encoder: Encoder, views: Sequence[View], generator: torch.Generator) -> tuple[IndexSet, ...]:
        """Draw everything random (masks), once, for the whole batch: one index set per view."""

    @abstractmethod
    def represent(self, encoder: Encoder, views: Sequence[View], draws: Sequence[IndexSet]) -> tuple[Tensor, ...]:
        """Return one representation `(b, D)` per view for some rows of the batch."""

    @abstractmethod
    def compare(self, representations: Sequence[Tensor]) -> Loss:
        """Return the loss of the whole batch from its representations, coupled across ranks."""

    def forward(self, encoder: Encoder, views: Sequence[View], generator: torch.Generator) -> Loss:
        return self.compare(self.represent(encoder, views, self.draw(encoder, views, generator)))
