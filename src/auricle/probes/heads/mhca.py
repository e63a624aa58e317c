"""Multi-head cross-attention probe: a learned query reads the token map (arXiv 2509.24901, `mhca`; AIM, Bird-MAE).

The published form projects every token twice, `K = Wk Z` and `V = Wv Z`, which is 2 N D^2 multiplications a clip and
setting. With few queries, the same function is `softmax(Z (Wk_h^T q_h))` and `Wv_h (attention-weighted mean of Z)`:
2 N D heads. A parameter-free batch norm on the tokens folds in too, because softmax ignores a constant and attention
weights sum to one. Parameters and gradients equal the published ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from auricle.config import Count
from auricle.probes.contract import Inputs, linear_init, repeat
from auricle.probes.heads.pooled_head import AttentiveHead, PooledConfig, head_count, hide, weigh
from auricle.tokens.token_set import TokenShape


@dataclass(frozen=True)
class MhcaConfig(PooledConfig):
    """Settings of the attentive probe.

    Attributes:
        heads: attention heads; None: one for each 64 dimensions, as 12 heads at 768 and 16 at 1024.
        queries: learned queries; their results are averaged, as AIM does.
        norm: `batch` puts AIM's batch norm without affine (eps 1e-6) on the tokens, `none` leaves it out as Bird-MAE.
        pooled_norm: `none` as AIM; `batch` as efficient probing.
    """

    heads: Count | None = None
    queries: Count = 1
    norm: Literal["train", "batch", "none"] = "batch"
    pooled_norm: Literal["batch", "none"] = "none"


class Mhca(AttentiveHead):
    """Cross-attention pooling and a linear layer at S settings; `2 D^2 + Q D + C (D + 1)` parameters each."""

    def __init__(
        self, config: MhcaConfig, shape: TokenShape, classes: int, settings: int, generator: torch.Generator
    ) -> None:
        super().__init__(config, shape, settings)
        width = shape.width
        self.heads = head_count(width, config.heads)
        self.query = repeat(torch.randn(config.queries, width, generator=generator) * 0.02, settings)
        self.key = repeat(linear_init((width, width), width, generator), settings)
        self.value = repeat(linear_init((width, width), width, generator), settings)
        self._classifier(width, classes, settings, generator)

    def pool(self, inputs: Inputs) -> Tensor:
        x = hide(inputs)
        B, N, D = x.shape
        S, H = self.query.shape[0], self.heads
        mean, scale = self.statistics(x, inputs.valid)
        weights = self._weights(x, inputs.valid, scale)
        # The mean over queries is taken before the values: they are linear.
        seen = torch.bmm(weights.view(B, S, -1, H, N).mean(2).view(B, S * H, N), x).view(B, S, H, D)
        seen = (seen - mean) * scale
        return torch.einsum("bshd,shkd->sbhk", seen, self.value.view(S, H, D // H, D)).reshape(S, B, D)

    def attention(self, inputs: Inputs) -> Tensor:
        x = hide(inputs)
        _, scale = self.statistics(x, inputs.valid)
        weights = self._weights(x, inputs.valid, scale).view(len(x), self.settings, -1, x.shape[1])
        return weights.mean(2).transpose(0, 1)[..., self.first :]

    def _weights(self, x: Tensor, valid: Tensor | None, scale: Tensor) -> Tensor:
        """Weights `(B, S Q H, N)`."""
        S, Q, D = self.query.shape
        H = self.heads
        read = torch.einsum("shkd,sqhk->sqhd", self.key.view(S, H, D // H, D), self.query.view(S, Q, H, D // H))
        read = read * (D // H) ** -0.5 * scale
        return weigh(torch.matmul(read.reshape(S * Q * H, D), x.transpose(1, 2)), valid)
