"""Workers that classify pairs: same clip or another, future or past.

Source: PASE, arXiv 1904.03416, section 2.2: local and global mutual information maximisation, and sequence prediction.

Letters in shapes: B clips of this rank, P pairs of a clip, T time steps, W width of a time step, K steps of a context.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.config import Count, Positive
from auricle.encoders.contract import Encoder
from auricle.errors import ConfigError
from auricle.objectives.distributed import (
    float32_or_wider,
    gather_rows,
    mean_where,
    rand_rows,
    rank,
    refuse_single,
    world,
)
from auricle.objectives.targets.alignment import sample_grid
from auricle.objectives.targets.target import TermLoss, Weight
from auricle.objectives.workers.regression import draw_layers
from auricle.objectives.workers.workers import Frames, Worker, WorkerBatch, WorkerConfig, check_name


@dataclass(frozen=True)
class PairWorkerConfig(WorkerConfig):
    """Settings of a worker that classifies pairs, by binary cross-entropy.

    Attributes:
        name: of its part in the log.
        task: `local`: two time steps, of the same clip or of different ones (LIM); `global`: the means of two pieces,
            likewise (GIM); `sequence`: a time step and a stretch after it or before it (SPC).
        pairs: pairs of each kind and clip (`local` and `sequence`).
        context: seconds of the stretch of `sequence`, at least one time step.
        gap: seconds between a time step and the stretch, at least one time step: without it their inputs overlap.
        margin: seconds at either end of a piece without stretches of `sequence`. Where an encoder sees the end of its
            input, that alone separates past from future.
        hidden: width of its hidden layer.
        weight: in the sum.
    """

    name: str = "lim"
    task: Literal["local", "global", "sequence"] = "local"
    pairs: Count = 8
    context: Positive = 0.05
    gap: Positive = 0.15
    margin: Positive = 0.075
    hidden: Count = 256
    weight: Weight = 1.0

    def __post_init__(self) -> None:
        check_name(self.name)


class PairWorker(Worker):
    """Linear, PReLU, linear on an anchor and a candidate side by side; half of the candidates are the right ones.

    The loss is the mean cross-entropy over both kinds of pairs; ln 2 by chance.
    """

    def __init__(self, config: PairWorkerConfig, encoder: Encoder, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.config, self.name, self.weight = config, config.name, config.weight
        rate = sample_grid(encoder).rate
        self.context, self.gap = (max(1, round(seconds * rate)) for seconds in (config.context, config.gap))
        self.margin = round(config.margin * rate)
        steps = 1 + (self.context if config.task == "sequence" else 1)
        self.layers = nn.Sequential(nn.Linear(steps * width, config.hidden), nn.PReLU(), nn.Linear(config.hidden, 1))
        draw_layers(self.layers, generator)

    def forward(self, batch: WorkerBatch) -> TermLoss:
        make = {"local": self._local, "global": self._global, "sequence": self._sequence}[self.config.task]
        anchor, right, wrong = make(batch)
        logits = torch.stack([self.layers(torch.cat([anchor, other], -1))[..., 0] for other in (right, wrong)], -1)
        with torch.autocast(logits.device.type, enabled=False):
            logits = float32_or_wider(logits)
            truth = torch.zeros_like(logits)
            truth[..., 0] = 1.0
            each = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
            value = mean_where(each, torch.ones_like(each, dtype=torch.bool))
        hits = (logits.detach() > 0) == truth.bool()
        watch = {
            f"{self.name}/pair_accuracy": lambda: hits.float().mean(),
            f"{self.name}/pair_chance": lambda: torch.tensor(0.5),
        }
        return TermLoss(value, {self.name: value.detach()}, watch)

    def _local(self, batch: WorkerBatch) -> tuple[Tensor, Tensor, Tensor]:
        anchor, right, wrong = (
            pick_steps(frames, draw_steps(frames, self.config.pairs, batch.generator))
            for frames in (batch.frames, batch.other, batch.other)
        )
        return anchor, right.roll(1, 0) if batch.shuffled else right, of_another_clip(wrong, batch.generator)

    def _global(self, batch: WorkerBatch) -> tuple[Tensor, Tensor, Tensor]:
        mean = batch.other.mean()
        right = mean.roll(1, 0) if batch.shuffled else mean
        return batch.frames.mean(), right, of_another_clip(mean, batch.generator)

    def _sequence(self, batch: WorkerBatch) -> tuple[Tensor, Tensor, Tensor]:
        frames, reach = batch.frames, self.gap + self.context
        count = frames.valid.sum(1)
        room = count - 2 * (reach + self.margin)
        if bool((room < 1).any()):
            raise ConfigError(
                f"worker {self.name!r} needs {2 * (reach + self.margin) + 1} time steps (a stretch of {self.context}, "
                f"a gap of {self.gap}, a margin of {self.margin}, on either side), and a clip has {int(count.min())} "
                f"at {batch.grid.rate:g} per second; use longer windows, or remove this worker"
            )
        uniform = rand_rows(batch.generator, len(count), self.config.pairs).to(count.device)
        step = reach + self.margin + (uniform * room.unsqueeze(1)).long()
        place = torch.arange(self.context, device=step.device)
        source = Frames(frames.x.roll(1, 0), frames.valid) if batch.shuffled else frames
        after = pick_steps(source, (step.unsqueeze(-1) + self.gap + 1 + place).flatten(1))
        before = pick_steps(source, (step.unsqueeze(-1) - reach + place).flatten(1))
        shape = (self.config.pairs, self.context)
        return pick_steps(frames, step), after.unflatten(1, shape).flatten(2), before.unflatten(1, shape).flatten(2)


def draw_steps(frames: Frames, pairs: int, generator: torch.Generator) -> Tensor:
    """Return `(B, P)` numbers of valid time steps, drawn uniformly."""
    count = frames.valid.sum(1, keepdim=True)
    return (rand_rows(generator, len(count), pairs).to(count.device) * count).long()


def pick_steps(frames: Frames, place: Tensor) -> Tensor:
    """Return the time steps `(B, P, W)` at `place (B, P)`."""
    return frames.x.gather(1, place.unsqueeze(-1).expand(-1, -1, frames.x.shape[2]))


def of_another_clip(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return `x (B, ...)` of another clip of the batch of all ranks, drawn uniformly, for each of this rank's clips.

    Raises:
        ConfigError: the batch has one clip only.
    """
    own = len(x)
    clips = own * world()
    refuse_single(clips)
    away = 1 + (rand_rows(generator, own) * (clips - 1)).long()
    partner = (torch.arange(own) + rank() * own + away) % clips
    return gather_rows(x)[partner.to(x.device)]
