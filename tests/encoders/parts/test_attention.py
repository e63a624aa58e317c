from __future__ import annotations

import math

import pytest
import torch

from auricle.encoders.parts.attention import joint_attention


def slow_attention(qkv: torch.Tensor, heads: int, mask: torch.Tensor | None) -> torch.Tensor:
    """Loops over clips, heads and queries, differentiable."""
    B, width = qkv.shape[0], qkv.shape[2]
    D, rows = width // 3, []
    d = D // heads
    for b in range(B):
        q, k, v = qkv[b].split(D, 1)
        parts = []
        for h in range(heads):
            cut = slice(h * d, (h + 1) * d)
            logits = q[:, cut] @ k[:, cut].T / math.sqrt(d)
            if mask is not None:
                logits = logits.masked_fill(~mask[b, 0], -torch.inf)
            parts.append(logits.softmax(1) @ v[:, cut])
        rows.append(torch.cat(parts, 1))
    return torch.stack(rows)


def data(masked: bool, dtype: torch.dtype, N: int = 13) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(2, N, 3 * 16, generator=generator, dtype=torch.float64).to(dtype)
    mask = torch.arange(N)[None, None, None] < torch.tensor([N, 5])[:, None, None, None] if masked else None
    return qkv, mask, torch.randn(2, N, 16, generator=generator, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.02)]
)
def test_value_and_gradient_against_a_loop(masked: bool, dtype: torch.dtype, tolerance: float) -> None:
    qkv, mask, slope = data(masked, dtype)
    exact = qkv.double().clone().requires_grad_()
    expected = slow_attention(exact, 4, mask)
    expected.backward(slope.double())
    ours = qkv.requires_grad_()
    found = joint_attention(ours, 4, mask)
    found.backward(slope)
    assert found.dtype == dtype
    for f, e in ((found, expected), (ours.grad, exact.grad)):
        assert f is not None
        assert e is not None
        assert (f.double() - e).norm() / e.norm() < tolerance


def test_half_precision_kernels_agree() -> None:
    """Short and long sequences take different kernels; both are the same attention."""
    qkv, mask, _ = data(True, torch.bfloat16, N=40)
    short = joint_attention(qkv, 4, mask).float()
    q, k, v = qkv.view(2, 40, 3, 4, 4).permute(2, 0, 3, 1, 4).unbind(0)
    fused = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    fused = fused.transpose(1, 2).reshape(2, 40, 16).float()
    assert (fused - short).norm() / fused.norm() < 0.02


def test_with_and_without_gradients_are_bit_equal() -> None:
    """Gradient caching's first pass has no graph, its replay has."""
    for dtype in (torch.bfloat16, torch.float32):
        qkv, mask, _ = data(True, dtype, N=40)
        with torch.no_grad():
            first = joint_attention(qkv, 4, mask)
        assert torch.equal(first, joint_attention(qkv.requires_grad_(), 4, mask))
