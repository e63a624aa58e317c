"""V-JEPA's attentive block: cross-attention with biases and a perceptron behind it (`jepa`; arXiv 2404.08471).

One learned query reads layer-normed tokens; its result is added to the query and goes through a residual MLP.
Projections, biases and layer norm's affine part fold as in `mhca`: `2 N D heads` multiplications a clip and setting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from auricle.config import Count, Positive
from auricle.errors import ConfigError
from auricle.probes.contract import Inputs, classify, repeat
from auricle.probes.heads.pooled_head import AttentiveHead, PooledConfig, head_count, weigh
from auricle.tokens.token_set import TokenShape

_EPS = 1e-5


@dataclass(frozen=True)
class JepaConfig(PooledConfig):
    """Settings of the attentive block.

    Attributes:
        heads: attention heads; None: one for each 64 dimensions, as the published 12 at 768.
        mlp_ratio: width of the perceptron's hidden layer in D.
        norm: `none`: the block's own layer norm removes the tokens' scale.
        pooled_norm: `none` as V-JEPA's classifier; `batch` as efficient probing's comparison.
    """

    heads: Count | None = None
    mlp_ratio: Positive = 4.0
    norm: Literal["train", "batch", "none"] = "none"
    pooled_norm: Literal["batch", "none"] = "none"


class Jepa(AttentiveHead):
    """Attentive block and a linear layer at S settings; at ratio 4 `12 D^2 + 14 D + C (D + 1)` parameters each."""

    def __init__(
        self, config: JepaConfig, shape: TokenShape, classes: int, settings: int, generator: torch.Generator
    ) -> None:
        super().__init__(config, shape, settings)
        D, hidden = shape.width, int(config.mlp_ratio * shape.width)
        self.heads = head_count(D, config.heads)
        if hidden < 1:
            raise ConfigError(f"mlp_ratio {config.mlp_ratio} leaves no hidden unit at width {D}; raise it")

        def normal(*size: int, scale: float = 1.0) -> torch.nn.Parameter:
            start = torch.nn.init.trunc_normal_(torch.empty(size), std=0.02, generator=generator)
            return repeat(start * scale, settings)

        def constant(size: int, value: float) -> torch.nn.Parameter:
            return repeat(torch.full((size,), value), settings)

        self.query = normal(D)
        self.norm1_gain, self.norm1_shift = constant(D, 1.0), constant(D, 0.0)
        self.q_weight, self.q_bias = normal(D, D), constant(D, 0.0)
        self.k_weight, self.k_bias = normal(D, D), constant(D, 0.0)
        self.v_weight, self.v_bias = normal(D, D), constant(D, 0.0)
        # Both layers that write into the residual start smaller by sqrt(2).
        self.proj_weight, self.proj_bias = normal(D, D, scale=0.5**0.5), constant(D, 0.0)
        self.norm2_gain, self.norm2_shift = constant(D, 1.0), constant(D, 0.0)
        self.fc1_weight, self.fc1_bias = normal(hidden, D), constant(hidden, 0.0)
        self.fc2_weight, self.fc2_bias = normal(D, hidden, scale=0.5**0.5), constant(D, 0.0)
        self._classifier(D, classes, settings, generator)

    def pool(self, inputs: Inputs) -> Tensor:
        z, weights = self._weights(inputs)
        B, _, D = z.shape
        S, H = self.settings, self.heads
        seen = torch.bmm(weights, z).view(B, S, H, D)
        seen = seen * self.norm1_gain.unsqueeze(1) + self.norm1_shift.unsqueeze(1)
        values = torch.einsum("bshd,shkd->sbhk", seen, self.v_weight.view(S, H, D // H, D)).reshape(S, B, D)
        values = values + self.v_bias.unsqueeze(1)
        out = self.query.unsqueeze(1) + classify(values, self.proj_weight, self.proj_bias)
        h = F.layer_norm(out, (D,), eps=_EPS) * self.norm2_gain.unsqueeze(1) + self.norm2_shift.unsqueeze(1)
        h = F.gelu(classify(h, self.fc1_weight, self.fc1_bias))
        return out + classify(h, self.fc2_weight, self.fc2_bias)

    def attention(self, inputs: Inputs) -> Tensor:
        z, weights = self._weights(inputs)
        return weights.view(len(z), self.settings, self.heads, -1).mean(2).transpose(0, 1)[..., self.first :]

    def _weights(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Layer-normed tokens without gain and shift, `(B, N, D)`, and weights `(B, S H, N)`."""
        x = self.standardised(inputs)
        D, S, H = x.shape[-1], self.settings, self.heads
        z = F.layer_norm(x, (D,), eps=_EPS)
        q = classify(self.query.unsqueeze(1), self.q_weight, self.q_bias).view(S, H, D // H)
        read = torch.einsum("shkd,shk->shd", self.k_weight.view(S, H, D // H, D), q)
        constant = (read * self.norm1_shift.unsqueeze(1)).sum(-1) + (q * self.k_bias.view(S, H, -1)).sum(-1)
        folded = (read * self.norm1_gain.unsqueeze(1)).view(S * H, D)
        scores = torch.matmul(folded, z.transpose(1, 2)) + constant.view(-1, 1)
        return z, weigh(scores * (D // H) ** -0.5, inputs.valid)
