"""Multi-head cross-attention probe: one learned query reads the token map (arXiv 2509.24901, `mhca`; AIM, Bird-MAE).

The published form projects every token twice, `K = Wk Z` and `V = Wv Z`, which is 2 N D^2 multiplications a clip and
setting. With one query a head, the same function is `softmax(Z (Wk_h^T q_h))` and `Wv_h (attention-weighted mean of
Z)`: 2 N D heads. A parameter-free batch norm on the tokens folds in too, because softmax ignores a constant and the
weights of attention sum to one. The parameters are the published ones, and so are their gradients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from auricle.errors import ConfigError
from auricle.probes.contract import Inputs, ProbeConfig, ProbeHead, classify, linear_init, repeat
from auricle.tokens.token_set import TokenBatch, TokenShape


@dataclass(frozen=True)
class MhcaConfig(ProbeConfig):
    """Settings of the attentive probe.

    Attributes:
        heads: attention heads; None: one for each 64 dimensions, as 12 heads at 768 and 16 at 1024.
        norm: `batch` puts AIM's batch norm without affine (eps 1e-6) on the tokens, `none` leaves it out as Bird-MAE.
        momentum: of the running statistics, as in torch.
    """

    heads: int | None = None
    norm: Literal["batch", "none"] = "batch"
    momentum: float = 0.1

    def build(self, shape: TokenShape, classes: int, *, settings: int, generator: torch.Generator) -> Mhca:
        """Build the head.

        Raises:
            ConfigError: the width is no multiple of the heads.
        """
        heads = max(1, shape.width // 64) if self.heads is None else self.heads
        while self.heads is None and shape.width % heads:
            heads -= 1
        if heads < 1 or shape.width % heads:
            raise ConfigError(f"tokens of width {shape.width} can't be split into {heads} heads; choose a divisor")
        return Mhca(self, shape.width, heads, classes, settings, generator)


class Mhca(ProbeHead):
    """Cross-attention pooling and a linear layer at S settings; `2 D^2 + D + C (D + 1)` parameters each."""

    running_mean: Tensor
    running_var: Tensor
    eps = 1e-6

    def __init__(
        self, config: MhcaConfig, width: int, heads: int, classes: int, settings: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.config = config
        self.heads = heads
        self.query = repeat(torch.randn(width, generator=generator) * 0.02, settings)
        self.key = repeat(linear_init((width, width), width, generator), settings)
        self.value = repeat(linear_init((width, width), width, generator), settings)
        self.weight = repeat(linear_init((classes, width), width, generator), settings)
        self.bias = repeat(linear_init((classes,), width, generator), settings)
        if config.norm == "batch":
            self.register_buffer("running_mean", torch.zeros(settings, width))
            self.register_buffer("running_var", torch.ones(settings, width))

    def read(self, batch: TokenBatch) -> Inputs:
        """Take the tokens as they are, without the class tokens."""
        return Inputs(batch.x, None if bool(batch.valid.all()) else batch.valid)

    def forward(self, inputs: Inputs, generator: torch.Generator | None = None) -> Tensor:
        """Return logits `(S, B, C)`."""
        return classify(self.pool(inputs), self.weight, self.bias)

    def pool(self, inputs: Inputs) -> Tensor:
        """Return the attention-pooled vectors `(S, B, D)`. In training mode, running statistics are updated."""
        x, valid = inputs.x, inputs.valid
        B, _, D = x.shape
        S, H = self.query.shape[0], self.heads
        if valid is not None:
            x = x.masked_fill(~valid.unsqueeze(-1), 0)
        mean, std = self._statistics(x, valid)
        read = torch.einsum("shkd,shk->shd", self.key.view(S, H, D // H, D), self.query.view(S, H, D // H))
        read = read * (D // H) ** -0.5 / std.unsqueeze(1)
        scores = torch.matmul(read.view(S * H, D), x.transpose(1, 2))
        if valid is not None:
            scores = scores.masked_fill(~valid.unsqueeze(1), float("-inf"))
        seen = torch.bmm(scores.softmax(-1), x).view(B, S, H, D)
        seen = (seen - mean.unsqueeze(1)) / std.unsqueeze(1)
        return torch.einsum("bshd,shkd->sbhk", seen, self.value.view(S, H, D // H, D)).reshape(S, B, D)

    def _statistics(self, x: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the tokens that the batch norm divides by, each `(S or 1, D)`."""
        if self.config.norm == "none":
            return x.new_zeros(1, x.shape[-1]), x.new_ones(1, x.shape[-1])
        if not self.training:
            return self.running_mean, (self.running_var + self.eps).sqrt()
        tokens = x.flatten(0, 1) if valid is None else x[valid]
        with torch.no_grad():
            # Not var_mean: over the outer axis it is several times slower, and this is the costliest line of a step.
            mean = tokens.mean(0)
            var = (tokens - mean).square_().mean(0)
            count = tokens.shape[0]
            self.running_mean.lerp_(mean.expand_as(self.running_mean), self.config.momentum)
            unbiased = var * (count / max(count - 1, 1))
            self.running_var.lerp_(unbiased.expand_as(self.running_var), self.config.momentum)
        return mean.unsqueeze(0), (var + self.eps).sqrt().unsqueeze(0)
