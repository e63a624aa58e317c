"""Efficient probing: many queries on the raw tokens, each with its own slice of the values (arXiv 2506.10178, `ep`).

Published: `V = Wv Z`, and query m pools the m-th slice of V with `softmax(Z q_m / sqrt(D))`. Pooling first and
projecting after is the same function and costs `2 N D Q` instead of `N D^2 + ...` multiplications a clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from auricle.config import Count
from auricle.errors import ConfigError
from auricle.probes.contract import Inputs, linear_init, repeat
from auricle.probes.heads.pooled_head import AttentiveHead, PooledConfig, hide, weigh
from auricle.tokens.token_set import TokenShape

_QUERIES = 32


@dataclass(frozen=True)
class EpConfig(PooledConfig):
    """Settings of efficient probing.

    Attributes:
        queries: Q; None: 32, or the next lower number that divides the pooled width.
        d_out: the pooled vector is `D / d_out` wide.
        tokens: the authors read patch tokens, and `all` where the objective is defined on the class token.
    """

    queries: Count | None = None
    d_out: Count = 1


class Ep(AttentiveHead):
    """Efficient probing at S settings; `Q D + D^2 / d_out + C (D / d_out + 1)` parameters each."""

    def __init__(
        self, config: EpConfig, shape: TokenShape, classes: int, settings: int, generator: torch.Generator
    ) -> None:
        super().__init__(config, shape, settings)
        width, out = shape.width, shape.width // config.d_out
        if width % config.d_out:
            raise ConfigError(f"tokens of width {width} can't be reduced by d_out {config.d_out}; choose a divisor")
        queries = config.queries or next(q for q in range(_QUERIES, 0, -1) if out % q == 0)
        if out % queries:
            raise ConfigError(
                f"{out} values (width {width} over d_out {config.d_out}) can't be shared by {queries} queries"
                "; choose a divisor"
            )
        self.query = repeat(torch.randn(queries, width, generator=generator) * 0.02, settings)
        self.value = repeat(linear_init((out, width), width, generator), settings)
        self._classifier(out, classes, settings, generator)

    def pool(self, inputs: Inputs) -> Tensor:
        x = hide(inputs)
        S, Q, D = self.query.shape
        mean, scale = self.statistics(x, inputs.valid)
        seen = torch.bmm(self._weights(x, inputs.valid, scale), x).view(-1, S, Q, D)
        seen = (seen - mean) * scale
        slices = self.value.view(S, Q, -1, D)
        return torch.einsum("bsqd,sqkd->sbqk", seen, slices).reshape(S, len(x), -1)

    def attention(self, inputs: Inputs) -> Tensor:
        x = hide(inputs)
        _, scale = self.statistics(x, inputs.valid)
        S, Q, _ = self.query.shape
        weights = self._weights(x, inputs.valid, scale).view(len(x), S, Q, -1)
        return weights.mean(2).transpose(0, 1)[..., self.first :]

    def _weights(self, x: Tensor, valid: Tensor | None, scale: Tensor) -> Tensor:
        """Weights `(B, S Q, N)`."""
        D = x.shape[-1]
        read = self.query.flatten(0, 1) * (D**-0.5 * scale)
        return weigh(torch.matmul(read, x.transpose(1, 2)), valid)
