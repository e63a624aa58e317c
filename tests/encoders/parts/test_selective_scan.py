"""The selective scan beside a slow loop, and what it remembers for gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from auricle.encoders.parts.selective_scan import STRETCH, selective_scan


def slow(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The recurrence, one number after the other where that is bearable."""
    h = torch.zeros(x.shape[0], x.shape[2], A.shape[-1], dtype=x.dtype) if h is None else h
    out = []
    for t in range(x.shape[1]):
        h = torch.exp(dt[:, t, :, None] * A) * h + (dt[:, t] * x[:, t])[..., None] * B[:, t, None]
        out.append((h * C[:, t, None]).sum(-1))
    return torch.stack(out, 1), h


def inputs(length: int, own: bool = False, seed: int = 0, clips: int = 3) -> list[Tensor]:
    g = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g, dtype=torch.float64)

    E, N = 5, 4
    A = -draw(*((clips, E, N) if own else (E, N))).abs()
    return [
        draw(clips, length, E),
        draw(clips, length, E).abs() * 0.3,
        A,
        draw(clips, length, N),
        draw(clips, length, N),
    ]


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("length", [1, STRETCH, STRETCH + 1, 75])
def test_output_state_and_gradients_equal_the_slow_loop(length: int, own: bool) -> None:
    start = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    ours = [v.clone().requires_grad_() for v in (*inputs(length, own), start)]
    theirs = [v.clone().requires_grad_() for v in (*inputs(length, own), start)]
    y, h = selective_scan(*ours)
    wanted_y, wanted_h = slow(*theirs)
    torch.testing.assert_close(y, wanted_y, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(h, wanted_h, rtol=1e-12, atol=1e-12)
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ((y * weight).sum() + h.pow(2).sum()).backward()
    ((wanted_y * weight).sum() + wanted_h.pow(2).sum()).backward()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-10, atol=1e-10)


def test_gradients_equal_finite_differences() -> None:
    args = [v.requires_grad_() for v in inputs(20, clips=1)]
    assert torch.autograd.gradcheck(lambda *v: selective_scan(*v)[0], args, atol=1e-6)


def test_chunks_with_a_carried_state_equal_the_whole() -> None:
    x, dt, A, B, C = inputs(50)
    whole, last = selective_scan(x, dt, A, B, C)
    state, parts = None, []
    for cut in (slice(0, 7), slice(7, 8), slice(8, 50)):
        y, state = selective_scan(x[:, cut], dt[:, cut], A, B[:, cut], C[:, cut], state)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state, last, rtol=1e-12, atol=1e-12)


def test_a_step_of_size_zero_holds_the_state() -> None:
    x, dt, A, B, C = inputs(30)
    dt[:, 20:] = 0
    _, short = selective_scan(x[:, :20], dt[:, :20], A, B[:, :20], C[:, :20])
    _, held = selective_scan(x, dt, A, B, C)
    assert torch.equal(short, held)


def saved(length: int) -> tuple[int, int]:
    """Numbers kept for the backward pass, and the largest tensor among them beyond the inputs' size."""
    sizes: list[int] = []

    def note(t: Tensor) -> Tensor:
        sizes.append(t.numel())
        return t

    args = [v.requires_grad_() for v in inputs(length)]
    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        selective_scan(*args)
    return sum(sizes), max(sizes)


def test_memory_for_gradients_is_linear_in_the_length() -> None:
    steps = [8 * STRETCH, 16 * STRETCH, 32 * STRETCH]
    total = [saved(n)[0] for n in steps]
    # Twice the growth for twice the steps: affine, without a quadratic part.
    assert total[2] - total[1] == 2 * (total[1] - total[0])
    clips, E, N = 3, 5, 4
    # Inputs, and one state a stretch: never the states of all steps.
    per_step = clips * (2 * E + 2 * N) + clips * E * N / STRETCH
    assert (total[1] - total[0]) / (steps[1] - steps[0]) == pytest.approx(per_step)
    assert saved(steps[2])[1] <= clips * E * steps[2]


def test_without_gradients_nothing_is_kept() -> None:
    with torch.no_grad():
        y, _ = selective_scan(*[v.requires_grad_() for v in inputs(40)])
    assert y.grad_fn is None
    assert saved(STRETCH)[0] > 0


def test_half_precision_is_computed_in_float32() -> None:
    half = [v.to(torch.bfloat16) for v in inputs(40)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, h = selective_scan(*half)
    assert y.dtype == h.dtype == torch.float32
    exact, _ = slow(*(v.float() for v in half))
    torch.testing.assert_close(y, exact, rtol=1e-4, atol=1e-5)
