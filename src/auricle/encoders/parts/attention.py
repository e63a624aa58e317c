"""Multi-head attention from a joint projection, with the fastest kernel for its shape and device, and its masks."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# Above this many tokens the quadratic probabilities outgrow the cache, and the fused kernel wins again.
_MOST_TOKENS = 400


class _ShortAttention(torch.autograd.Function):
    """Attention by batched matmuls that keep the probabilities.

    For the short sequences that masking leaves, the fused CPU kernel's backward in half precision takes two to seven
    times as long as these matmuls (97 to 305 tokens, AVX-512 with bfloat16). Accelerators and float32 don't need them.
    Passes without gradients use them as well, so that a replay (gradient caching) repeats its first pass exactly.
    """

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, heads: int, mask: Tensor | None) -> Tensor:
        B, N, width = qkv.shape
        d = width // 3 // heads
        q, k, v = qkv.view(B, N, 3, heads, d).permute(2, 0, 3, 1, 4).reshape(3, B * heads, N, d).unbind(0)
        with torch.autocast(qkv.device.type, enabled=False):
            scores = torch.bmm(q, k.transpose(1, 2)).mul_(d**-0.5)
            if mask is not None:
                scores.view(B, heads, N, N).masked_fill_(~mask, -torch.inf)
            p = torch.softmax(scores, -1)
            y = torch.bmm(p, v)
        ctx.save_for_backward(q, k, v, p)
        ctx.heads = heads
        return y.view(B, heads, N, d).transpose(1, 2).reshape(B, N, heads * d)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        q, k, v, p = ctx.saved_tensors
        B, N, D = grad.shape
        heads = ctx.heads
        d = D // heads
        g = grad.view(B, N, heads, d).transpose(1, 2).reshape(B * heads, N, d)
        out = g.new_empty(3, B * heads, N, d)
        torch.bmm(p.transpose(1, 2), g, out=out[2])
        slope = torch.bmm(g, v.transpose(1, 2))
        slope = torch._softmax_backward_data(slope, p, -1, p.dtype).mul_(d**-0.5)
        torch.bmm(slope, k, out=out[0])
        torch.bmm(slope.transpose(1, 2), q, out=out[1])
        return out.view(3, B, heads, N, d).permute(1, 3, 0, 2, 4).reshape(B, N, 3 * D), None, None


def joint_attention(qkv: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Return softmax(q k^T / sqrt(d)) v, heads side by side: `(B, N, D)`.

    Args:
        qkv: `(B, N, 3 D)`: queries, keys and values, each with its heads side by side.
        heads: number of heads.
        mask: `(B, 1, 1, N)` bool, True where keys count; None: all.
    """
    B, N, width = qkv.shape
    if qkv.device.type == "cpu" and qkv.dtype == torch.bfloat16 and N <= _MOST_TOKENS:
        return _ShortAttention.apply(qkv, heads, mask)
    # Strided views of one matmul's output: the fused kernels take them without a copy.
    q, k, v = qkv.view(B, N, 3, heads, width // 3 // heads).permute(2, 0, 3, 1, 4).unbind(0)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return y.transpose(1, 2).reshape(B, N, width // 3)


def key_mask(valid: Tensor | None, cls: int = 0) -> Tensor | None:
    """Return `(B, 1, 1, P + N)` bool, True where keys may be attended to; None where all may.

    A row without any valid key would make the softmax 0/0; such rows attend to all, and are never pooled.

    Args:
        valid: `(B, N)` bool, False for tokens of padding; None: none is.
        cls: P, class tokens in front of the others, always valid.
    """
    if valid is None:
        return None
    valid = torch.cat([valid.new_ones(valid.shape[0], cls), valid], 1) if cls else valid
    return (valid | ~valid.any(1, keepdim=True))[:, None, None]


def drop_path(branch: Tensor, rate: float, training: bool) -> Tensor:
    """Zero the branch of whole samples in training, with chance `rate`, and scale up the others (stochastic depth).

    The draws come from torch's global generator: a replay from a saved generator state makes the same ones.
    """
    if not training or rate == 0.0:
        return branch
    shape = (branch.shape[0], *[1] * (branch.dim() - 1))
    return branch * (torch.rand(shape, device=branch.device).lt(1.0 - rate).to(branch.dtype) / (1.0 - rate))
