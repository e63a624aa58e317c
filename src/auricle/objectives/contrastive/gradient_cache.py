"""The gradient of a large batch in the memory of a small one.

Source: gradient caching, arXiv 2101.06983, section 3: the representations of each micro-batch without a graph; then the
loss of the whole batch and its gradient at the representations; then each micro-batch again, with that gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from auricle.encoders.contract import Encoder
from auricle.errors import ConfigError
from auricle.objectives.contract import BatchCoupled, Loss, View


def cached_backward(
    objective: BatchCoupled,
    encoder: Encoder,
    views: Sequence[View],
    generator: torch.Generator,
    *,
    micro_batch: int,
    autocast: Callable[[], AbstractContextManager[None]] = nullcontext,
    scale: float = 1.0,
) -> Loss:
    """Add the gradients of `(objective(...).total * scale).backward()` to every `.grad`, in bounded memory.

    Replays draw the same random numbers (stochastic depth): the global generators are reset before each. Operations
    that mix clips belong to `objective.compare`, which runs once on the whole batch, so BatchNorm there and its running
    statistics are exact. The last micro-batch keeps its graph and is not replayed; one micro-batch is the direct
    computation. Stochastic layers draw per micro-batch, hence other numbers than in one large forward.

    An encoder with BatchNorm is refused: its statistics would be those of micro-batches, and the gradient not that of
    the batch. Such encoders (the convolutional ones) are small; spread their batch over processes instead, where
    `encoders.parts.batch_norm` keeps the statistics exact.

    Args:
        objective: couples clips through their representations only.
        encoder: the encoder, without layers that mix clips.
        views: of the whole batch (this rank's).
        generator: for the objective's draws.
        micro_batch: clips per forward and backward of the encoder.
        autocast: makes a fresh precision context for each pass.
        scale: factor on the loss before backward.

    Returns:
        The loss of the whole batch, detached.

    Raises:
        ConfigError: micro_batch is not positive, or the encoder has a BatchNorm that would see micro-batches.
    """
    if micro_batch < 1:
        raise ConfigError(f"found micro_batch {micro_batch}, expected at least 1")
    _refuse_batch_norm(encoder)
    draws = objective.draw(encoder, views, generator)
    clips = len(views[0])
    parts = [slice(start, min(start + micro_batch, clips)) for start in range(0, clips, micro_batch)]
    device = views[0].features.x.device

    def represent(rows: slice) -> tuple[Tensor, ...]:
        # Weights narrowed in a pass without a graph must not be reused by one that needs it.
        torch.clear_autocast_cache()
        with autocast():
            return objective.represent(encoder, [v[rows] for v in views], [d[rows] for d in draws])

    states, pieces = [], []
    with torch.no_grad():
        for rows in parts[:-1]:
            states.append(_random_state(device))
            pieces.append(represent(rows))
    last = represent(parts[-1])
    pieces.append(tuple(f.detach() for f in last))
    after = _random_state(device)

    whole = [torch.cat(column).requires_grad_() for column in zip(*pieces, strict=True)]
    with autocast():
        loss = objective.compare(whole)
    (loss.total * scale).backward()
    slopes = [f.grad for f in whole]

    _backward(last, slopes, parts[-1])
    del last
    for rows, state in zip(parts[:-1], states, strict=True):
        _set_random_state(state, device)
        _backward(represent(rows), slopes, rows)
    _set_random_state(after, device)
    return Loss(loss.total.detach(), {k: v.detach() for k, v in loss.parts.items()}, loss.watch)


def _backward(representations: Sequence[Tensor], slopes: Sequence[Tensor | None], rows: slice) -> None:
    pairs = [(f, g[rows]) for f, g in zip(representations, slopes, strict=True) if g is not None and f.requires_grad]
    if pairs:
        torch.autograd.backward([f for f, _ in pairs], [g for _, g in pairs])


def _refuse_batch_norm(encoder: Encoder) -> None:
    for name, module in encoder.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training:
            raise ConfigError(
                f"the encoder's {name} is a BatchNorm in training mode; under gradient caching it would see "
                "micro-batches. Use an encoder without it, or train without micro_batch (--train.micro-batch None), "
                "over several processes where the batch is too large for one"
            )


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_random_state(state: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
