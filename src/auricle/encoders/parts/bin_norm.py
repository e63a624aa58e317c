"""Batch normalisation of each mel bin, in which padding has no say."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BinNorm(nn.Module):
    """Normalise each mel bin by its mean and variance over the valid frames of the batch; then scale and shift.

    In training the statistics are those of the batch, and running ones are kept for evaluation, as
    batch normalisation does it (arXiv 1502.03167); but frames of padding are not counted, so that clips weigh by
    their audio and not by how they were batched. Padding is normalised like everything else. Dasheng
    (arXiv 2406.06992) reads its spectrogram through such a layer.

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
        """Let scale, shift and running statistics start again."""
        for tensor, value in ((self.weight, 1.0), (self.bias, 0.0), (self.running_mean, 0.0), (self.running_var, 1.0)):
            tensor.fill_(value)

    def over_batch(self, sums: Tensor) -> Tensor:
        """Return sums over the whole batch: those of this process; who trains on several adds theirs up."""
        return sums

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
        sums = self.over_batch(torch.cat([(x * inside).sum((0, 1)), inside.sum()[None]]))
        count = sums[-1].detach().clamp(min=1)
        mean = sums[:-1] / count
        variance = self.over_batch(((x - mean).square() * inside).sum((0, 1))) / count
        with torch.no_grad():
            unbiased = variance * count / (count - 1).clamp(min=1)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        return mean, variance
