"""AdamW with a learning rate and a weight decay for each setting."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from auricle.probes.contract import ProbeHead


def cosine(step: int, steps: int) -> float:
    """Return the factor of the learning rate at `step` of `steps`, from 1 down to 0 (cosine annealing, no warm-up)."""
    return 0.5 * (1 + math.cos(math.pi * step / steps))


class SettingsAdamW:
    """AdamW (decoupled decay on all parameters) over a head whose parameters are `(S, ...)`.

    Each row of a tensor has its own learning rate, so that one step of S settings equals S steps of
    `torch.optim.AdamW`.

    Args:
        head: the head to train.
        lr: `(S,)` peak learning rates.
        weight_decay: `(S,)`.
        betas: decay of the two moments.
        eps: added to the root of the second moment.
    """

    def __init__(
        self,
        head: ProbeHead,
        lr: Tensor,
        weight_decay: Tensor,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        self.head = head
        self.lr, self.weight_decay = lr, weight_decay
        self.betas, self.eps = betas, eps
        self.steps = 0
        self.first = [torch.zeros_like(p) for p in head.parameters()]
        self.second = [torch.zeros_like(p) for p in head.parameters()]

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """Update all parameters from their gradients; `factor` scales every learning rate (the schedule)."""
        self.steps += 1
        b1, b2 = self.betas
        c1, c2 = 1 - b1**self.steps, 1 - b2**self.steps
        for p, m, v in zip(self.head.parameters(), self.first, self.second, strict=True):
            if p.grad is None:
                continue
            lr = (self.lr * factor).view(-1, *[1] * (p.dim() - 1))
            decay = self.weight_decay.view_as(lr)
            m.lerp_(p.grad, 1 - b1)
            v.mul_(b2).addcmul_(p.grad, p.grad, value=1 - b2)
            update = m / v.sqrt().div_(c2**0.5).add_(self.eps)
            p.mul_(1 - lr * decay).sub_(update.mul_(lr / c1))

    def keep(self, rows: Tensor) -> None:
        """Drop the settings that are not in `rows (K,)`; call after `head.keep(rows)`."""
        self.lr, self.weight_decay = self.lr[rows], self.weight_decay[rows]
        self.first = [m[rows].clone() for m in self.first]
        self.second = [v[rows].clone() for v in self.second]
