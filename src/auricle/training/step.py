"""One optimiser step: views, loss, gradients over all ranks, update."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from auricle.audio.batch import Audio, Features
from auricle.audio.views import MadeView, ViewMaker
from auricle.devices import autocast_dtype
from auricle.encoders.contract import Encoder
from auricle.encoders.parts.batch_norm import normalise_over_ranks
from auricle.objectives.contract import Loss, Objective, View
from auricle.objectives.predictive.teacher import MovingAverage
from auricle.training.backward import backward
from auricle.training.optimiser import (
    Plan,
    build_optimiser,
    learning_rate,
    named_parameters,
    training_progress,
    weight_decay,
)
from auricle.training.randomness import seed_layers, step_generator
from auricle.training.ranks import Ranks
from auricle.training.train_config import TrainConfig


class Augmenter(Protocol):
    """A maker of views as a step uses it (see `audio.views.ViewMaker`)."""

    def __call__(self, audio: Audio, views: int, generator: torch.Generator) -> tuple[MadeView, ...]:
        """Make the views of a batch."""


def learns_codes(module: nn.Module) -> bool:
    """Return whether codes are learned inside: a quantiser that is trained, or online clusters."""
    return any(
        getattr(part, "learns_codes", False) and all(p.requires_grad for p in part.parameters())
        for part in module.modules()
    )


@dataclass(frozen=True)
class StepResult:
    """The values of one step; nothing in it has waited for the device.

    Attributes:
        values: scalars of every step: `loss` and its parts, `grad_norm`, `accuracy` where the objective watches it.
        watch: further scalars, computed when read.
        skipped: 1 where loss or gradient was not finite and nothing was changed, else 0.
    """

    values: Mapping[str, Tensor]
    watch: Mapping[str, Tensor]
    skipped: Tensor


class TrainingStep:
    """Does optimiser steps. All randomness derives from (seed, step, rank).

    Attributes:
        optimiser: AdamW over encoder and objective.
        dtype: what autocast computes in; None: float32.
        plan: numbers of steps fitted to the time, for schedules.
    """

    def __init__(
        self, encoder: Encoder, objective: Objective, augment: Augmenter, config: TrainConfig, ranks: Ranks
    ) -> None:
        """Move everything to the rank's device, in training mode."""
        self.encoder, self.objective = encoder.to(ranks.device).train(), objective.to(ranks.device).train()
        self.augment = augment.to(ranks.device) if isinstance(augment, nn.Module) else augment
        self.config, self.ranks = config, ranks
        self.plan: Plan = ()
        # What works on gathered rows (projectors) sees the global batch already; encoders and their copies do not.
        for module in (encoder, *(m for m in objective.modules() if isinstance(m, MovingAverage))):
            normalise_over_ranks(module)
        self.optimiser = build_optimiser(encoder, objective, config)
        self.dtype = autocast_dtype(config.precision, ranks.device)
        self._parameters = [p for _, p in named_parameters(encoder, objective)]
        self._buffers = [b for module in (encoder, objective) for b in module.buffers()]

    def views(self, step: int, audio: Audio, clip: Tensor) -> list[View]:
        """Return the augmented views of a batch, on the device."""
        audio, clip = audio.to(self.ranks.device), clip.to(self.ranks.device)
        generator = step_generator(self.config.seed, "augment", step, self.ranks.rank)
        with torch.no_grad():
            made = self.augment(audio, self.objective.views, generator)
        return [View(view.features, clip, view.certificate, view.reference) for view in made]

    def plain(self, audio: Audio) -> Features:
        """Return the encoder's input without augmentation, on the device."""
        audio = audio.to(self.ranks.device)
        if isinstance(self.augment, ViewMaker):
            return self.augment.frontend(audio)
        return self.augment(audio, self.objective.views, torch.Generator().manual_seed(0))[0].features

    def __call__(self, step: int, views: list[View], watched: bool = False) -> StepResult:
        """Do step number `step` (from 0) on this rank's views of the batch.

        Args:
            step: number of the step.
            views: of this rank's clips.
            watched: also watch learned codes as they are used later: in evaluation mode, on these clips before the step
                that learns from them (`evaluation/codes/perplexity` ...).
        """
        config, rank = self.config, self.ranks.rank
        used = self._codes_in_evaluation(step, views) if watched else {}
        self.objective.progress = training_progress(step, config, self.plan)
        seed_layers(config.seed, step, rank)
        before = [buffer.clone() for buffer in self._buffers]
        self.optimiser.zero_grad(set_to_none=True)
        loss = backward(
            self.objective,
            self.encoder,
            views,
            # The same on every rank: draws are made for the global batch (see objectives.distributed).
            step_generator(config.seed, "objective", step),
            micro_batch=config.micro_batch,
            autocast=self._autocast,
        )
        values = self._average(loss)
        norm = torch.nn.utils.get_total_norm([p.grad for p in self._parameters if p.grad is not None])
        if config.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self._parameters, config.clip_norm, norm)
        skipped = (~(torch.isfinite(values["loss"]) & torch.isfinite(norm))).float()
        self._update(step, skipped, before)
        self.objective.after_step(self.encoder, step)
        return StepResult({**values, "grad_norm": norm}, {**loss.watch, **used} if used else loss.watch, skipped)

    @torch.no_grad()
    def _codes_in_evaluation(self, step: int, views: list[View]) -> dict[str, Tensor]:
        """Return the use of learned codes in evaluation mode; `{}` where none are learned."""
        if not (learns_codes(self.encoder) or learns_codes(self.objective)):
            return {}
        for module in (self.encoder, self.objective):
            module.eval()
        some = [view[: self.config.micro_batch] for view in views]
        with self._autocast():
            loss = self.objective(self.encoder, some, step_generator(self.config.seed, "objective", step))
        found = {f"evaluation/{name}": loss.watch[name] for name in loss.watch if "perplexity" in name}
        for module in (self.encoder, self.objective):
            module.train()
        return found

    def _update(self, step: int, skipped: Tensor, before: list[Tensor]) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(step, self.config, self.plan)
            if group["decays"]:
                group["weight_decay"] = weight_decay(step, self.config, self.plan)
        # The fused kernel reads `found_inf` on the device and changes nothing where it is 1: no step waits for the
        # host. Buffers (BatchNorm's statistics) are restored likewise.
        self.optimiser.found_inf = skipped  # type: ignore[attr-defined]
        self.optimiser.grad_scale = None  # type: ignore[attr-defined]
        self.optimiser.step()
        for buffer, old in zip(self._buffers, before, strict=True):
            buffer.copy_(torch.where(skipped.bool(), old, buffer))

    def _average(self, loss: Loss) -> dict[str, Tensor]:
        """Average gradients and loss over the ranks; a value that is not finite on one rank is so on all of them."""
        values = {"loss": loss.total, **loss.parts}
        if "accuracy" in loss.watch:
            values["accuracy"] = loss.watch["accuracy"]
        values = {name: value.detach().float().clone() for name, value in values.items()}
        if self.ranks.world > 1:
            for parameter in self._parameters:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
            self.ranks.average([*(p.grad for p in self._parameters if p.grad is not None), *values.values()])
        return values

    def _autocast(self) -> AbstractContextManager[None]:
        return torch.autocast(self.ranks.device.type, dtype=self.dtype, enabled=self.dtype is not None)
