"""Targets that a slow teacher computes: its hidden states, normalised and averaged, or its clip vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from auricle.config import nearest
from auricle.encoders.contract import Encoder
from auricle.errors import ConfigError
from auricle.objectives.targets.target import Lifecycle, MaskedBatch, Target, TargetConfig, TeacherSight

Tensors = Literal["feedforward", "block"]
Norms = Literal["instance", "layer", "none"]


@dataclass(frozen=True)
class TeacherTargetConfig(TargetConfig):
    """A slow teacher's latents (data2vec, arXiv 2202.03555, section 3.3; EAT, arXiv 2401.03497, section 3.2).

    Attributes:
        layers: how many of the top layers are averaged; 0: all of them; -1: the teacher's output instead.
        tensor: of each layer, its `feedforward` branch before the residual, or its `block` output.
        per_layer: normalise each layer's channels over a clip's tokens (`instance`), each token (`layer`), or not
            (`none`).
        after: the same choice for the average: `none`, `layer` (each token), `instance`.
        sight: what the teacher sees: `all` of the clean view, or (M2D, arXiv 2210.14648) the `masked` tokens only.
    """

    layers: int = 0
    tensor: Tensors = "feedforward"
    per_layer: Norms = "instance"
    after: Norms = "none"
    sight: TeacherSight = "all"

    def __post_init__(self) -> None:
        if self.layers < -1:
            raise ConfigError(f"found {self.layers} layers; expected how many of the top ones, 0 (all), or -1 (output)")
        names: tuple[tuple[str, str, object], ...] = (
            ("tensor", self.tensor, Tensors), ("per_layer", self.per_layer, Norms), ("after", self.after, Norms),
            ("sight", self.sight, TeacherSight),
        )  # fmt: skip
        for name, value, known in names:
            if value not in get_args(known):
                raise ConfigError(f"unknown {name} {value!r}{nearest(value, get_args(known))}")


class TeacherTarget(Target):
    """`(B, N, D)`; with `sight` masked `(R, N, D)`, zeros where the teacher saw nothing."""

    lifecycle: ClassVar[Lifecycle] = "slow"

    def __init__(self, config: TeacherTargetConfig, encoder: Encoder) -> None:
        super().__init__()
        if config.layers > encoder.depth:
            raise ConfigError(
                f"the teacher's top {config.layers} layers are asked for and the encoder has {encoder.depth}; lower "
                "the target's layers"
            )
        self.config = config
        self.size = encoder.width
        count = encoder.depth if config.layers == 0 else max(0, config.layers)
        self.layers = tuple(range(encoder.depth - count + 1, encoder.depth + 1))

    @torch.no_grad()
    def forward(self, masked_batch: MaskedBatch) -> Tensor:
        config = self.config
        if masked_batch.teach is None:
            raise ConfigError("a teacher's latents are predicted and there is no teacher; set objective.teacher")
        seen = masked_batch.teach(config.sight, self.layers)
        with torch.autocast(seen.x.device.type, enabled=False):
            if not self.layers:
                mean = normalised(_full(seen.x), config.per_layer, seen.valid)
            else:
                mean = torch.zeros((), device=seen.x.device)
                for layer in seen.layers or ():
                    x = layer.block if config.tensor == "block" else layer.feedforward
                    if x is None:
                        raise ConfigError(
                            f"{type(masked_batch.encoder).__name__} has no feed-forward branches to read; set the target's "
                            "tensor to block"
                        )
                    mean = mean + normalised(_full(x), config.per_layer, seen.valid) / len(self.layers)
            mean = normalised(mean, config.after, seen.valid)
        if seen.index is None:
            return mean
        full = mean.new_zeros(mean.shape[0], seen.grid.tokens, mean.shape[2])
        return full.scatter(1, seen.index.unsqueeze(-1).expand_as(mean), mean)


def _full(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def normalised(x: Tensor, how: str, valid: Tensor | None, eps: float = 1e-5) -> Tensor:
    """Standardise `x (B, N, D)`: each channel over a clip's valid tokens (`instance`), each token (`layer`), or not."""
    if how == "none":
        return x
    if how == "layer":
        return F.layer_norm(x, x.shape[-1:], eps=eps)
    if valid is None:
        variance, mean = torch.var_mean(x, 1, keepdim=True, correction=0)
    else:
        weight = valid.unsqueeze(-1).to(x.dtype)
        count = weight.sum(1, keepdim=True).clamp(min=1)
        mean = (x * weight).sum(1, keepdim=True) / count
        variance = ((x - mean) * weight).square().sum(1, keepdim=True) / count
    return (x - mean) * (variance + eps).rsqrt()


@dataclass(frozen=True)
class TeacherClipTargetConfig(TargetConfig):
    """One vector a clip from a slow teacher: the mean over its tokens of what `tokens` describes (EAT, section 3.2).

    Attributes:
        tokens: the token target whose mean is taken.
    """

    tokens: TeacherTargetConfig = TeacherTargetConfig(after="layer")


class TeacherClipTarget(Target):
    """`(B, D)`: the mean over a clip's valid tokens."""

    lifecycle: ClassVar[Lifecycle] = "slow"
    clip = True

    def __init__(self, config: TeacherClipTargetConfig, encoder: Encoder) -> None:
        super().__init__()
        if config.tokens.sight != "all":
            raise ConfigError("a clip's vector is the mean over all its tokens; set the target's sight to all")
        self.tokens = TeacherTarget(config.tokens, encoder)
        self.size = self.tokens.size

    @torch.no_grad()
    def forward(self, masked_batch: MaskedBatch) -> Tensor:
        x = self.tokens(masked_batch)
        if masked_batch.valid is None:
            return x.mean(1)
        weight = masked_batch.valid.unsqueeze(-1).to(x.dtype)
        return (x * weight).sum(1) / weight.sum(1).clamp(min=1)
