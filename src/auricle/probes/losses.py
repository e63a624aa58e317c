"""Losses of the probes, one value a setting, and the scaling of numbers to predict.

Labels may be soft: mixing two clips mixes their labels, and each loss is linear in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from auricle.config import Config, NonNegative, Positive, Share, nearest
from auricle.errors import ConfigError

Name = Literal["ce", "bce", "asl", "mse", "mae", "huber"]
_OF_NUMBERS = ("mse", "mae", "huber")


@dataclass(frozen=True)
class LossConfig(Config):
    """Loss of a probe.

    Attributes:
        name: `ce` for one label a clip (softmax), `bce` and `asl` for several (sigmoid a class); `mse`, `mae` and
            `huber` for numbers (`fit_probe` standardises them by the training clips' mean and deviation first).
        gamma_neg: focusing of negatives in `asl`.
        gamma_pos: focusing of positives in `asl`.
        margin: shift of the negatives' probability in `asl`.
        delta: where `huber` turns from squared to absolute, in standard deviations of the target.
    """

    name: Name = "ce"
    gamma_neg: NonNegative = 4.0
    gamma_pos: NonNegative = 1.0
    margin: Share = 0.05
    delta: Positive = 1.0

    @property
    def single(self) -> bool:
        """Whether each clip has exactly one label."""
        return self.name == "ce"

    @property
    def regression(self) -> bool:
        """Whether targets are numbers instead of labels."""
        return self.name in _OF_NUMBERS

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over clips (and classes, or target dimensions) for each setting, `(S,)`.

        Args:
            logits: `(S, B, C)`.
            targets: `(B,)` int64 or `(B, C)` shares of one for `ce`, `(B, C)` zeros to ones for `bce` and `asl`,
                `(B, C)` numbers for the others.
        """
        S, B, C = logits.shape
        if self.name == "ce" and targets.dim() == 1:
            rows = targets.expand(S, B).reshape(S * B)
            return F.cross_entropy(logits.reshape(S * B, C), rows, reduction="none").view(S, B).mean(1)
        y = targets.to(logits.dtype).expand(S, B, C)
        if self.name == "ce":
            return -(y * logits.log_softmax(-1)).sum(-1).mean(1)
        return self._elements(logits, y).mean((1, 2))

    def _elements(self, logits: Tensor, y: Tensor) -> Tensor:
        if self.name == "bce":
            return F.binary_cross_entropy_with_logits(logits, y, reduction="none")
        if self.name == "mse":
            return F.mse_loss(logits, y, reduction="none")
        if self.name == "mae":
            return F.l1_loss(logits, y, reduction="none")
        if self.name == "huber":
            return F.huber_loss(logits, y, reduction="none", delta=self.delta)
        return asymmetric(logits, y, self.gamma_neg, self.gamma_pos, self.margin)

    def scores(self, logits: Tensor) -> Tensor:
        """Return probabilities of classes from logits `(..., C)`; numbers unchanged."""
        if self.regression:
            return logits
        return logits.softmax(-1) if self.name == "ce" else logits.sigmoid()


# `asl` as Bird-MAE sets it, `asl_bat` as BAT does for AudioSet (arXiv 2504.12880; 2602.16305).
LOSSES = {
    "ce": LossConfig(name="ce"),
    "bce": LossConfig(name="bce"),
    "asl": LossConfig(name="asl"),
    "asl_bat": LossConfig(name="asl", gamma_neg=1.0, gamma_pos=0.0, margin=0.0),
    "mse": LossConfig(name="mse"),
    "mae": LossConfig(name="mae"),
    "huber": LossConfig(name="huber"),
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


@dataclass(frozen=True)
class Scaling:
    """Mean and deviation of each target dimension over the training clips.

    Numbers are predicted standardised, because the published range of learning rates suits outputs of unit size.

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
        """Return targets `(..., K)` standardised, float32."""
        return ((targets.double() - self._like(targets, self.mean)) / self._like(targets, self.spread)).float()

    def restore(self, outputs: Tensor) -> Tensor:
        """Return a head's outputs `(..., K)` in the targets' own units."""
        scaled = outputs.double() * self._like(outputs, self.spread) + self._like(outputs, self.mean)
        return scaled.to(outputs.dtype)

    @staticmethod
    def _like(x: Tensor, values: tuple[float, ...]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=x.device)
