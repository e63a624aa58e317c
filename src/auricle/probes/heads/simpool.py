"""SimPool: the mean token attends to layer-normed tokens (`simpool`; Psomas et al., ICCV 2023).

The keys' projection and layer norm's gain fold into the query, since every setting reads the same normalised tokens:
`2 N D` multiplications a clip and setting instead of `N D^2`. The power mean does not fold; it is computed piecewise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from auricle.config import Positive
from auricle.probes.contract import Inputs, linear_init, repeat
from auricle.probes.heads.pooled_head import EPS, AttentiveHead, PooledConfig, weigh
from auricle.probes.heads.recompute import per_setting
from auricle.tokens.token_set import TokenShape


@dataclass(frozen=True)
class SimPoolConfig(PooledConfig):
    """Settings of SimPool.

    Attributes:
        gamma: exponent of the power mean of the values (2 in the reference code where it is used); None: their plain
            weighted mean.
        least: subtracted from the values before the power mean, so that they are positive: the smallest value of the
            `clip`, or of the whole `batch` as in the reference, whose predictions depend on the batch.
        pooled_norm: `none`: the values come out of a layer norm already.
    """

    gamma: Positive | None = None
    least: Literal["clip", "batch"] = "clip"
    pooled_norm: Literal["batch", "none"] = "none"


class SimPool(AttentiveHead):
    """SimPool and a linear layer at S settings; `2 D^2 + 2 D + C (D + 1)` parameters each."""

    def __init__(
        self, config: SimPoolConfig, shape: TokenShape, classes: int, settings: int, generator: torch.Generator
    ) -> None:
        super().__init__(config, shape, settings)
        self.gamma, self.least = config.gamma, config.least
        width = shape.width
        self.gain = repeat(torch.ones(width), settings)
        self.shift = repeat(torch.zeros(width), settings)
        self.query = repeat(linear_init((width, width), width, generator), settings)
        self.key = repeat(linear_init((width, width), width, generator), settings)
        self._classifier(width, classes, settings, generator)

    def pool(self, inputs: Inputs) -> Tensor:
        z, weights = self._weights(inputs)
        if self.gamma is None:
            seen = torch.bmm(weights.transpose(0, 1), z).transpose(0, 1)
            return seen * self.gain.unsqueeze(1) + self.shift.unsqueeze(1)
        clips = [z, inputs.valid]
        # The reference's minimum needs the whole batch in one piece.
        elements = z[0].numel() if self.least == "clip" else 0
        return per_setting(self._power_mean, [self.gain, self.shift], clips, elements=elements, both=[weights])

    def attention(self, inputs: Inputs) -> Tensor:
        return self._weights(inputs)[1][..., self.first :]

    def _weights(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Layer-normed tokens without gain and shift, `(B, N, D)`, and weights `(S, B, N)`."""
        x = self.standardised(inputs)
        D = x.shape[-1]
        count = x.shape[1] if inputs.valid is None else inputs.valid.sum(1, keepdim=True)
        # The query is the mean of the tokens before layer norm (reference code).
        query = torch.matmul(x.sum(1) / count, self.query.transpose(1, 2))
        read = torch.bmm(query, self.key)
        z = F.layer_norm(x, (D,), eps=EPS)
        scores = torch.bmm((read * self.gain.unsqueeze(1)).transpose(0, 1), z.transpose(1, 2))
        constant = (read * self.shift.unsqueeze(1)).sum(-1).t().unsqueeze(-1)
        return z, weigh((scores + constant) * D**-0.5, inputs.valid).transpose(0, 1)

    def _power_mean(self, gain: Tensor, shift: Tensor, weights: Tensor, z: Tensor, valid: Tensor | None) -> Tensor:
        v = z * gain + shift
        if valid is not None:
            v = v.masked_fill(~valid.unsqueeze(-1), float("inf"))
        least = v.amin((1, 2), keepdim=True) if self.least == "clip" else v.amin()
        v = v - least + EPS
        if valid is not None:
            v = v.masked_fill(~valid.unsqueeze(-1), 1.0)
        gamma = self.gamma or 1.0
        return torch.bmm(weights.unsqueeze(1), v**gamma).squeeze(1) ** (1 / gamma)
