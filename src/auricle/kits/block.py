"""Linear layers of many settings at once, and the hidden block of HEAR's predictor in as few passes as possible.

Letters: S settings, B clips, D width in, H width out. Products may run in bfloat16 with weights, statistics and updates
in float32, as mixed precision does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

EPS = 1e-5


def setting_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, fast: bool = False) -> Tensor:
    """Apply each setting's linear layer.

    Args:
        x: `(B, D)`, the same for all settings, or `(S, B, D)`.
        weight: `(S, H, D)`.
        bias: `(S, H)` or None.
        fast: multiply in bfloat16.

    Returns:
        `(S, B, H)` float32.
    """
    if fast:
        y: Tensor = _FastLinear.apply(x, weight)
        return y if bias is None else y + bias.unsqueeze(1)
    if len(weight) == 1:
        return F.linear(_only(x), weight[0], None if bias is None else bias[0]).unsqueeze(0)
    y = torch.matmul(x, weight.transpose(1, 2))
    return y if bias is None else y + bias.unsqueeze(1)


def hidden_block(
    x: Tensor, weight: Tensor, gain: Tensor, shift: Tensor, mask: Tensor | None, *, fast: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Linear layer without bias, batch norm with the batch's statistics, dropout, ReLU, for each setting.

    A bias before batch norm cancels out, in the value and in every gradient.

    Args:
        x: `(B, D)` or `(S, B, D)`; B at least 2.
        weight: `(S, H, D)`.
        gain: `(S, H)` of the batch norm.
        shift: `(S, H)` of the batch norm.
        mask: `(B, H)` zeros and 1 / (1 - share), or None: nothing is dropped.
        fast: multiply in bfloat16.

    Returns:
        `(S, B, H)` the activations, `(S, H)` mean and `(S, H)` biased variance of the linear layer's output; the
        statistics get no gradient of their own.
    """
    found: tuple[Tensor, Tensor, Tensor] = _HiddenBlock.apply(x, weight, gain, shift, mask, fast)
    return found


class _FastLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        x, weight = x.bfloat16(), weight.bfloat16()
        ctx.save_for_backward(x, weight)
        return _times(x, weight.transpose(1, 2)).float()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor]:
        x, weight = ctx.saved_tensors
        return _linear_backward(grads[0].bfloat16(), x, weight, ctx.needs_input_grad[0], torch.float32)


class _HiddenBlock(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, gain: Tensor, shift: Tensor, mask: Tensor | None, fast: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        if fast:
            x, weight = x.bfloat16(), weight.bfloat16()
        z = _times(x, weight.transpose(1, 2)).to(gain.dtype)
        mean = z.mean(1)
        z.sub_(mean.unsqueeze(1))
        variance = z.square().mean(1)
        rate = (variance + EPS).rsqrt_()
        h = torch.addcmul(shift.unsqueeze(1), z, (gain * rate).unsqueeze(1)).clamp_(min=0)
        if mask is not None:
            h.mul_(mask)
        ctx.scale = 1.0 if mask is None else float(mask.max())
        ctx.save_for_backward(x, weight, gain, z, rate, h)
        ctx.mark_non_differentiable(mean, variance)
        return h, mean, variance

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, gain, z, rate, h = ctx.saved_tensors
        # An activation is zero where ReLU or dropout cut it, and the gradient stops in both cases.
        g = torch.ops.aten.threshold_backward(grads[0].contiguous(), h, 0)
        B = z.shape[1]
        to_shift = g.sum(1).mul_(ctx.scale)
        along = (g * z).sum(1).mul_(ctx.scale * rate)
        # d loss / d z = gain * rate * (g - mean(g) - z^ * mean(g z^)), z^ = z * rate
        g.mul_(ctx.scale).sub_((to_shift / B).unsqueeze(1)).addcmul_(z, (along * rate / B).unsqueeze(1), value=-1)
        g.mul_((gain * rate).unsqueeze(1))
        to_x, to_weight = _linear_backward(g.to(x.dtype), x, weight, ctx.needs_input_grad[0], gain.dtype)
        return to_x, to_weight, along, to_shift, None, None


def _linear_backward(
    g: Tensor, x: Tensor, weight: Tensor, wants_x: bool, dtype: torch.dtype
) -> tuple[Tensor | None, Tensor]:
    to_weight = _times(g.transpose(1, 2), x).to(dtype)
    if not wants_x:
        return None, to_weight
    to_x = _times(g, weight).to(dtype)
    return (to_x.sum(0) if x.dim() == 2 else to_x), to_weight


def _times(a: Tensor, b: Tensor) -> Tensor:
    """Batched product; a batch of one goes through the plain product, which all threads share."""
    if max(len(t) if t.dim() == 3 else 1 for t in (a, b)) == 1:
        return torch.mm(_only(a), _only(b)).unsqueeze(0)
    return torch.matmul(a, b)


def _only(x: Tensor) -> Tensor:
    return x if x.dim() == 2 else x[0]
