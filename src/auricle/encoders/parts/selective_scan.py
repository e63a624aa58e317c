"""The selective scan: a linear recurrence whose rates depend on the input, in time and memory linear in the length.

    h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t        y_t = C_t h_t

Source: Mamba, arXiv 2312.00752, section 3 and algorithm 2 (zero-order hold for A, Euler for B, as its code does).

Letters in shapes: B clips, L steps, E channels, N states per channel.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# Steps whose states exist at once. Backward computes the states again, stretch by stretch, from the state at each
# stretch's start, so that the states of all L steps never exist together.
STRETCH = 16


def selective_scan(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Run the recurrence along the steps; half precision inputs are computed and returned in float32.

    Args:
        x: `(B, L, E)` input.
        dt: `(B, L, E)` step sizes, positive. A step of size zero leaves the state as it is.
        A: `(E, N)`, or `(B, E, N)` for rates per clip; negative.
        B: `(B, L, N)` weights of the input to the states.
        C: `(B, L, N)` weights of the states to the output.
        state: `(B, E, N)` last state of the previous chunk; None: zeros.

    Returns:
        `(B, L, E)` output and `(B, E, N)` the last state. Gradients flow through both.
    """
    full = torch.promote_types(torch.promote_types(x.dtype, A.dtype), torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        x, dt, A, B, C = (v.to(full) for v in (x, dt, A, B, C))
        if state is None:
            state = x.new_zeros(x.shape[0], x.shape[2], A.shape[-1])
        tracked = (x, dt, A, B, C, state)
        keep = torch.is_grad_enabled() and any(v.requires_grad for v in tracked)
        # Steps first, so that one step is contiguous in memory.
        first = [v.transpose(0, 1).contiguous() for v in (x, dt, B, C)]
        y, last = _Scan.apply(first[0], first[1], A, first[2], first[3], state.to(full), keep)
    return y.transpose(0, 1), last


def _states(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """Return the decays and the states `(S, B, E, N)` of one stretch that starts from the state `h`."""
    decay = (dt.unsqueeze(-1) * A).exp_()
    states = (dt * x).unsqueeze(-1) * B.unsqueeze(-2)
    # Unbound views: indexing a large tensor in a loop makes naive scans slow.
    for a, s in zip(decay.unbind(0), states.unbind(0), strict=True):
        h = s.addcmul_(a, h)
    return decay, states


class _Scan(torch.autograd.Function):
    """The recurrence with its own backward, steps first."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor, keep: bool
    ) -> tuple[Tensor, Tensor]:
        h, starts, y = state, [], torch.empty_like(x)
        for place in range(0, x.shape[0], STRETCH):
            cut = slice(place, place + STRETCH)
            if keep:
                starts.append(h)
            _, states = _states(x[cut], dt[cut], A, B[cut], h)
            torch.matmul(states, C[cut].unsqueeze(-1), out=y[cut].unsqueeze(-1))
            # A copy: a view would keep the whole stretch in memory.
            h = states[-1].clone()
        if keep:
            ctx.save_for_backward(x, dt, A, B, C, *starts)
        # Not the caller's own tensor, even if there was no step.
        return y, h if x.shape[0] else h.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        gy, gh = grads
        x, dt, A, B, C, *starts = ctx.saved_tensors
        gx, gdt, gB, gC, gA = (torch.empty_like(v) for v in (x, dt, B, C, A))
        gA.zero_()
        with torch.autocast(x.device.type, enabled=False):
            for number in reversed(range(len(starts))):
                cut = slice(number * STRETCH, (number + 1) * STRETCH)
                decay, states = _states(x[cut], dt[cut], A, B[cut], starts[number])
                torch.matmul(gy[cut].unsqueeze(-2), states, out=gC[cut].unsqueeze(-2))
                # The gradient of each state: from its own output, and through the next state.
                worth = gy[cut].unsqueeze(-1) * C[cut].unsqueeze(-2)
                for w, a in zip(reversed(worth.unbind(0)), reversed(decay.unbind(0)), strict=True):
                    w.add_(gh)
                    gh = w * a
                into = torch.matmul(worth, B[cut].unsqueeze(-1)).squeeze(-1)
                torch.matmul((dt[cut] * x[cut]).unsqueeze(-2), worth, out=gB[cut].unsqueeze(-2))
                before = torch.cat([starts[number].unsqueeze(0), states[:-1]])
                # From here on `worth` is the gradient of dt * A.
                worth.mul_(decay).mul_(before)
                gx[cut] = into * dt[cut]
                gdt[cut] = into * x[cut] + (worth * A).sum(-1)
                gA += _like(worth.mul_(dt[cut].unsqueeze(-1)), A)
        return gx, gdt, gA, gB, gC, gh, None


def _like(grad: Tensor, A: Tensor) -> Tensor:
    """Sum `(S, B, E, N)` over steps, and over clips where all share one A."""
    return grad.sum((0, 1)) if A.dim() == 2 else grad.sum(0)
