"""BatchNorm over the batch of all ranks, on any back-end: two processes then normalise as one does."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from auricle.encoders.parts.bin_norm import BinNorm
from auricle.objectives.distributed import world


class _SumOverRanks(torch.autograd.Function):
    """Sum over ranks; backward sums what every rank's loss says about it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        grad = grad.contiguous().clone()
        dist.all_reduce(grad)
        return grad


class _GlobalStatistics(nn.modules.batchnorm._BatchNorm):
    """BatchNorm whose training statistics are those of all ranks' batches; alone it is what it was.

    Input `(B, C)` or `(B, C, ...)`. Every rank must come with a batch. Statistics are computed in float32 at least.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept any shape with channels in the second place."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise a batch."""
        if world() == 1 or not self.training:
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            x = input if input.dtype == torch.float64 else input.float()
            over = [d for d in range(x.dim()) if d != 1]
            shape = [1, -1] + [1] * (x.dim() - 2)
            count = x.new_tensor([x.numel() / x.shape[1]])
            sums = _SumOverRanks.apply(torch.cat([x.sum(over), count]))
            count = sums[-1].detach()
            mean = sums[:-1] / count
            centred = x - mean.view(shape)
            variance = _SumOverRanks.apply(centred.square().sum(over)) / count
            if self.track_running_stats and self.running_mean is not None and self.running_var is not None:
                with torch.no_grad():
                    if self.num_batches_tracked is not None:
                        self.num_batches_tracked.add_(1)
                    share = 1.0 / float(self.num_batches_tracked or 1) if self.momentum is None else self.momentum
                    self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
                    unbiased = variance * count / (count - 1).clamp(min=1)
                    self.running_var.lerp_(unbiased.to(self.running_var.dtype), share)
            y = centred * (variance + self.eps).rsqrt().view(shape)
            if self.affine:
                y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(input.dtype)


class GlobalBinNorm(BinNorm):
    """Normalisation of mel bins by the valid frames of all ranks' batches."""

    def over_batch(self, sums: Tensor) -> Tensor:
        """Return the sums over all ranks."""
        return sums if world() == 1 else _SumOverRanks.apply(sums)


class GlobalBatchNorm1d(_GlobalStatistics, nn.BatchNorm1d):
    """`BatchNorm1d` over the batch of all ranks."""


class GlobalBatchNorm2d(_GlobalStatistics, nn.BatchNorm2d):
    """`BatchNorm2d` over the batch of all ranks."""


# Subclasses, because an encoder may ask what kind of norm it holds.
_GLOBAL: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: GlobalBatchNorm1d,
    nn.BatchNorm2d: GlobalBatchNorm2d,
    BinNorm: GlobalBinNorm,
}


def normalise_over_ranks(module: nn.Module) -> None:
    """Let every BatchNorm below a module go by the batch of all ranks; names, weights and statistics stay.

    Without a process group nothing changes.
    """
    if world() == 1:
        return
    for child in module.modules():
        child.__class__ = _GLOBAL.get(type(child), type(child))
