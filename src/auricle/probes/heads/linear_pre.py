"""Linear probe before pooling: every token is classified, and the tokens' logits are pooled (`linpre`).

From arXiv 2509.24901, table of poolings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from auricle.probes.contract import Inputs, classify, linear_init, repeat
from auricle.probes.heads.pooled_head import TokenConfig, TokenHead, hide
from auricle.probes.heads.recompute import per_setting
from auricle.tokens.token_set import TokenShape

# Token logits held at once, so that the maximum is found before they leave a core's cache; a GPU wants full launches.
_CPU_CHUNK = 2**20
_GPU_CHUNK = 2**26


@dataclass(frozen=True)
class LinearPreConfig(TokenConfig):
    """Settings of the classifier before pooling.

    How the paper pools the token logits is not known. The mean would be the linear probe on the mean token, whose
    published scores differ from those of `linpre` for encoders without class token; chosen here is the maximum.

    Attributes:
        pool: `max`: the largest logit of each class over the valid tokens; `logsumexp`: its smooth form
            `log(mean(exp))`, a mean so that long clips don't score higher; `mean`: their mean.
    """

    pool: Literal["max", "logsumexp", "mean"] = "max"

    def build(self, shape: TokenShape, classes: int, *, settings: int, generator: torch.Generator) -> LinearPre:
        """Build the head.

        Raises:
            ConfigError: class tokens are asked for, and the encoder has none.
        """
        return LinearPre(self, shape, classes, settings, generator)


class LinearPre(TokenHead):
    """`pool_i (W z_i + b)` at S settings; `C (D + 1)` parameters each."""

    def __init__(
        self, config: LinearPreConfig, shape: TokenShape, classes: int, settings: int, generator: torch.Generator
    ) -> None:
        super().__init__(config, shape, settings)
        self.reduce = config.pool
        self.weight = repeat(linear_init((classes, shape.width), shape.width, generator), settings)
        self.bias = repeat(linear_init((classes,), shape.width, generator), settings)

    def forward(self, inputs: Inputs, generator: torch.Generator | None = None) -> Tensor:
        """Return logits `(S, B, C)`."""
        x, valid = hide(inputs), inputs.valid
        mean, scale = self.statistics(x, valid)
        # Scaling the weights once is cheaper than scaling every token.
        weight = self.weight * scale
        bias = self.bias - torch.matmul(weight, mean)
        if self.reduce == "mean":
            count = x.shape[1] if valid is None else valid.sum(1, keepdim=True)
            pooled = x.sum(1) / count
            return classify(pooled.expand(len(weight), *pooled.shape), weight, bias)
        if self.reduce == "max":
            best: Tensor = _BestScore.apply(weight, x, valid)
            return best + bias.unsqueeze(1)
        elements = x.shape[1] * weight.shape[1]
        return per_setting(_log_mean_exp, [weight], [x, valid], elements=elements) + bias.unsqueeze(1)


def _log_mean_exp(weight: Tensor, x: Tensor, valid: Tensor | None) -> Tensor:
    scores = torch.matmul(x, weight.t())
    if valid is None:
        return scores.logsumexp(1) - torch.tensor(x.shape[1], dtype=x.dtype, device=x.device).log()
    scores = scores.masked_fill(~valid.unsqueeze(-1), float("-inf"))
    return scores.logsumexp(1) - valid.sum(1, keepdim=True).to(x.dtype).log()


class _BestScore(torch.autograd.Function):
    """`max_i w . z_i` for all rows of all settings; its backward reads the winning tokens only.

    No gradient is given to the tokens: they are frozen.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, x: Tensor, valid: Tensor | None) -> Tensor:
        S, C, _ = weight.shape
        best, winner = best_score(weight.flatten(0, 1), x, valid)
        ctx.save_for_backward(x, winner)
        ctx.shape = weight.shape
        return best.view(S, C, -1).transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        x, winner = ctx.saved_tensors
        B, N, D = x.shape
        g = grads[0].transpose(1, 2).reshape(-1, B)
        rows = winner + torch.arange(B, device=x.device) * N
        pulled = F.embedding_bag(rows, x.reshape(B * N, D), per_sample_weights=g.contiguous(), mode="sum")
        return pulled.view(ctx.shape), None, None


def best_score(weight: Tensor, x: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Find each row's best token in each clip, a cache-sized piece of the scores at a time.

    Args:
        weight: `(R, D)`, all settings and classes in a row.
        x: `(B, N, D)` tokens, finite everywhere.
        valid: `(B, N)` bool or None.

    Returns:
        `(R, B)` the largest score, and `(R, B)` int64 its token; the first of equal ones.
    """
    R, (B, N, D) = weight.shape[0], x.shape
    best = torch.empty(R, B, device=x.device, dtype=x.dtype)
    winner = torch.empty(R, B, device=x.device, dtype=torch.int64)
    limit = _CPU_CHUNK if x.device.type == "cpu" else _GPU_CHUNK
    clips = max(1, min(B, limit // (R * N)))
    rows = max(1, min(R, limit // (clips * N)))
    for b in range(0, B, clips):
        tokens = x[b : b + clips].reshape(-1, D).t()
        hidden = None if valid is None else ~valid[b : b + clips]
        for r in range(0, R, rows):
            s = (weight[r : r + rows] @ tokens).view(-1, tokens.shape[1] // N, N)
            if hidden is not None:
                s.masked_fill_(hidden, float("-inf"))
            best[r : r + rows, b : b + clips], winner[r : r + rows, b : b + clips] = s.max(-1)
    return best, winner
