"""Linear probes on a mixture of all layers: SUPERB's weighted sum, and the gated linear probe."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auricle.probes.contract import Inputs, ProbeConfig, classify, linear_layer, repeat
from auricle.probes.heads.layer_vectors import GatedHead, Source
from auricle.probes.heads.token_moments import training_moments
from auricle.tokens.token_set import TokenShape


@dataclass(frozen=True)
class WeightedSumConfig(ProbeConfig):
    """Settings of the weighted sum over layers (SUPERB, arXiv 2105.01051): softmax weights from 0, mean, linear.

    Averaging over tokens first is the same sum in another order. SUPERB's utterance head also projects to 256 between
    sum and mean.

    Attributes:
        source: a layer's vector: the `mean` of its valid tokens, its class token, or the mean over both.
        normalise: `train` standardises each dimension of each layer over the training clips, so that scale alone gives
            no layer more weight; `layer` normalises each token over the width (s3prl's option); `none`: SUPERB.
    """

    reads: ClassVar[Literal["tokens", "layers"]] = "layers"
    source: Source = "mean"
    normalise: Literal["train", "layer", "none"] = "train"


class WeightedSum(GatedHead):
    """`W sum_l a_l g_l + b` at S settings; `L + C (D + 1)` parameters each."""

    mean: Tensor
    scale_by: Tensor

    def __init__(
        self, config: WeightedSumConfig, shape: TokenShape, classes: int, settings: int, generator: torch.Generator
    ) -> None:
        L, D = shape.layers, shape.width
        scale: Literal["layer", "none"] = "layer" if config.normalise == "layer" else "none"
        super().__init__(config.source, scale, shape, torch.zeros(settings, L))
        self.config = config
        self.weight, self.bias = linear_layer(classes, D, settings, generator)
        self.register_buffer("mean", torch.zeros(settings, L, D))
        self.register_buffer("scale_by", torch.ones(settings, L, D))

    def calibrate(self, inputs: Iterable[Inputs]) -> None:
        if self.config.normalise != "train":
            return
        mean, std = training_moments(Inputs(piece.x.flatten(1)) for piece in inputs)
        self.mean.copy_(mean.view_as(self.mean[0]).expand_as(self.mean))
        self.scale_by.copy_((1 / std).view_as(self.mean[0]).expand_as(self.mean))

    def forward(self, inputs: Inputs, generator: torch.Generator | None = None) -> Tensor:
        # The statistics are the same for all settings.
        return classify(self.mix((inputs.x - self.mean[0]) * self.scale_by[0]), self.weight, self.bias)


@dataclass(frozen=True)
class GatedLinearConfig(ProbeConfig):
    """Settings of the layer-gated linear probe, a baseline of convex gated probing (arXiv 2602.16305).

    The paper specifies the gates and a layer norm; the rest is that of convex gated probing: vectors of length one in
    each layer, softmax gates that start equal at 1.

    Attributes:
        source: a layer's vector: the `mean` of its valid tokens, its class token, or the mean over both.
    """

    reads: ClassVar[Literal["tokens", "layers"]] = "layers"
    source: Source = "mean"


class GatedLinear(GatedHead):
    """`W LN(sum_l a_l g_l / |g_l|) + b` at S settings; `L + 2 D + C (D + 1)` parameters each."""

    def __init__(
        self, config: GatedLinearConfig, shape: TokenShape, classes: int, settings: int, generator: torch.Generator
    ) -> None:
        L, D = shape.layers, shape.width
        super().__init__(config.source, "length", shape, torch.ones(settings, L))
        self.config = config
        self.norm = LayerNorms(settings, (D,))
        self.weight, self.bias = linear_layer(classes, D, settings, generator)

    def forward(self, inputs: Inputs, generator: torch.Generator | None = None) -> Tensor:
        return classify(self.norm(self.mix(inputs.x)), self.weight, self.bias)


class LayerNorms(nn.Module):
    """Layer norm over the last axis (eps 1e-6) with each setting's own scale and shift.

    Args:
        settings: S.
        shape: of one setting's scale; its last axis is normalised.
    """

    def __init__(self, settings: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.weight = repeat(torch.ones(shape), settings)
        self.bias = repeat(torch.zeros(shape), settings)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `(S, B, ..., D)`."""
        return self.affine(F.layer_norm(x, x.shape[-1:], eps=1e-6))

    def affine(self, x: Tensor) -> Tensor:
        """Scale and shift normalised vectors, `(B, ..., D)` or `(S, B, ..., D)`."""
        return x * self.weight.unsqueeze(1) + self.bias.unsqueeze(1)
