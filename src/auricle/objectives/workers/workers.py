"""Several small workers on the same frames, each with its own task (PASE).

Sources: PASE, arXiv 1904.03416, section 2; PASE+, arXiv 2001.09239, section 2.

Letters in shapes: B clips, T time steps of the encoder's grid, W width of a time step (its frequency tokens side by
side).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from auricle.audio.batch import Audio
from auricle.config import Config, Count
from auricle.encoders.contract import Encoder, Grid, Tokens
from auricle.errors import ConfigError
from auricle.objectives.contract import Loss, Objective, ObjectiveConfig, Part, Preparation, View, clean_audio
from auricle.objectives.contrastive.embedding_statistics import LazyWatch, effective_rank
from auricle.objectives.predictive.slice_embedding import join_views
from auricle.objectives.targets.alignment import sample_grid
from auricle.objectives.targets.frame_signals import FrameSignal, fit_signals
from auricle.objectives.targets.target import TermLoss


@dataclass(frozen=True)
class Frames:
    """The encoder's output for one view: time steps `(B, T, W)`, and `(B, T)` bool, False for padding."""

    x: Tensor
    valid: Tensor

    def mean(self) -> Tensor:
        """Return the mean of each clip's valid steps, `(B, W)`."""
        weight = self.valid.unsqueeze(-1).to(self.x.dtype)
        return (self.x * weight).sum(1) / weight.sum(1).clamp(min=1)


@dataclass(frozen=True)
class WorkerBatch:
    """Input of the workers.

    Attributes:
        view: the first view, with its clean waveform.
        frames: of the first view.
        other: of the second view, another piece of the same clip.
        grid: of both.
        generator: for draws, in the same state on every rank.
        shuffled: targets of a clip come from another one.
    """

    view: View
    frames: Frames
    other: Frames
    grid: Grid
    generator: torch.Generator
    shuffled: bool


class Worker(Part, ABC):
    """Base of workers.

    Attributes:
        name: of its part in the log.
        weight: of its loss in the sum.
    """

    name: str
    weight: float

    @property
    def signals(self) -> tuple[FrameSignal, ...]:
        """Signals whose statistics must be measured before the first step."""
        return ()

    @abstractmethod
    def forward(self, batch: WorkerBatch) -> TermLoss:
        """Return the worker's loss on a batch.

        Raises:
            ConfigError: the views do not serve the worker (clean waveform, length, number of clips).
        """


@dataclass(frozen=True)
class WorkerConfig(Config, ABC):
    """Base of the settings of workers."""

    def build(self, encoder: Encoder, width: int, generator: torch.Generator) -> Worker:
        """Build the worker.

        Args:
            encoder: the encoder that is trained.
            width: W of a time step.
            generator: draws its weights.

        Raises:
            ConfigError: the worker's rate does not fit the encoder's.
        """
        return self.built_class()(self, encoder, width, generator)


def check_name(name: str) -> None:
    """Refuse a worker without a name.

    Raises:
        ConfigError: the name is empty.
    """
    if not name:
        raise ConfigError("found a worker without a name; set the name of its part in the log")


@dataclass(frozen=True)
class WorkersConfig(ObjectiveConfig):
    """Settings of a set of workers.

    Attributes:
        workers: all of them; the loss is their weighted sum.
        statistics: number of clips, about, that mean and deviation of the targets are measured on.
    """

    workers: tuple[WorkerConfig, ...] = ()
    statistics: Count = 500

    def __post_init__(self) -> None:
        if not self.workers:
            raise ConfigError("found no workers, expected at least one; set objective.workers")


class Workers(Objective):
    """Two views of a clip through the encoder; regression workers use the first one, the others compare both."""

    views = 2

    def __init__(self, config: WorkersConfig, encoder: Encoder, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.check(encoder)
        width = sample_grid(encoder).freq * encoder.width
        self.workers = nn.ModuleList(worker.build(encoder, width, generator) for worker in config.workers)
        names = [worker.name for worker in self._workers]
        if len(set(names)) < len(names):
            raise ConfigError(f"found workers {', '.join(names)}; expected different names: rename the repeated ones")

    @property
    def _workers(self) -> list[Worker]:
        return list(self.workers)  # type: ignore[arg-type]  # a ModuleList of Workers

    @property
    def prepares(self) -> bool:
        return any(worker.signals for worker in self._workers)

    def prepare(self, encoder: Encoder, preparation: Preparation) -> None:
        def audio() -> Iterable[Audio]:
            for view in preparation.views(min(self.config.statistics, preparation.clips)):
                yield clean_audio(view, "a regression worker")

        fit_signals((signal for worker in self._workers for signal in worker.signals), audio())
        preparation.note(f"standardised the targets of {sum(bool(w.signals) for w in self._workers)} workers")

    def forward(self, encoder: Encoder, views: Sequence[View], generator: torch.Generator) -> Loss:
        self.check_views(views)
        out = encoder(join_views(views))
        frames, other = _time_steps(out, len(views[0]))
        batch = WorkerBatch(views[0], frames, other, out.grid, generator, self.shuffled)
        total: Tensor | None = None
        parts: dict[str, Tensor] = {}
        watch: dict[str, Callable[[], Tensor]] = {}
        for worker in self._workers:
            made = worker(batch)
            total = worker.weight * made.value if total is None else total + worker.weight * made.value
            parts |= made.parts
            watch |= made.watch
        if total is None:
            raise ConfigError("there is no worker")
        seen = frames.x.detach()[frames.valid]
        watch["frames/rank_frames"] = lambda: effective_rank(seen[:2048])
        watch["frames/std_frames"] = lambda: seen.float().std(0).mean()
        return Loss(total, parts, LazyWatch(watch))


def _time_steps(out: Tokens, clips: int) -> tuple[Frames, Frames]:
    """Return the time steps of both views, the frequency tokens of a step side by side."""
    grid = out.grid
    x = out.x.unflatten(1, (grid.time, grid.freq)).flatten(2)
    if out.valid is None:
        valid = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    else:
        valid = out.valid.unflatten(1, (grid.time, grid.freq)).any(2)
    return Frames(x[:clips], valid[:clips]), Frames(x[clips:], valid[clips:])
