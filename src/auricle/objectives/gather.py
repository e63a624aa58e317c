"""Rows of every rank as one tensor, with the exact gradient."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


def world() -> int:
    """Return the number of ranks; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return this process's rank; 0 without a process group."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


class _Gather(torch.autograd.Function):
    """All-gather whose backward sums, over ranks, what each rank's loss says about this rank's rows."""

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
