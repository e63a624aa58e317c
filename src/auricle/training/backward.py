"""From a batch of views to gradients, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from auricle.encoders.contract import Encoder
from auricle.objectives.contract import BatchCoupled, Loss, Objective, View
from auricle.objectives.contrastive.gradient_cache import cached_backward


def backward(
    objective: Objective,
    encoder: Encoder,
    views: Sequence[View],
    generator: torch.Generator,
    *,
    micro_batch: int | None,
    autocast: Callable[[], AbstractContextManager[None]],
) -> Loss:
    """Leave the gradient of the batch's loss in every `.grad` and return the loss, detached.

    Args:
        objective: to minimise.
        encoder: to train.
        views: this rank's rows of the batch, one `View` per view.
        generator: for the objective's draws.
        micro_batch: clips at once; None, or as many as there are: all. Objectives that couple the batch use gradient
            caching and keep the full batch's gradient; for the others gradients are accumulated, weighted by clips.
        autocast: makes a fresh precision context.
    """
    clips = len(views[0])
    if micro_batch is not None and micro_batch < clips:
        if isinstance(objective, BatchCoupled):
            return cached_backward(objective, encoder, views, generator, micro_batch=micro_batch, autocast=autocast)
        return _accumulate(objective, encoder, views, generator, micro_batch=micro_batch, autocast=autocast)
    with autocast():
        loss = objective(encoder, views, generator)
    loss.total.backward()
    return _detached(loss)


def _accumulate(
    objective: Objective,
    encoder: Encoder,
    views: Sequence[View],
    generator: torch.Generator,
    *,
    micro_batch: int,
    autocast: Callable[[], AbstractContextManager[None]],
) -> Loss:
    clips = len(views[0])
    total: Tensor | None = None
    parts: dict[str, Tensor] = {}
    watch: Mapping[str, Tensor] = {}
    for start in range(0, clips, micro_batch):
        rows = slice(start, min(start + micro_batch, clips))
        share = (rows.stop - rows.start) / clips
        with autocast():
            loss = objective(encoder, [view[rows] for view in views], generator)
        (loss.total * share).backward()
        loss = _detached(loss)
        total = loss.total * share if total is None else total + loss.total * share
        for name, value in loss.parts.items():
            parts[name] = parts[name] + value * share if name in parts else value * share
        # Of the last rows only: watched values are computed when read, which most steps never do.
        watch = loss.watch
    return Loss(total if total is not None else torch.zeros(()), parts, watch)


def _detached(loss: Loss) -> Loss:
    return Loss(loss.total.detach(), {name: value.detach() for name, value in loss.parts.items()}, loss.watch)
