"""Batch norm over what is valid: padding takes no part in the statistics, and all ranks share theirs.

The modules stay plain `nn.BatchNorm1d` and `nn.BatchNorm2d`, with their usual parameters, buffers and names.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from auricle.encoders.parts.feature_map import FeatureMap


class _SumOverRanks(torch.autograd.Function):
    """All-reduce whose backward sums what every rank's loss says about this rank's share."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(x)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        grad = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(grad)
        return grad


def _several_ranks() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _over_ranks(x: Tensor) -> Tensor:
    return _SumOverRanks.apply(x) if _several_ranks() else x


def normalise(norm: nn.BatchNorm1d | nn.BatchNorm2d, x: FeatureMap) -> FeatureMap:
    """Normalise each channel over clips, time and frequency (batch norm, arXiv 1502.03167).

    In training the statistics are those of the valid places of all ranks: padding neither shifts nor dilutes them,
    and two processes with half a batch each compute what one does with the whole (so that in training each rank must
    call it equally often). Elsewhere the running ones are used. Statistics are kept in float32 at least.
    """
    if not norm.training or (x.lengths is None and not _several_ranks()):
        return x.changed(norm(x.x))
    values = x.filled(0.0)
    values = values if values.dtype == torch.float64 else values.float()
    inside = x.inside()
    axes = [0, *range(2, values.dim())]
    shape = [1, -1, *[1] * (values.dim() - 2)]
    rows = 1 if values.dim() == 3 else values.shape[2]
    places = values.shape[0] * values.shape[-1] if inside is None else inside.sum()
    count = torch.as_tensor(places * rows, dtype=values.dtype, device=values.device).reshape(1)
    sums = _over_ranks(torch.cat([values.sum(axes), count]))
    count = sums[-1].detach().clamp(min=1)
    mean = sums[:-1] / count
    centred = values - mean.view(shape)
    if inside is not None:
        centred = centred.masked_fill(~inside, 0.0)
    variance = _over_ranks(centred.square().sum(axes)) / count
    _track(norm, mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
    y = centred * torch.rsqrt(variance + norm.eps).view(shape) * norm.weight.view(shape) + norm.bias.view(shape)
    return x.changed(y.to(x.x.dtype))


@torch.no_grad()
def _track(norm: nn.BatchNorm1d | nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked.add_(1)
    share = 1.0 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), share)
    norm.running_var.lerp_(variance.to(norm.running_var.dtype), share)
