"""The heads of the evaluation kits, vectorised over learning rates: from one vector per clip or layer to logits.

HEAR's predictor, EVAR's linear layer, X-ARES's layer norm and linear layer, MARBLE's and SUPERB's sums over layers are
combinations of the same few parts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from auricle.config import Count, ShareBelowOne
from auricle.errors import ConfigError
from auricle.kits.block import EPS, hidden_block, setting_linear
from auricle.probes.contract import Inputs, ProbeConfig, ProbeHead, drop, linear_init, repeat
from auricle.probes.heads.best_tokens import fast_precision
from auricle.probes.heads.layer_vectors import layer_vectors
from auricle.probes.heads.token_moments import training_moments
from auricle.probes.heads.vectors import pool
from auricle.tokens.token_set import TokenBatch, TokenShape

_MOMENTUM = 0.1
# Below this many multiplications a layer costs less than converting it to bfloat16 and back.
_WORTH_FAST = 2**22


@dataclass(frozen=True)
class KitHeadConfig(ProbeConfig):
    """Settings of a kit's head.

    Attributes:
        source: the input: the encoder's own clip vector (`pooled`), or the `mean` of its valid tokens.
        standardise: mean 0 and deviation 1 over the training clips (EVAR); a constant dimension becomes 0.
        layer_norm: layer norm with scale and shift before everything else (X-ARES).
        hidden: widths of the hidden layers.
        batch_norm: between a hidden layer and its activation (HEAR).
        dropout: share of hidden activations that are dropped in training.
        activation: after each hidden layer; `none`: SUPERB's projection has none.
        init: of the linear layers' weights: torch's own, or Xavier with gain 1 for the first and sqrt(2) for each
            later one (HEAR); biases start as torch's own.
        precision: `exact`: float32; `fast`: products in bfloat16; `auto`: `fast` where the processor supports bfloat16.
            Small layers are always exact.
    """

    source: Literal["pooled", "mean"] = "pooled"
    standardise: bool = False
    layer_norm: bool = False
    hidden: tuple[Count, ...] = ()
    batch_norm: bool = False
    dropout: ShareBelowOne = 0.0
    activation: Literal["relu", "none"] = "relu"
    init: Literal["torch", "xavier_uniform", "xavier_normal"] = "torch"
    precision: Literal["auto", "exact", "fast"] = "auto"

    def __post_init__(self) -> None:
        if self.batch_norm and self.activation != "relu":
            raise ConfigError("batch norm needs activation 'relu' (HEAR's predictor); set that, or no batch norm")

    def build(self, shape: TokenShape, classes: int, *, settings: int, generator: torch.Generator) -> KitHead:
        width = shape.pooled_width if self.source == "pooled" else shape.width
        return KitHead(self, width, classes, settings, generator)


@dataclass(frozen=True)
class KitLayersHeadConfig(KitHeadConfig):
    """Settings of a kit's head over all layers: a softmax-weighted sum of the layers' means, then the rest.

    Averaging each layer over its tokens first is the same sum in another order; SUPERB's projection has no activation
    and may follow the mean as well. So tokens are read once, for any number of training steps.

    Attributes:
        weights: initial weights of the layers: all 0 (SUPERB), or drawn from a normal distribution (MARBLE).
    """

    reads: ClassVar[Literal["tokens", "layers"]] = "layers"
    source: Literal["pooled", "mean"] = "mean"
    weights: Literal["zeros", "normal"] = "zeros"

    def build(self, shape: TokenShape, classes: int, *, settings: int, generator: torch.Generator) -> KitHead:
        start = torch.zeros(shape.layers)
        if self.weights == "normal":
            start.normal_(generator=generator)
        return KitHead(self, shape.width, classes, settings, generator, layers=start)


class KitHead(ProbeHead):
    """A kit's head at S settings. Parameters as in the kit: `w0`, `b0`, (`gain0`, `shift0`), `w1` ..."""

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        config: KitHeadConfig,
        width: int,
        classes: int,
        settings: int,
        generator: torch.Generator,
        layers: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        if layers is not None:
            self.layer_weights = repeat(layers, settings)
        if config.layer_norm:
            self.norm_gain = repeat(torch.ones(width), settings)
            self.norm_shift = repeat(torch.zeros(width), settings)
        if config.standardise:
            self.register_buffer("mean", torch.zeros(settings, width))
            self.register_buffer("scale", torch.ones(settings, width))
        sizes = (width, *config.hidden, classes)
        for k, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
            self.register_parameter(f"w{k}", repeat(_start(config.init, fan_out, fan_in, k, generator), settings))
            self.register_parameter(f"b{k}", repeat(linear_init((fan_out,), fan_in, generator), settings))
            if config.batch_norm and k < len(config.hidden):
                self.register_parameter(f"gain{k}", repeat(torch.ones(fan_out), settings))
                self.register_parameter(f"shift{k}", repeat(torch.zeros(fan_out), settings))
                self.register_buffer(f"running_mean{k}", torch.zeros(settings, fan_out))
                self.register_buffer(f"running_var{k}", torch.ones(settings, fan_out))

    def read(self, batch: TokenBatch) -> Inputs:
        if self.config.reads == "layers":
            return Inputs(layer_vectors(batch, "mean", scale="none"))
        return Inputs(pool(batch, self.config.source))

    def calibrate(self, inputs: Iterable[Inputs]) -> None:
        if self.config.standardise:
            mean, std = training_moments(inputs)
            self.mean.copy_(mean.to(self.mean).expand_as(self.mean))
            self.scale.copy_((1 / std).to(self.scale).expand_as(self.scale))

    def forward(self, inputs: Inputs, generator: torch.Generator | None = None) -> Tensor:
        x, config = inputs.x, self.config
        if config.reads == "layers":
            x = torch.einsum("sl,bld->sbd", self.layer_weights.softmax(-1), x)
        if config.standardise:
            # The statistics are those of the clips, equal for all settings.
            x = (x - self.mean[0]) * self.scale[0]
        if config.layer_norm:
            x = F.layer_norm(x, x.shape[-1:], eps=EPS) * self.norm_gain.unsqueeze(1) + self.norm_shift.unsqueeze(1)
        for k in range(len(config.hidden)):
            x = self._hidden(k, x, generator)
        last = len(config.hidden)
        return setting_linear(x, self._part("w", last), self._part("b", last))

    def _hidden(self, k: int, x: Tensor, generator: torch.Generator | None) -> Tensor:
        weight, bias, config = self._part("w", k), self._part("b", k), self.config
        fast = weight[0].numel() * x.shape[-2] > _WORTH_FAST and fast_precision(config.precision, x.device)
        if not config.batch_norm:
            x = setting_linear(x, weight, bias, fast=fast)
            x = F.relu(x) if config.activation == "relu" else x
            return drop(x, config.dropout, generator) if self.training else x
        gain, shift = self._part("gain", k), self._part("shift", k)
        mean, variance = self._part("running_mean", k), self._part("running_var", k)
        if not self.training:
            scale = gain * (variance + EPS).rsqrt()
            y = setting_linear(x, weight, fast=fast)
            return torch.addcmul((shift + (bias - mean) * scale).unsqueeze(1), y, scale.unsqueeze(1)).clamp_(min=0)
        B = x.shape[-2]
        mask = _mask(B, weight.shape[1], config.dropout, generator, x.device)
        h, batch_mean, batch_variance = hidden_block(x, weight, gain, shift, mask, fast=fast)
        # The bias cancels out of the activations, but not out of the running mean.
        mean.lerp_(batch_mean + bias.detach(), _MOMENTUM)
        variance.lerp_(batch_variance * (B / (B - 1)), _MOMENTUM)
        return h

    def _part(self, name: str, k: int) -> Tensor:
        part: Tensor = getattr(self, f"{name}{k}")
        return part


def _mask(
    clips: int, width: int, share: float, generator: torch.Generator | None, device: torch.device
) -> Tensor | None:
    """Dropout's mask, one for all settings: zeros and 1 / (1 - share)."""
    if share == 0:
        return None
    # Four 16-bit draws in each 64-bit one: a fifth of the time of one draw per activation, for a share exact to 1e-5.
    draws = torch.empty(-(-clips * width // 4), dtype=torch.int64, device=device)
    draws.random_(-(2**63), None, generator=generator)
    keep = draws.view(torch.int16)[: clips * width] >= round(share * 2**16) - 2**15
    return keep.view(clips, width).float().div_(1 - share)


def _start(init: str, out: int, fan_in: int, layer: int, generator: torch.Generator) -> Tensor:
    if init == "torch":
        return linear_init((out, fan_in), fan_in, generator)
    weight = torch.empty(out, fan_in)
    gain = torch.nn.init.calculate_gain("linear" if layer == 0 else "relu")
    draw = torch.nn.init.xavier_uniform_ if init == "xavier_uniform" else torch.nn.init.xavier_normal_
    return draw(weight, gain=gain, generator=generator)
