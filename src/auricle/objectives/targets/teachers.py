"""Targets that a slow teacher computes: its hidden states, normalised and averaged, or its clip vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor

from auricle.encoders.contract import Encoder, Layer
from auricle.errors import ConfigError
from auricle.objectives.distributed import float32_or_wider
from auricle.objectives.targets.target import Lifecycle, MaskedBatch, Target, TargetConfig, TeacherSight

LayerTensor = Literal["feedforward", "block"]
Norm = Literal["instance", "layer", "none"]


@dataclass(frozen=True)
class TeacherTargetConfig(TargetConfig):
    """A slow teacher's latents (data2vec, arXiv 2202.03555, section 3.3; EAT, arXiv 2401.03497, section 3.2).

    Attributes:
        layers: number of top layers that are averaged; 0: all of them; -1: the teacher's output instead.
        tensor: of each layer, its `feedforward` branch before the residual, or its `block` output.
        per_layer: normalise each layer's channels over a clip's tokens (`instance`), each token (`layer`), or not
            (`none`).
        after: the same choice for the average: `none`, `layer` (each token), `instance`.
        sight: the teacher's input: `all` of the clean view, or (M2D, arXiv 2210.14648) the `masked` tokens only.
    """

    layers: Annotated[int, Ge(-1)] = 0
    tensor: LayerTensor = "feedforward"
    per_layer: Norm = "instance"
    after: Norm = "none"
    sight: TeacherSight = "all"


class TeacherTarget(Target):
    """`(B, N, D)`; with `sight` masked `(R, N, D)`, zeros outside the tokens that the teacher saw."""

    lifecycle: ClassVar[Lifecycle] = "slow"

    def __init__(self, config: TeacherTargetConfig, encoder: Encoder, generator: torch.Generator) -> None:
        super().__init__()
        if config.layers > encoder.depth:
            raise ConfigError(
                f"found the top {config.layers} layers of the teacher as targets, and the encoder has {encoder.depth}; "
                "lower the target's layers"
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
                mean = normalised(float32_or_wider(seen.x), config.per_layer, seen.valid)
            else:
                mean = torch.zeros((), device=seen.x.device)
                for layer in seen.layers or ():
                    x = float32_or_wider(layer_tensor(layer, config.tensor, masked_batch.encoder))
                    mean = mean + normalised(x, config.per_layer, seen.valid) / len(self.layers)
            mean = normalised(mean, config.after, seen.valid)
        if seen.index is None:
            return mean
        full = mean.new_zeros(mean.shape[0], seen.grid.tokens, mean.shape[2])
        return full.scatter(1, seen.index.unsqueeze(-1).expand_as(mean), mean)


def layer_tensor(layer: Layer, tensor: LayerTensor, encoder: Encoder) -> Tensor:
    """Return a layer's feed-forward branch before the residual, or its output.

    Raises:
        ConfigError: the encoder's layers have no feed-forward branch.
    """
    x = layer.block if tensor == "block" else layer.feedforward
    if x is None:
        raise ConfigError(
            f"{type(encoder).__name__} has no feed-forward branches to read; set the target's tensor to block"
        )
    return x


def normalised(x: Tensor, how: Norm, valid: Tensor | None, eps: float = 1e-5) -> Tensor:
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

    def __init__(self, config: TeacherClipTargetConfig, encoder: Encoder, generator: torch.Generator) -> None:
        super().__init__()
        if config.tokens.sight != "all":
            raise ConfigError("a clip's vector is the mean over all its tokens; set the target's sight to all")
        self.tokens = TeacherTarget(config.tokens, encoder, generator)
        self.size = self.tokens.size

    @torch.no_grad()
    def forward(self, masked_batch: MaskedBatch) -> Tensor:
        x = self.tokens(masked_batch)
        if masked_batch.valid is None:
            return x.mean(1)
        weight = masked_batch.valid.unsqueeze(-1).to(x.dtype)
        return (x * weight).sum(1) / weight.sum(1).clamp(min=1)
