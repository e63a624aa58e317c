"""Bootstrapped latents: one view predicts a slow teacher's projection of the other. No negatives.

Sources: BYOL (arXiv 2006.07733, section 3.1), BYOL-A (arXiv 2103.06695, 2204.07402, and its released training code),
ATST-Clip (arXiv 2204.12076). They differ by views, encoder, heads and the teacher's decay only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from auricle.encoders.contract import Encoder
from auricle.errors import ConfigError
from auricle.objectives.contract import (
    BatchCoupled,
    IndexSet,
    Loss,
    NormScope,
    ObjectiveConfig,
    View,
    side_by_side,
)
from auricle.objectives.contrastive.embedding_statistics import LazyWatch, effective_rank
from auricle.objectives.contrastive.projectors import ProjectorConfig
from auricle.objectives.contrastive.two_views import scoped, sphere_spread
from auricle.objectives.distributed import gather_rows, rank, refuse_single
from auricle.objectives.predictive.teacher import MovingAverage, TeacherConfig


def byol_head(hidden: int = 4096, out: int = 256) -> ProjectorConfig:
    """Return BYOL's head: Linear, BatchNorm, ReLU, Linear, with biases."""
    return ProjectorConfig(hidden=(hidden,), out=out, norm="batch", end="none", bias=True, draw="uniform")


@dataclass(frozen=True)
class BootstrapConfig(ObjectiveConfig):
    """Settings of the objective; the defaults are BYOL-A's.

    Attributes:
        projector: from the clip vector to the projection; the teacher has a slow copy of it.
        predictor: from a projection to the other view's, of the same width.
        teacher: decay of encoder and projector; `scope` is `all`.
        teacher_by_batch: the teacher stays in training mode: its BatchNorm uses its own batch and its dropout is on, as
            BYOL-A's target network; False: evaluation mode, BatchNorm with statistics copied from the student.
        norm_scope: BatchNorm of encoder and heads takes each `view` by itself (BYOL-A), or both `joint` (ATST-Clip).
    """

    projector: ProjectorConfig = field(default_factory=byol_head)
    predictor: ProjectorConfig = field(default_factory=byol_head)
    teacher: TeacherConfig = field(default_factory=lambda: TeacherConfig(decay=0.99, end=0.99))
    teacher_by_batch: bool = True
    norm_scope: NormScope = "view"

    def __post_init__(self) -> None:
        if self.projector.out != self.predictor.out:
            raise ConfigError(
                f"the projector's output has width {self.projector.out} and the predictor's {self.predictor.out}; the "
                "prediction is compared with a projection: set projector.out and predictor.out alike"
            )
        if self.teacher.scope != "all" or self.teacher.start != "student":
            raise ConfigError(
                f"found teacher.scope {self.teacher.scope!r} and start {self.teacher.start!r}; the two see different "
                "views, so that no tokens can be shared, and begin alike: set them to all and student"
            )


class Bootstrap(BatchCoupled):
    """Each view's prediction against the teacher's projection of the other: 2 - 2 cos, both ways added.

    The representations of the batch are the student's two pooled vectors and the teacher's two, the latter without
    gradient; heads see the global batch.

    Loss 4 is chance, and 0 proves nothing: projections that collapse to one direction reach it. Monitored are
    `accuracy` (top 1 of the other view among all clips, chance 1 / n), `constant` (the loss of the best constant
    prediction; near 0 means collapse), `std_z` and `std_target` (spread of projections and targets on the sphere times
    the root of their width: 1 when they fill it), `rank_z`, `rank_f`, `teacher_gap` (relative distance of the
    projectors' weights).
    """

    views = 2

    def __init__(self, config: BootstrapConfig, encoder: Encoder, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.check(encoder)
        self.projector = config.projector.build(encoder.pooled_width, generator)
        self.predictor = config.predictor.build(config.projector.out, generator)
        self.teacher_encoder = MovingAverage(encoder, training=config.teacher_by_batch)
        self.teacher_projector = MovingAverage(self.projector, training=config.teacher_by_batch)

    def draw(self, encoder: Encoder, views: Sequence[View], generator: torch.Generator) -> tuple[IndexSet, ...]:
        self.check_views(views)
        return ()

    def represent(self, encoder: Encoder, views: Sequence[View], draws: Sequence[IndexSet]) -> tuple[Tensor, ...]:
        slow: Encoder = self.teacher_encoder.copy  # type: ignore[assignment]  # a copy of the encoder
        inputs = [side_by_side(views)] if self.config.norm_scope == "joint" else [view.features for view in views]
        student = torch.cat([encoder.pool(encoder(x)) for x in inputs])
        with torch.no_grad():
            teacher = torch.cat([slow.pool(slow(x)) for x in inputs])
        return (*student.chunk(2), *teacher.chunk(2))

    def compare(self, representations: Sequence[Tensor]) -> Loss:
        own = representations[0].shape[0]
        with torch.autocast(representations[0].device.type, enabled=False):
            dtype = next(self.projector.parameters()).dtype
            f0, f1, slow0, slow1 = (gather_rows(f.to(dtype)) for f in representations)
            refuse_single(len(f0))
            scope = self.config.norm_scope
            z0, z1 = scoped(scope, self.projector, f0, f1)
            p0, p1 = (F.normalize(p, dim=1) for p in scoped(scope, self.predictor, z0, z1))
            with torch.no_grad():
                t0, t1 = (F.normalize(t, dim=1) for t in scoped(scope, self.teacher_projector.copy, slow0, slow1))
                if self.shuffled:
                    t0, t1 = t0.roll(1, 0), t1.roll(1, 0)
            rows = slice(rank() * own, (rank() + 1) * own)
            loss = sum((2 - 2 * (p[rows] * t[rows]).sum(1)).mean() for p, t in ((p0, t1), (p1, t0)))
        f, z, p, t = (torch.cat(pair).detach() for pair in ((f0, f1), (z0, z1), (p0, p1), (t1, t0)))
        n, place = len(f0), torch.arange(len(f0), device=f.device)[rows]

        def accuracy() -> Tensor:
            found = [(a[rows] @ b.T).argmax(1) == place for a, b in ((p[:n], t[:n]), (p[n:], t[n:]))]
            return torch.cat(found).to(p.dtype).mean()

        watch = LazyWatch(
            {
                "accuracy": accuracy,
                "chance": lambda: f.new_tensor(1 / n),
                "constant": lambda: 4 - 2 * (t[:n].mean(0).norm() + t[n:].mean(0).norm()),
                "std_z": lambda: sphere_spread(z),
                "std_target": lambda: sphere_spread(t),
                "rank_z": lambda: effective_rank(z),
                "rank_f": lambda: effective_rank(f),
                "teacher_gap": lambda: self.teacher_projector.distance(self.projector),
            }
        )
        total = torch.as_tensor(loss)
        return Loss(total, {"byol": total.detach()}, watch)

    def after_step(self, encoder: Encoder, step: int) -> None:
        super().after_step(encoder, step)
        decay = self.config.teacher.at(step, self.progress)
        self.teacher_encoder.follow(encoder, decay)
        self.teacher_projector.follow(self.projector, decay)
