"""Means over what all ranks hold, so that a loss does not depend on how many processes share the batch."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from auricle.objectives.gather import world


def total_over_ranks(x: Tensor) -> Tensor:
    """Return the sum of `x` over all ranks, without gradient."""
    x = x.detach().clone()
    if world() > 1:
        dist.all_reduce(x)
    return x


def global_mean(total: Tensor, count: Tensor) -> Tensor:
    """Return this rank's share of `sum of totals / sum of counts` over all ranks, scaled so that ranks average to it.

    Gradients and losses are averaged over ranks after the backward pass; a rank with more predicted tokens must weigh
    more. An empty batch gives zero.

    Args:
        total: scalar, this rank's sum, with its gradient.
        count: scalar, this rank's number of terms.
    """
    everywhere = total_over_ranks(count.to(total.dtype))
    return total * world() / everywhere.clamp(min=1)


def mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    """Return the global mean of `values (...)` over the places where `chosen (...)` is True."""
    return global_mean((values * chosen).sum(), chosen.sum())


def masked_mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Return this rank's mean of `values (...)` where `chosen (...)` is True, zero where nothing is: for monitors."""
    chosen = chosen.to(values.dtype)
    return (values * chosen).sum() / chosen.sum().clamp(min=torch.finfo(values.dtype).tiny)
