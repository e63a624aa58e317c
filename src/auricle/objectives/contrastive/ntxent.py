"""NT-Xent, the normalised temperature-scaled cross-entropy, in bounded memory.

Source: SimCLR, arXiv 2002.05709, equation 1; AudioMosaic, arXiv 2605.14231, uses it at a temperature of 0.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from auricle.errors import ConfigError
from auricle.objectives.distributed import float32_or_wider, refuse_single


@dataclass(frozen=True)
class NTXent:
    """The loss (mean over anchors), and the share of anchors whose nearest candidate is their partner (detached)."""

    loss: Tensor
    accuracy: Tensor


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Sum over anchors of the cross-entropy to the partner, some anchors at a time.

    The gradient of a scalar is known up to a factor, so it is accumulated beside the loss while a chunk's similarities
    are at hand: nothing quadratic is kept, and nothing is computed twice.
    """

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, anchors: Tensor, partners: Tensor, scale: float, chunk: int
    ) -> tuple[Tensor, Tensor]:
        need = ctx.needs_input_grad[0]
        grad = torch.zeros_like(z) if need else None
        loss, hits = z.new_zeros(()), z.new_zeros(())
        for own, partner in zip(anchors.split(chunk), partners.split(chunk), strict=True):
            rows = z[own]
            place = torch.arange(len(own), device=z.device)
            logits = (rows @ z.T).mul_(scale)
            logits[place, own] = -math.inf
            target = logits[place, partner]
            # argmax, not "as large as the largest": in a collapsed space all candidates would count.
            hits += (logits.argmax(1) == partner).sum()
            total = logits.logsumexp(1)
            loss += (total - target).sum()
            if grad is not None:
                slope = logits.sub_(total.unsqueeze(1)).exp_()
                slope[place, partner] -= 1
                grad.addmm_(slope.T, rows, alpha=scale)
                grad.index_add_(0, own, slope @ z, alpha=scale)
        if grad is not None:
            ctx.save_for_backward(grad)
        ctx.mark_non_differentiable(hits)
        return loss, hits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, _: Tensor) -> tuple[Tensor, None, None, None, None]:
        (grad,) = ctx.saved_tensors
        return grad * grad_loss, None, None, None, None


def check_pairs(z0: Tensor, z1: Tensor) -> int:
    """Return the number of clips.

    Raises:
        ConfigError: shapes differ, or there is one clip only.
    """
    if z0.shape != z1.shape or z0.dim() != 2:
        raise ConfigError(
            f"found projections {tuple(z0.shape)} and {tuple(z1.shape)}, expected two of one shape (n, D)"
        )
    refuse_single(len(z0))
    return len(z0)


def nt_xent(
    z0: Tensor, z1: Tensor, temperature: float = 0.1, *, chunk: int | None = 1024, rows: slice | None = None
) -> NTXent:
    """Contrast each clip's two views against all other clips of the batch.

    Each anchor sees 2n - 1 candidates: its partner, and both views of the n - 1 other clips. Chance is ln(2n - 1).

    Args:
        z0: `(n, D)` projections of the first views, of the global batch (see `gather_rows`); any length.
        z1: `(n, D)` projections of the second views.
        temperature: divides the cosine similarities.
        chunk: anchors per block of similarities; memory is `chunk * 2n`. None: all at once.
        rows: clips that are anchors (both their views); None: all. Each rank takes its own, and the mean over equally
            large ranks is the loss of the global batch.

    Returns:
        The mean over anchors, in float32 (float64 stays), and the top-1 accuracy.

    Raises:
        ConfigError: shapes differ, the batch has one clip only, or the temperature or chunk is not positive.

    Examples:
        >>> z = torch.eye(4)
        >>> float(nt_xent(z, z).accuracy)
        1.0
    """
    n = check_pairs(z0, z1)
    if temperature <= 0 or (chunk is not None and chunk < 1):
        raise ConfigError(f"found temperature {temperature} and chunk {chunk}, expected both to be positive")
    with torch.autocast(z0.device.type, enabled=False):
        z = F.normalize(float32_or_wider(torch.cat([z0, z1])), dim=1)
        clips = torch.arange(n, device=z.device)[slice(None) if rows is None else rows]
        anchors, partners = torch.cat([clips, clips + n]), torch.cat([clips + n, clips])
        loss, hits = _ChunkedCrossEntropy.apply(z, anchors, partners, 1 / temperature, chunk or len(anchors))
        return NTXent(loss / len(anchors), (hits / len(anchors)).detach())
