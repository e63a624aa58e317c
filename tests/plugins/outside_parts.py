"""Parts of every kind in a module outside the package, as its users write them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from auricle.audio.batch import Features
from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.audio.views import PlainViewsConfig
from auricle.config import Count, Positive
from auricle.corpus.windows import WindowConfig
from auricle.encoders.contract import Ability, Encoder, EncoderConfig, Grid, Layer, Tokens
from auricle.metrics.catalogue import MetricInfo
from auricle.objectives.contract import Loss, Objective, ObjectiveConfig, View
from auricle.objectives.masks.samplers import RandomMask
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.objectives.predictive.terms import RegressionConfig
from auricle.objectives.targets.alignment import patch_size, patches
from auricle.objectives.targets.target import Lifecycle, MaskedBatch, Target, TargetConfig
from auricle.probes.contract import Inputs, ProbeConfig, classify, linear_layer
from auricle.probes.heads.vectors import VectorHead, pool
from auricle.probes.registry import register_probe
from auricle.recipes import small_scale
from auricle.recipes.families import Family, register_family
from auricle.recipes.notes import Notes, Reference
from auricle.recipes.recipe import Recipe
from auricle.recipes.registry import Method
from auricle.tasks.card import TaskCard
from auricle.tasks.cards.registry import register_task
from auricle.tasks.clips.answers import register_clip_metric
from auricle.tasks.clips.run import ClipsTask
from auricle.tasks.rule import TaskRule
from auricle.tasks.types import register_task_type
from auricle.tokens.token_set import TokenShape


@dataclass(frozen=True)
class OutsideEncoderConfig(EncoderConfig):
    """One linear layer on stretches of frames."""

    bands: Count = 64
    frame_rate: Positive = 100.0
    width: Count = 24
    frames_per_token: Count = 8


class OutsideEncoder(Encoder):
    """Tokens are projections of eight frames each."""

    abilities = frozenset({Ability.EXACT_PADDING})

    def __init__(self, config: OutsideEncoderConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.width, self.depth = config.width, 0
        self.bands, self.input_rate = config.bands, config.frame_rate
        self.project = nn.Linear(config.bands * config.frames_per_token, config.width)
        with torch.no_grad():
            self.project.weight.normal_(std=0.05, generator=generator)
            self.project.bias.zero_()

    def grid(self, frames: int) -> Grid:
        step = self.config.frames_per_token
        return Grid(-(-frames // step), 1, self.config.frame_rate / step)

    def tokenize(self, features: Features) -> Tokens:
        grid, step = self.grid(features.x.shape[1]), self.config.frames_per_token
        inside = torch.arange(features.x.shape[1]) < features.lengths.unsqueeze(1)
        x = nn.functional.pad(features.x * inside.unsqueeze(2), (0, 0, 0, grid.time * step - features.x.shape[1]))
        valid = torch.arange(grid.time) * step < features.lengths.unsqueeze(1)
        return Tokens(self.project(x.unflatten(1, (grid.time, step)).flatten(2)), grid, valid=valid)

    def contextualize(self, tokens: Tokens, layers: Sequence[int] = ()) -> Tokens:
        return replace(tokens, layers=tuple(Layer(tokens.x, tokens.grid) for _ in layers) or None)


register_family(
    Family(
        "outside-linear",
        lambda size, shape: OutsideEncoderConfig(bands=shape.bins, frame_rate=shape.rate),
        LogMelConfig(mels=64),
        "CNN",
    )
)


@dataclass(frozen=True)
class OutsideTargetConfig(TargetConfig):
    """The level of each patch."""


class OutsideTarget(Target):
    """`(B, N, 1)`: the mean of the patch."""

    lifecycle: ClassVar[Lifecycle] = "formula"

    def __init__(self, config: OutsideTargetConfig, encoder: Encoder, generator: torch.Generator) -> None:
        super().__init__()
        self.config, self.patch, self.size = config, patch_size(encoder), 1

    @torch.no_grad()
    def forward(self, masked_batch: MaskedBatch) -> Tensor:
        return patches(masked_batch.clean.features, masked_batch.grid, self.patch).mean(-1, keepdim=True)


@dataclass(frozen=True)
class OutsideObjectiveConfig(ObjectiveConfig):
    """Predict the level of a clip.

    Attributes:
        weight: of the loss.
    """

    weight: Positive = 1.0


class OutsideObjective(Objective):
    """Squared error of the level, standardised over the batch."""

    def __init__(self, config: OutsideObjectiveConfig, encoder: Encoder, generator: torch.Generator) -> None:
        super().__init__()
        self.config, self.head = config, nn.Linear(encoder.pooled_width, 1)
        with torch.no_grad():
            self.head.weight.normal_(std=0.02, generator=generator)
            self.head.bias.zero_()

    def forward(self, encoder: Encoder, views: Sequence[View], generator: torch.Generator) -> Loss:
        features = views[0].features
        level = features.x.flatten(1).mean(1)
        level = (level - level.mean()) / level.std().clamp(min=1e-3)
        predicted = self.head(encoder.pool(encoder(features))).squeeze(1)
        error = self.config.weight * (predicted - level).square().mean()
        return Loss(error, {"level": error.detach()}, {"level/constant": level.square().mean()})


OUTSIDE_LEVEL = Method(name="outside-level", paradigm="auxiliary", summary="Predict how loud a clip is.")
OUTSIDE_MASKED = Method(
    name="outside-masked", paradigm="reconstruction", summary="Predict the level of hidden patches."
)


def notes(name: str) -> Notes:
    return Notes(
        method=name,
        reference=Reference(title="An example"),
        faithful=("there is no paper",),
        not_specified=("everything",),
        cost="one pass of the encoder",
        when_to_use="in tests of plug-ins",
    )


@OUTSIDE_LEVEL.size("tiny")
def outside_level_tiny() -> Recipe:
    return Recipe(
        name="outside-level",
        size="tiny",
        notes=notes("outside-level"),
        window=WindowConfig(seconds=0.96),
        loader=small_scale.loader(8),
        frontend=LogMelConfig(mels=64),
        augment=PlainViewsConfig(),
        encoder=OutsideEncoderConfig(),
        objective=OutsideObjectiveConfig(),
        train=small_scale.train(200),
    )


@OUTSIDE_MASKED.size("tiny")
def outside_masked_tiny() -> Recipe:
    return Recipe(
        name="outside-masked",
        size="tiny",
        notes=notes("outside-masked"),
        objective=MaskedPredictionConfig(mask=RandomMask(ratio=0.5), terms=(RegressionConfig(OutsideTargetConfig()),)),
        augment=PlainViewsConfig(),
        train=small_scale.train(200),
    )


@dataclass(frozen=True)
class OutsideProbeConfig(ProbeConfig):
    """A linear layer on the loudest tokens.

    Attributes:
        source: the vector.
    """

    source: Literal["max", "mean"] = "max"


class OutsideProbe(VectorHead):
    """`W g + b`."""

    def __init__(
        self, config: OutsideProbeConfig, shape: TokenShape, classes: int, settings: int, generator: torch.Generator
    ) -> None:
        super().__init__(partial(pool, source=config.source), "train", shape.width, settings)
        self.weight, self.bias = linear_layer(classes, shape.width, settings, generator)

    def forward(self, inputs: Inputs, generator: torch.Generator | None = None) -> Tensor:
        return classify(self.standardised(inputs), self.weight, self.bias)


register_probe("outside_max", OutsideProbeConfig())


def error_rate(truth: np.ndarray, said: np.ndarray, weights: np.ndarray) -> np.ndarray:
    total = weights.sum(1)
    wrong = (weights * (truth != said)).sum(1)
    return np.divide(wrong, total, out=np.full(len(total), np.nan), where=total > 0)


register_clip_metric(MetricInfo("outside_error", "error rate", better="lower"), error_rate)
register_task(TaskCard(name="outside_folder", title="An outside task: your labelled clips", folds=3))


@dataclass(frozen=True)
class OutsideRule(TaskRule):
    """Labelled clips, evaluated by one probe."""

    type_name: ClassVar[str] = "outside_clips"


class OutsideTask(ClipsTask):
    """Labelled clips under another name."""

    name: ClassVar[str] = OutsideRule.type_name
    default_probes: ClassVar[tuple[str, ...]] = ("outside_max",)


register_task_type(OutsideRule, OutsideTask())
register_task(TaskCard(name="outside_typed", title="A task of an outside type", folds=3, rule=OutsideRule()))
