"""Adam with a learning rate for each row of the settings axis, as the evaluation kits use it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.adam import adam

from auricle.probes.contract import ProbeHead


class SettingsAdam:
    """Adam over a head whose parameters are `(S, ...)`: one step equals S steps of `torch.optim.Adam`.

    Args:
        head: the head to train.
        lr: S learning rates.
        weight_decay: L2 penalty that is added to the gradient (not decoupled).
        clip: largest norm of one setting's whole gradient; 0: not clipped.
    """

    def __init__(self, head: ProbeHead, lr: list[float], *, weight_decay: float = 0.0, clip: float = 0.0) -> None:
        self.head, self.lr, self.weight_decay, self.clip = head, list(lr), weight_decay, clip
        self.first = [torch.zeros_like(p) for p in head.parameters()]
        self.second = [torch.zeros_like(p) for p in head.parameters()]
        device = next(head.parameters()).device
        self.steps = [[torch.zeros((), device=device) for _ in self.first] for _ in lr]

    @torch.no_grad()
    def step(self, factors: list[float]) -> None:
        """Update all parameters; `factors` scale each setting's learning rate (the schedule)."""
        held = [
            (p, p.grad, m, v)
            for p, m, v in zip(self.head.parameters(), self.first, self.second, strict=True)
            if p.grad is not None
        ]
        if self.clip:
            self._clip([grad for _, grad, _, _ in held if grad is not None])
        for row, (lr, factor) in enumerate(zip(self.lr, factors, strict=True)):
            # One setting at a time, so that its tensors stay in the cache while torch's fused kernel runs.
            adam(
                [p[row] for p, _, _, _ in held],
                [grad[row] for _, grad, _, _ in held if grad is not None],
                [m[row] for _, _, m, _ in held],
                [v[row] for _, _, _, v in held],
                [],
                self.steps[row][: len(held)],
                fused=True,
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=lr * factor,
                weight_decay=self.weight_decay,
                eps=1e-8,
                maximize=False,
            )

    def keep(self, rows: list[int]) -> None:
        """Drop the settings that are not in `rows`; call after `head.keep`."""
        self.lr, self.steps = [self.lr[r] for r in rows], [self.steps[r] for r in rows]
        self.first = [m[rows].clone() for m in self.first]
        self.second = [v[rows].clone() for v in self.second]

    def _clip(self, grads: list[Tensor]) -> None:
        squares = torch.stack([g.flatten(1).square().sum(1) for g in grads]).sum(0)
        scale = (self.clip / (squares.sqrt() + 1e-6)).clamp(max=1.0)
        for g in grads:
            g.mul_(scale.view(-1, *[1] * (g.dim() - 1)))
