"""Losses of the probes, one value a setting: cross-entropy, binary cross-entropy, asymmetric loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from auricle.config import Config, nearest
from auricle.errors import ConfigError


@dataclass(frozen=True)
class LossConfig(Config):
    """What a probe minimises.

    Attributes:
        name: `ce` for one label a clip (softmax), `bce` and `asl` for any number (sigmoid a class).
        gamma_neg: focusing of negatives in `asl`.
        gamma_pos: focusing of positives in `asl`.
        margin: shift of the negatives' probability in `asl`.
    """

    name: Literal["ce", "bce", "asl"] = "ce"
    gamma_neg: float = 4.0
    gamma_pos: float = 1.0
    margin: float = 0.05

    @property
    def single(self) -> bool:
        """Whether each clip has exactly one label."""
        return self.name == "ce"

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over clips (and classes) for each setting, `(S,)`.

        Args:
            logits: `(S, B, C)`.
            targets: `(B,)` int64 for `ce`, `(B, C)` zeros and ones for the others.
        """
        S, B, C = logits.shape
        if self.name == "ce":
            rows = targets.expand(S, B).reshape(S * B)
            return F.cross_entropy(logits.reshape(S * B, C), rows, reduction="none").view(S, B).mean(1)
        y = targets.to(logits.dtype).expand(S, B, C)
        if self.name == "bce":
            return F.binary_cross_entropy_with_logits(logits, y, reduction="none").mean((1, 2))
        return asymmetric(logits, y, self.gamma_neg, self.gamma_pos, self.margin).mean((1, 2))

    def scores(self, logits: Tensor) -> Tensor:
        """Turn logits `(..., C)` into probabilities of classes."""
        return logits.softmax(-1) if self.name == "ce" else logits.sigmoid()


# `asl` as Bird-MAE sets it, `asl_bat` as BAT does for AudioSet (arXiv 2504.12880; 2602.16305).
LOSSES = {
    "ce": LossConfig(name="ce"),
    "bce": LossConfig(name="bce"),
    "asl": LossConfig(name="asl"),
    "asl_bat": LossConfig(name="asl", gamma_neg=1.0, gamma_pos=0.0, margin=0.0),
}


def get_loss(loss: str | LossConfig) -> LossConfig:
    """Return the settings behind a name.

    Raises:
        ConfigError: the name is unknown.
    """
    if isinstance(loss, LossConfig):
        return loss
    if loss not in LOSSES:
        raise ConfigError(f"unknown loss {loss!r}{nearest(loss, LOSSES)}")
    return LOSSES[loss]


def asymmetric(logits: Tensor, y: Tensor, gamma_neg: float, gamma_pos: float, margin: float) -> Tensor:
    """Asymmetric loss of each element as Bird-MAE implements it; the gradient flows through the focusing weights."""
    p = logits.sigmoid()
    q = (1 - p + margin).clamp(max=1)
    eps = 1e-8
    positive = y * (1 - p) ** gamma_pos * torch.log(p.clamp(min=eps))
    negative = (1 - y) * (1 - q) ** gamma_neg * torch.log(q.clamp(min=eps))
    return -(positive + negative)
