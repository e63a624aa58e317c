"""Numbers to predict, standardised while a probe is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Scaling:
    """Mean and deviation of each target dimension over the training clips.

    The published range of learning rates suits outputs of about unit size: hertz and semitones must not need ranges
    of their own.

    Attributes:
        mean: K means.
        spread: K standard deviations; 1 where a target never varies.
    """

    mean: tuple[float, ...]
    spread: tuple[float, ...]

    @classmethod
    def of(cls, targets: Tensor) -> Self:
        """Measure targets `(n, K)`."""
        x = targets.double()
        mean, spread = x.mean(0), x.std(0, correction=0)
        varies = (targets != targets[:1]).any(0)
        return cls(tuple(mean.tolist()), tuple(torch.where(varies, spread, 1.0).tolist()))

    def reduce(self, targets: Tensor) -> Tensor:
        """Return targets `(..., K)` as the head shall give them, float32."""
        return ((targets.double() - self._like(targets, self.mean)) / self._like(targets, self.spread)).float()

    def restore(self, outputs: Tensor) -> Tensor:
        """Return a head's outputs `(..., K)` in the targets' own units."""
        scaled = outputs.double() * self._like(outputs, self.spread) + self._like(outputs, self.mean)
        return scaled.to(outputs.dtype)

    @staticmethod
    def _like(x: Tensor, values: tuple[float, ...]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=x.device)
