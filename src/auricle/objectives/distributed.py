"""Batches over several ranks: rows of all of them with the exact gradient, means over all of them, shared draws.

A loss must not depend on how many processes share its batch. Every rank is given a generator in the same state, draws
for the global batch and keeps its own rows: two processes mask the same tokens, and choose the same distractors, as one
process with the whole batch.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from auricle.errors import ConfigError


def world() -> int:
    """Return the number of ranks; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return this process's rank; 0 without a process group."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


class _Gather(torch.autograd.Function):
    """All-gather whose backward sums, over ranks, each rank's gradient of this rank's rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = x.shape[0]
        x = x.contiguous()
        parts = [torch.empty_like(x) for _ in range(world())]
        dist.all_gather(parts, x)
        return torch.cat(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        # All-reduce rather than reduce-scatter: every back-end has it, and these rows are small.
        grad = grad.contiguous()
        dist.all_reduce(grad)
        return grad[rank() * ctx.rows : (rank() + 1) * ctx.rows]


def gather_rows(x: Tensor) -> Tensor:
    """Return the rows `(W * B, ...)` of all W ranks, in the order of the ranks.

    Backward returns the gradient of the *sum* of all ranks' losses. With gradients averaged over ranks afterwards, as
    data parallelism does, the result is the gradient of the mean loss. Every rank must bring equally many rows.
    """
    return x if world() == 1 else _Gather.apply(x)


def widest(places: int, device: torch.device) -> int:
    """Return the largest number of tokens in a row of any rank: all ranks draw for that many."""
    if world() == 1:
        return places
    most = torch.tensor([places], device=device)
    dist.all_reduce(most, op=dist.ReduceOp.MAX)
    return int(most)


def gather_wide(x: Tensor, places: int) -> Tensor:
    """Return the rows `(W * B, places, ...)` of all ranks, each padded with zeros to `places` tokens (see `widest`).

    Args:
        x: `(B, N, ...)` of this rank, N at most `places`; gradients flow back to it.
        places: tokens of the widest row.
    """
    missing = places - x.shape[1]
    return gather_rows(F.pad(x, (0, 0) * (x.dim() - 2) + (0, missing)) if missing else x)


def refuse_single(clips: int) -> None:
    """Refuse a global batch of one clip.

    Raises:
        ConfigError: there is no other clip to compare with.
    """
    if clips < 2:
        raise ConfigError(
            f"found a batch of {clips} clip, expected at least 2: without other clips nothing can be compared; raise "
            "--loader.batch"
        )


def rand_rows(generator: torch.Generator, rows: int, *shape: int) -> Tensor:
    """Return this rank's rows `(rows, *shape)` of uniform numbers in [0, 1) drawn for all ranks, on the CPU."""
    return torch.rand(world() * rows, *shape, generator=generator)[rank() * rows : (rank() + 1) * rows]


def randn_rows(generator: torch.Generator, rows: int, *shape: int) -> Tensor:
    """Return this rank's rows `(rows, *shape)` of standard normal numbers drawn for all ranks, on the CPU."""
    return torch.randn(world() * rows, *shape, generator=generator)[rank() * rows : (rank() + 1) * rows]


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
    """Return the global mean of `values (...)` where `chosen (...)` is True."""
    return global_mean((values * chosen).sum(), chosen.sum())


def masked_mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Return this rank's mean of `values (...)` where `chosen (...)` is True, zero where nothing is: for monitors."""
    chosen = chosen.to(values.dtype)
    return (values * chosen).sum() / chosen.sum().clamp(min=torch.finfo(values.dtype).tiny)


def float32_or_wider(x: Tensor) -> Tensor:
    """Return `x` in the precision of losses: float64 stays, all else becomes float32."""
    return x if x.dtype == torch.float64 else x.float()
