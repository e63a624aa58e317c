"""Attention-based multiple-instance pooling: a perceptron scores each token (arXiv 2412.03215, `abmilp`).

With one layer the scores are one product with the tokens. Deeper scorers have a hidden vector for each token and
setting; they run in pieces and again for the gradient, so that memory does not grow with the settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from auricle.config import Count
from auricle.encoders.parts.positions import sincos_grid
from auricle.errors import ConfigError
from auricle.probes.contract import Inputs, linear_init, linear_layer, repeat
from auricle.probes.heads.pooled_head import AttentiveHead, PooledConfig, weigh
from auricle.probes.heads.recompute import per_setting
from auricle.tokens.token_set import TokenShape


@dataclass(frozen=True)
class AbmilpConfig(PooledConfig):
    """Settings of multiple-instance pooling.

    The default is that of the reference's class, depth 2 and tanh; the published command uses depth 1 and ReLU, which
    has no effect at depth 1 (probe `abmilp_depth1`).

    Attributes:
        depth: layers of the scorer; all but the last are as wide as the tokens.
        activation: between the layers.
        self_attention: one head of self-attention over the tokens, before the scorer only (`map`), or before the
            scorer and the pooling (`both`), or `none`.
        position: `sincos` adds two-dimensional sin-cos positions to the scorer's input, `none` does not.
    """

    depth: Count = 2
    activation: Literal["tanh", "relu"] = "tanh"
    self_attention: Literal["none", "map", "both"] = "none"
    position: Literal["none", "sincos"] = "none"


class Abmilp(AttentiveHead):
    """`sum_i softmax(MLP(z_i)) z_i` and a linear layer at S settings.

    The scorer has `(depth - 1) (D^2 + D) + D + 1` parameters, self-attention `4 D^2 + D`.
    """

    def __init__(
        self, config: AbmilpConfig, shape: TokenShape, classes: int, settings: int, generator: torch.Generator
    ) -> None:
        super().__init__(config, shape, settings)
        D = shape.width
        if config.position == "sincos" and D % 4:
            raise ConfigError(f"sin-cos positions need a width that 4 divides, found {D}; use 'none'")
        self.freq, self.depth, self.activation = shape.freq, config.depth, config.activation
        self.self_attention, self.position = config.self_attention, config.position
        for layer in range(config.depth):
            out = 1 if layer == config.depth - 1 else D
            weight, bias = linear_layer(out, D, settings, generator)
            self.register_parameter(f"score_weight{layer}", weight)
            self.register_parameter(f"score_bias{layer}", bias)
        if config.self_attention != "none":
            self.qkv = repeat(linear_init((3 * D, D), D, generator), settings)
            self.proj_weight, self.proj_bias = linear_layer(D, D, settings, generator)
        self._classifier(D, classes, settings, generator)

    def pool(self, inputs: Inputs) -> Tensor:
        x = self.standardised(inputs)
        weights = weigh(self._scores(x, inputs.valid), inputs.valid)
        if self.self_attention == "both":
            parts = [self.qkv, self.proj_weight, self.proj_bias]
            elements = x[0].numel() * 4 + x.shape[1] ** 2
            return per_setting(
                _pool_attended, parts, [x, inputs.valid], elements=elements, both=[weights.transpose(0, 1)]
            )
        return torch.bmm(weights, x).transpose(0, 1)

    def attention(self, inputs: Inputs) -> Tensor:
        scores = self._scores(self.standardised(inputs), inputs.valid)
        return weigh(scores, inputs.valid).transpose(0, 1)[..., self.first :]

    def _scores(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Score each token, `(B, S, N)`."""
        layers = [p for k in range(self.depth) for p in (self._layer("weight", k), self._layer("bias", k))]
        if self.depth == 1 and self.self_attention == "none":
            scored = x if self.position == "none" else x + self._positions(x)
            return torch.matmul(layers[0].squeeze(1), scored.transpose(1, 2)) + layers[1]
        attended = [] if self.self_attention == "none" else [self.qkv, self.proj_weight, self.proj_bias]
        wide = x[0].numel() * (self.depth + 3 * bool(attended)) + (x.shape[1] ** 2 if attended else 0)
        return per_setting(self._score, [*attended, *layers], [x, valid], elements=wide).transpose(0, 1)

    def _score(self, *parts: Tensor) -> Tensor:
        """Score a piece of clips by one setting, `(B, N)`; takes its parameters, tokens and which are valid."""
        *parameters, x, valid = parts
        if self.self_attention != "none":
            qkv, weight, bias, *parameters = parameters
            x = attend(x, valid, qkv, weight, bias)
        if self.position == "sincos":
            x = x + self._positions(x)
        *hidden, weight, bias = parameters
        act = torch.tanh if self.activation == "tanh" else F.relu
        for w, b in zip(hidden[::2], hidden[1::2], strict=True):
            x = act(F.linear(x, w, b))
        return F.linear(x, weight, bias).squeeze(-1)

    def _positions(self, x: Tensor) -> Tensor:
        """Positions `(N, D)`; class tokens have none, as in MAE."""
        table = sincos_grid((x.shape[1] - self.first) // self.freq, self.freq, x.shape[2])
        return F.pad(table, (0, 0, self.first, 0)).to(x)

    def _layer(self, part: str, layer: int) -> Tensor:
        p: Tensor = getattr(self, f"score_{part}{layer}")
        return p


def attend(x: Tensor, valid: Tensor | None, qkv: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """One head of self-attention without bias on queries, keys and values: `(B, N, D)` -> `(B, N, D)`."""
    q, k, v = F.linear(x, qkv).chunk(3, -1)
    scores = torch.bmm(q, k.transpose(1, 2)) * x.shape[-1] ** -0.5
    return F.linear(torch.bmm(weigh(scores, valid), v), weight, bias)


def _pool_attended(
    qkv: Tensor, weight: Tensor, bias: Tensor, weights: Tensor, x: Tensor, valid: Tensor | None
) -> Tensor:
    return torch.bmm(weights.unsqueeze(1), attend(x, valid, qkv, weight, bias)).squeeze(1)
