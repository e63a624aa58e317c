"""A slow teacher: an exponential moving average of the encoder, whose latents are targets."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from auricle.config import Config, Natural, Share
from auricle.encoders.contract import Encoder, Tokens
from auricle.encoders.parts.conv_position import ConvPosition
from auricle.errors import ConfigError
from auricle.objectives.contract import View
from auricle.objectives.masks.token_mask import MaskedPositions
from auricle.objectives.targets.target import TeacherSight


@dataclass(frozen=True)
class TeacherConfig(Config):
    """Settings of a slow teacher.

    Attributes:
        decay: share of itself that the teacher keeps each step, at the first step.
        end: the same at the end of the schedule.
        steps: length of the schedule in steps; 0: the whole training.
        curve: of the decay, from `decay` to `end`.
        frozen_after: step after which the teacher stays as it is; 0: never (DinoSR: 200,000).
        scope: `all` averages the whole encoder; `context` only the layers after `tokenize`, which teacher and student
            then share (data2vec, M2D).
        start: the teacher's first weights: a copy of the `student`'s, or drawn on their `own` (M2D).
        positions: convolutions that make the encoder's positions, if it has any, are `averaged` like all else, or
            `copied` from the student at every step (data2vec's released settings).
    """

    decay: Share = 0.999
    end: Share = 0.9999
    steps: Natural = 0
    curve: Literal["linear", "cosine"] = "linear"
    frozen_after: Natural = 0
    scope: Literal["all", "context"] = "all"
    start: Literal["student", "own"] = "student"
    positions: Literal["averaged", "copied"] = "averaged"

    def at(self, step: int, progress: float) -> float:
        """Return the decay of a step (from 0), before which a share `progress` of the training was done."""
        if self.frozen_after and step >= self.frozen_after:
            return 1.0
        share = min(1.0, step / self.steps) if self.steps else progress
        if self.curve == "cosine":
            share = (1 - math.cos(math.pi * share)) / 2
        return self.decay + (self.end - self.decay) * share


class MovingAverage(nn.Module):
    """A copy of modules that follows them slowly: without gradient, in evaluation mode, in float32.

    Parameters move by `decay`; buffers (BatchNorm's statistics) are copied. The decay counts optimiser steps.

    Args:
        followed: the module that is copied.
        training: keep the copy in training mode (BYOL-A's target network normalises by its own batch).
    """

    def __init__(self, followed: nn.Module, training: bool = False) -> None:
        super().__init__()
        self.copy = copy.deepcopy(followed).requires_grad_(False)
        self.copy_trains = training
        self.train()

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.copy.train(mode and self.copy_trains)
        return self

    @torch.no_grad()
    def follow(self, followed: nn.Module, decay: float) -> None:
        """Move by one step: `copy = decay * copy + (1 - decay) * followed`."""
        own: list[Tensor] = [p for p in self.copy.parameters() if p.is_floating_point()]
        its = [p.detach() for p in followed.parameters() if p.is_floating_point()]
        if own:
            torch._foreach_lerp_(own, its, 1.0 - decay)
        for mine, theirs in zip(self.copy.buffers(), followed.buffers(), strict=True):
            mine.copy_(theirs)

    def copies(self, module: nn.Module) -> bool:
        """Return whether the module has the same parameters as the copy, by name and shape."""
        own = {name: p.shape for name, p in self.copy.named_parameters()}
        return own == {name: p.shape for name, p in module.named_parameters()}

    @torch.no_grad()
    def distance(self, followed: nn.Module) -> Tensor:
        """Return the relative distance of the parameters, ||followed - copy|| / ||followed||: the gap of the two."""
        gap = torch.stack([(a - b).float().square().sum() for a, b in self._pairs(followed)]).sum()
        size = torch.stack([a.float().square().sum() for a, _ in self._pairs(followed)]).sum()
        return (gap / size.clamp(min=torch.finfo(torch.float32).tiny)).sqrt()

    def _pairs(self, followed: nn.Module) -> list[tuple[Tensor, Tensor]]:
        return list(zip((p.detach() for p in followed.parameters()), self.copy.parameters(), strict=True))


class Teacher(MovingAverage):
    """The slow copy of an encoder; encodes the clean view.

    Args:
        config: schedule, scope and first weights.
        encoder: the student.
        generator: draws weights of its own.
    """

    copy: Encoder

    def __init__(self, config: TeacherConfig, encoder: Encoder, generator: torch.Generator) -> None:
        super().__init__(encoder)
        self.config = config
        if config.start == "own":
            draw = getattr(self.copy, "initialise", None)
            if draw is None:
                raise ConfigError(
                    f"found teacher.start 'own', and {type(encoder).__name__} can't draw its weights anew; set it to "
                    "student"
                )
            draw(generator)

    @torch.no_grad()
    def follow(self, followed: nn.Module, decay: float) -> None:
        super().follow(followed, decay)
        if decay < 1.0:
            own, its = (self._copied(encoder) for encoder in (self.copy, followed))
            for mine, theirs in zip(own, its, strict=True):
                mine.load_state_dict(theirs.state_dict())

    def _copied(self, encoder: nn.Module) -> list[nn.Module]:
        """Return the modules that are not averaged."""
        if self.config.positions == "averaged":
            return []
        return [module for module in encoder.modules() if isinstance(module, ConvPosition)]

    @torch.no_grad()
    def see(
        self,
        student: Encoder,
        view: View,
        mask: MaskedPositions,
        sight: TeacherSight,
        layers: Sequence[int],
        tokens: Tokens | None = None,
    ) -> Tokens:
        """Encode a view without gradient.

        Args:
            student: the encoder that is trained; it tokenizes where `scope` is `context`.
            view: the clean view.
            mask: masked positions of the student's rows.
            sight: `all`: the whole clip, once, `(B, N, D)`; `masked`, `visible`: only those tokens of each row
                `(R, K, D)`, as M2D's teacher does.
            layers: hidden layers to return.
            tokens: the student's own tokens of this view, shared where `scope` is `context`.
        """
        if self.config.scope == "context":
            made = _detached(student.tokenize(view.features) if tokens is None else tokens)
        else:
            made = self.copy.tokenize(view.features)
        if sight != "all":
            shown = mask if sight == "visible" else MaskedPositions(~mask.masked, mask.predicted)
            index = shown.visible()
            if index is None:
                raise ConfigError(
                    f"a teacher that sees the {sight} tokens needs a mask with equally many of them in every clip"
                )
            made = repeat_rows(made, mask.masked.shape[0] // len(view)).keep(index)
        return self.copy.contextualize(made, layers)


def repeat_rows(tokens: Tokens, times: int) -> Tokens:
    """Repeat each clip's tokens `times` times, clip-major."""
    if times == 1:
        return tokens

    def each(x: Any) -> Any:
        return None if x is None else x.repeat_interleave(times, 0)

    return Tokens(
        each(tokens.x),
        tokens.grid,
        valid=each(tokens.valid),
        index=each(tokens.index),
        cls=each(tokens.cls),
        positions=tokens.positions,
    )


def _detached(tokens: Tokens) -> Tokens:
    cls = None if tokens.cls is None else tokens.cls.detach()
    positions = None if tokens.positions is None else tokens.positions.detach()
    return Tokens(tokens.x.detach(), tokens.grid, tokens.valid, tokens.index, cls, None, positions)
