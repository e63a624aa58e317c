"""Linear probe before pooling: every token is classified, and the tokens' logits are pooled (`linpre`).

From arXiv 2509.24901, table of poolings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from auricle.probes.contract import Inputs, classify, linear_layer
from auricle.probes.heads.best_tokens import best_token, similarities
from auricle.probes.heads.pooled_head import TokenConfig, TokenHead, hide
from auricle.probes.heads.recompute import per_setting
from auricle.tokens.token_set import TokenShape


@dataclass(frozen=True)
class LinearPreConfig(TokenConfig):
    """Settings of the classifier before pooling.

    The paper does not specify the pooling. The mean equals the linear probe on the mean token, whose published scores
    differ from those of `linpre` for encoders without class token; the default is therefore the maximum.

    Attributes:
        pool: `max`: the largest logit of each class over the valid tokens; `logsumexp`: its smooth form
            `log(mean(exp))`, a mean so that long clips don't score higher; `mean`: their mean.
    """

    pool: Literal["max", "logsumexp", "mean"] = "max"


class LinearPre(TokenHead):
    """`pool_i (W z_i + b)` at S settings; `C (D + 1)` parameters each."""

    def __init__(
        self, config: LinearPreConfig, shape: TokenShape, classes: int, settings: int, generator: torch.Generator
    ) -> None:
        super().__init__(config, shape, settings)
        self.reduce = config.pool
        self.weight, self.bias = linear_layer(classes, shape.width, settings, generator)

    def forward(self, inputs: Inputs, generator: torch.Generator | None = None) -> Tensor:
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
            flat = weight.flatten(0, 1)
            values, places = best_token(flat, x, valid, fast=False, search=torch.is_grad_enabled(), masked=-torch.inf)
            best = similarities(values, places, flat, x).view(*weight.shape[:2], -1)
            return best.transpose(1, 2) + bias.unsqueeze(1)
        elements = x.shape[1] * weight.shape[1]
        return per_setting(_log_mean_exp, [weight], [x, valid], elements=elements) + bias.unsqueeze(1)


def _log_mean_exp(weight: Tensor, x: Tensor, valid: Tensor | None) -> Tensor:
    scores = torch.matmul(x, weight.t())
    if valid is None:
        return scores.logsumexp(1) - torch.tensor(x.shape[1], dtype=x.dtype, device=x.device).log()
    scores = scores.masked_fill(~valid.unsqueeze(-1), float("-inf"))
    return scores.logsumexp(1) - valid.sum(1, keepdim=True).to(x.dtype).log()
