from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from auricle.errors import ConfigError
from auricle.objectives.contrastive.ntxent import nt_xent


def slow_loss(z0: np.ndarray, z1: np.ndarray, temperature: float) -> tuple[float, float]:
    """A plain double loop in float64."""
    z = np.concatenate([z0, z1]).astype(np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    n, total, hits = len(z0), 0.0, 0
    for i in range(2 * n):
        partner = (i + n) % (2 * n)
        logits = {j: float(z[i] @ z[j]) / temperature for j in range(2 * n) if j != i}
        total += math.log(sum(math.exp(v) for v in logits.values())) - logits[partner]
        hits += max(logits, key=lambda j: logits[j]) == partner
    return total / (2 * n), hits / (2 * n)


def dense_loss(z0: torch.Tensor, z1: torch.Tensor, temperature: float) -> torch.Tensor:
    """The full-matrix form, differentiated by autograd."""
    z = torch.nn.functional.normalize(torch.cat([z0, z1]), dim=1)
    logits = (z @ z.T / temperature).masked_fill(torch.eye(len(z), dtype=torch.bool), -torch.inf)
    n = len(z0)
    return torch.nn.functional.cross_entropy(logits, (torch.arange(2 * n) + n) % (2 * n))


def pair(n: int, D: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z0 = torch.randn(n, D, generator=generator, dtype=torch.float64)
    return z0, z0 + torch.randn(n, D, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("temperature", "expected"), [(0.1, 0.0326491235), (0.5, 1.2367351678)])
def test_golden_values(temperature: float, expected: float) -> None:
    i, k = torch.arange(8, dtype=torch.float64)[:, None], torch.arange(128, dtype=torch.float64)[None]
    p = 0.3 * i + 0.11 * k * (1 + 0.1 * i)
    result = nt_xent(p.sin(), (p + 0.4 * (i + k).cos()).sin(), temperature)
    assert float(result.loss) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("chunk", [None, 1, 5, 7, 64])
def test_value_against_a_loop(chunk: int | None) -> None:
    z0, z1 = pair(11, 6)
    loss, accuracy = slow_loss(z0.numpy(), z1.numpy(), 0.2)
    result = nt_xent(z0, z1, 0.2, chunk=chunk)
    assert float(result.loss) == pytest.approx(loss, abs=1e-12)
    assert float(result.accuracy) == pytest.approx(accuracy)


@pytest.mark.parametrize("n", [4, 64])
@pytest.mark.parametrize("chunk", [None, 9])
def test_gradients_against_autograd(n: int, chunk: int | None) -> None:
    z0, z1 = (z.requires_grad_() for z in pair(n, 16))
    expected = torch.autograd.grad(dense_loss(z0, z1, 0.1) * 1.7, (z0, z1))
    found = torch.autograd.grad(nt_xent(z0, z1, 0.1, chunk=chunk).loss * 1.7, (z0, z1))
    for f, e in zip(found, expected, strict=True):
        assert (f - e).norm() / e.norm() < 1e-12


def test_gradcheck() -> None:
    z0, z1 = (z.requires_grad_() for z in pair(5, 4))
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(a, b, 0.5, chunk=3).loss, (z0, z1))


def test_own_rows_average_to_the_whole() -> None:
    z0, z1 = (z.requires_grad_() for z in pair(12, 8))
    whole = nt_xent(z0, z1, 0.1)
    parts = [nt_xent(z0, z1, 0.1, chunk=5, rows=slice(start, start + 4)) for start in (0, 4, 8)]
    mean = torch.stack([part.loss for part in parts]).mean()
    torch.testing.assert_close(mean, whole.loss, rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.stack([p.accuracy for p in parts]).mean(), whole.accuracy)
    for f, e in zip(torch.autograd.grad(mean, (z0, z1)), torch.autograd.grad(whole.loss, (z0, z1)), strict=True):
        torch.testing.assert_close(f, e, rtol=1e-10, atol=1e-14)


def test_never_a_full_matrix() -> None:
    """The largest tensor that forward and backward make is a chunk, however large the batch."""
    n, chunk = 512, 32
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            for t in out if isinstance(out, tuple | list) else [out]:
                if isinstance(t, torch.Tensor):
                    largest = max(largest, t.numel())
            return out

    z0, z1 = (z.requires_grad_() for z in pair(n, 8))
    with Watch():
        nt_xent(z0, z1, 0.1, chunk=chunk).loss.backward()
    assert largest == chunk * 2 * n
    assert z0.grad is not None


def test_chance_and_collapse() -> None:
    z = torch.ones(6, 4)
    result = nt_xent(z, z, 0.1)
    assert float(result.loss) == pytest.approx(math.log(11), abs=1e-5)
    assert float(result.accuracy) < 0.3  # a collapsed space must not look solved


def test_half_precision_is_computed_in_float32() -> None:
    z0, z1 = pair(16, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = nt_xent(z0.float(), z1.float(), 0.1)
    assert result.loss.dtype == torch.float32
    assert float(result.loss) == pytest.approx(slow_loss(z0.numpy(), z1.numpy(), 0.1)[0], abs=1e-5)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="two of one shape"):
        nt_xent(torch.ones(3, 2), torch.ones(4, 2))
    with pytest.raises(ConfigError, match="at least 2"):
        nt_xent(torch.ones(1, 2), torch.ones(1, 2))
    with pytest.raises(ConfigError, match="positive"):
        nt_xent(torch.ones(2, 2), torch.ones(2, 2), 0.0)
