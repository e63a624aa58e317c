"""Batch norm (arXiv 1502.03167) over the batch of all ranks, on any back-end, without padding in its statistics.

Two processes with half a batch each compute the same as one with the whole.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from auricle.encoders.parts.feature_map import FeatureMap


class _SumOverRanks(torch.autograd.Function):
    """All-reduce whose backward sums the gradients of every rank's loss."""

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
    """Normalise each channel over clips, time and frequency.

    In training the statistics are those of the valid positions of all ranks, and each rank must call it equally often.
    In evaluation the running ones are used. Statistics are kept in float32 at least. `norm` stays a plain torch module
    with its usual state dict.
    """
    if not norm.training or (x.lengths is None and not _several_ranks()):
        return x.changed(norm(x.x))
    values = x.filled(0.0)
    return x.changed(_over_batch(norm, values, x.inside()).to(x.x.dtype))


def _over_batch(norm: nn.modules.batchnorm._BatchNorm, values: Tensor, inside: Tensor | None = None) -> Tensor:
    """Normalise `values (B, C, ...)` by the batch of all ranks, in float32 at least, and move the running statistics.

    Where `inside` (broadcast to one channel) is False, values must be zero, and the result is that of the mean.
    """
    values = values if values.dtype == torch.float64 else values.float()
    axes = [0, *range(2, values.dim())]
    shape = [1, -1, *[1] * (values.dim() - 2)]
    # `inside` has one row where maps have several.
    rows = values.shape[2] if values.dim() == 4 else 1
    places = values.numel() // values.shape[1] if inside is None else inside.sum() * rows
    count = torch.as_tensor(places, dtype=values.dtype, device=values.device).reshape(1)
    sums = _over_ranks(torch.cat([values.sum(axes), count]))
    count = sums[-1].detach().clamp(min=1)
    mean = sums[:-1] / count
    centred = values - mean.view(shape)
    if inside is not None:
        centred = centred.masked_fill(~inside, 0.0)
    variance = _over_ranks(centred.square().sum(axes)) / count
    _track(norm, mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
    y = centred * torch.rsqrt(variance + norm.eps).view(shape)
    return y * norm.weight.view(shape) + norm.bias.view(shape) if norm.affine else y


@torch.no_grad()
def _track(norm: nn.modules.batchnorm._BatchNorm, mean: Tensor, variance: Tensor) -> None:
    if norm.running_mean is None or norm.running_var is None:
        return
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    share = 1.0 / float(norm.num_batches_tracked or 1) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), share)
    norm.running_var.lerp_(variance.to(norm.running_var.dtype), share)


class _GlobalStatistics(nn.modules.batchnorm._BatchNorm):
    """BatchNorm over all ranks' batches; input `(B, C)` or `(B, C, ...)`. Every rank must have a batch."""

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept any shape with channels in the second place."""

    def forward(self, input: Tensor) -> Tensor:
        if not _several_ranks() or not self.training:
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            return _over_batch(self, input).to(input.dtype)


class GlobalBatchNorm1d(_GlobalStatistics, nn.BatchNorm1d):
    """`BatchNorm1d` over the batch of all ranks."""


class GlobalBatchNorm2d(_GlobalStatistics, nn.BatchNorm2d):
    """`BatchNorm2d` over the batch of all ranks."""


# Subclasses, because an encoder may check the kind of its norm.
_GLOBAL: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: GlobalBatchNorm1d,
    nn.BatchNorm2d: GlobalBatchNorm2d,
}


def normalise_over_ranks(module: nn.Module) -> None:
    """Make every BatchNorm below a module use the batch of all ranks; names, weights and statistics stay.

    Without a process group nothing changes.
    """
    if _several_ranks():
        for child in module.modules():
            child.__class__ = _GLOBAL.get(type(child), type(child))


class BinNorm(nn.Module):
    """Batch norm of each mel bin over the valid frames of the batch, as in front of Dasheng (arXiv 2406.06992).

    Frames of padding do not count in the statistics, but are normalised like all others.

    Args:
        bins: F.
        momentum: weight of the new batch in the running statistics.
        eps: added to the variance.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, bins: int, momentum: float = 0.01, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight = nn.Parameter(torch.ones(bins))
        self.bias = nn.Parameter(torch.zeros(bins))
        self.register_buffer("running_mean", torch.zeros(bins))
        self.register_buffer("running_var", torch.ones(bins))

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Reset scale, shift and running statistics."""
        for tensor, value in ((self.weight, 1.0), (self.bias, 0.0), (self.running_mean, 0.0), (self.running_var, 1.0)):
            tensor.fill_(value)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Return normalised features.

        Args:
            x: `(B, T, F)`.
            lengths: `(B,)` int64, valid frames of each clip.
        """
        mean, variance = self._statistics(x, lengths) if self.training else (self.running_mean, self.running_var)
        scale = self.weight * (variance + self.eps).rsqrt()
        return x * scale + (self.bias - mean * scale)

    def _statistics(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        inside = (torch.arange(x.shape[1], device=x.device) < lengths.unsqueeze(1)).unsqueeze(2).to(x.dtype)
        sums = _over_ranks(torch.cat([(x * inside).sum((0, 1)), inside.sum()[None]]))
        count = sums[-1].detach().clamp(min=1)
        mean = sums[:-1] / count
        variance = _over_ranks(((x - mean).square() * inside).sum((0, 1))) / count
        with torch.no_grad():
            unbiased = variance * count / (count - 1).clamp(min=1)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        return mean, variance
