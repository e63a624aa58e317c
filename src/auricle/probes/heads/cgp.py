"""Convex gated probing: prototypes on a learned mixture of all layers (arXiv 2602.16305).

Tokens are scaled to length one in each layer and mixed with softmax weights over the layers; each real prototype is
described by its least, its clip-level and its largest cosine; a dense linear layer reads all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from auricle.config import Count, NonNegative, ShareBelowOne
from auricle.errors import ConfigError
from auricle.probes.contract import Inputs, ProbeConfig, ProbeHead, classify, drop, linear_layer, repeat
from auricle.probes.heads.best_tokens import extreme_tokens, fast_precision
from auricle.tokens.token_set import TokenBatch, TokenShape


@dataclass(frozen=True)
class CgpConfig(ProbeConfig):
    """Settings of convex gated probing.

    The range of learning rates is ours, around the published 1e-3. A batch holds all layers' tokens in float32: 128
    clips of 512 tokens of width 768 in twelve layers take 2.4 GB, so that large encoders need smaller batches.

    Attributes:
        per_class: prototypes for each class (shared by all), as for the other prototype probes.
        count: total prototypes, for any number of classes (the paper: 10,000); None: `per_class` a class.
        middle: the clip-level cosine: with the `cls` token (the mean of several), or the `mean` over all tokens, as
            published for encoders without one; `auto` takes the class token where there is one.
        init_std: of the prototypes.
        dropout: on the three cosines, in training.
        precision: `fast` finds cosines in bfloat16 while training; see `ProtobinConfig`.
    """

    lr_range: ClassVar[tuple[float, float]] = (5e-4, 2e-2)
    reads: ClassVar[Literal["tokens", "layers"]] = "layers"
    per_class: Count = 20
    count: Count | None = None
    middle: Literal["auto", "cls", "mean"] = "auto"
    init_std: NonNegative = 0.02
    dropout: ShareBelowOne = 0.2
    precision: Literal["auto", "exact", "fast"] = "auto"


class Cgp(ProbeHead):
    """`W [min, clip, max of cos(p, z)] + b` at S settings; `P D + L + 3 P C + C` parameters each."""

    def __init__(
        self, config: CgpConfig, shape: TokenShape, classes: int, settings: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        if config.middle == "cls" and shape.cls == 0:
            raise ConfigError("middle 'cls' needs a class token, and this encoder has none; use 'mean' or 'auto'")
        count = classes * config.per_class if config.count is None else config.count
        self.config = config
        self.cls = config.middle == "cls" or (config.middle == "auto" and shape.cls > 0)
        start = torch.randn(count, shape.width, generator=generator) * config.init_std
        self.prototypes = repeat(start, settings)
        self.gates = repeat(torch.ones(shape.layers), settings)
        self.weight, self.bias = linear_layer(classes, 3 * count, settings, generator)

    def read(self, batch: TokenBatch) -> Inputs:
        stack, stack_valid = batch.layers(one_grid=True)
        valid = stack_valid.all(1)
        whole = bool(valid.all())
        x = F.normalize(stack if whole else stack.masked_fill(~valid[:, None, :, None], 0), dim=-1)
        if self.cls:
            if batch.stack_cls is None:
                raise ConfigError("the probe was built for class tokens, and these tokens come without")
            first = F.normalize(batch.stack_cls, dim=-1).mean(2, keepdim=True)
        else:
            first = x.sum(2, keepdim=True) / valid.sum(1).view(-1, 1, 1, 1)
        return Inputs(torch.cat([first, x], 2), None if whole else valid)

    def forward(self, inputs: Inputs, generator: torch.Generator | None = None) -> Tensor:
        low, middle, high = self._cosines(inputs)
        h = torch.stack([low, middle, high], -1).flatten(2)
        h = drop(h, self.config.dropout, generator) if self.training else h
        return classify(h, self.weight, self.bias)

    def similarities(self, inputs: Inputs) -> Tensor:
        """Return each prototype's largest cosine with a token of the mixed layers, `(S, B, P)`."""
        return self._cosines(inputs)[2]

    def strengths(self, h: Tensor, target: int) -> Tensor:
        """Return the part of the largest cosines `(S, B, P)` in the logit of class `target`, `(S, B, P)`."""
        return h * self.weight[:, target, 2::3].unsqueeze(1)

    def shares(self) -> Tensor:
        """Return each layer's share in the mixture, `(S, L)`."""
        return self.gates.detach().softmax(-1)

    @torch.no_grad()
    def token_similarities(self, inputs: Inputs, prototypes: Tensor) -> Tensor:
        """Return the cosine of some prototypes `(K,)` int64 with every token, `(S, B, K, N)`: for maps."""
        unit, x = F.normalize(self.prototypes[:, prototypes], dim=-1), inputs.x[:, :, 1:]
        return torch.stack(
            [torch.einsum("kd,bnd->bkn", u, _mixed(g, x)) for u, g in zip(unit, self.shares(), strict=True)]
        )

    def patches(self, inputs: Inputs) -> Inputs:
        """Return the tokens of the map alone, `(B, L, N, D)`."""
        return Inputs(inputs.x[:, :, 1:], inputs.valid)

    def watch(self) -> dict[str, Tensor]:
        return {"layers": layers_in_use(self.shares())}

    def _cosines(self, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor]:
        unit, gates = F.normalize(self.prototypes, dim=-1), self.gates.softmax(-1)
        clip = torch.einsum("sl,bld->sbd", gates, inputs.x[:, :, 0])
        single = inputs.x.dtype == torch.float32
        fast = self.training and single and fast_precision(self.config.precision, inputs.x.device)
        low, high = _GatedExtremes.apply(unit, gates, inputs.x[:, :, 1:], inputs.valid, fast)
        return low, clip @ unit.transpose(1, 2), high


def layers_in_use(shares: Tensor) -> Tensor:
    """Return the exponential of the entropy of shares `(S, L)`: L if all are equal, 1 if one is all, `(S,)`."""
    return torch.special.entr(shares).sum(-1).exp()


def _mixed(gates: Tensor, x: Tensor) -> Tensor:
    """Mix layers `(B, L, N, D)` by shares `(L,)` to `(B, N, D)`."""
    out = x[:, 0] * gates[0]
    for share, layer in zip(gates[1:], x.unbind(1)[1:], strict=True):
        out.addcmul_(layer, share)
    return out


class _GatedExtremes(torch.autograd.Function):
    """Least and largest cosine of each prototype with the mixed tokens, `(S, B, P)` each.

    The mixture of one setting is in memory at a time, and computed again in the backward pass: those of all settings
    are `(S, B, N, D)`.
    """

    @staticmethod
    def forward(
        ctx: Any, unit: Tensor, gates: Tensor, x: Tensor, valid: Tensor | None, fast: bool
    ) -> tuple[Tensor, Tensor]:
        B, _, N, _ = x.shape
        lows, highs, rows = [], [], []
        first = torch.arange(B, device=x.device) * N
        for u, g in zip(unit, gates, strict=True):
            (low, lowest), (high, highest) = extreme_tokens(u, _mixed(g, x), valid, fast=fast)
            lows.append(low.t())
            highs.append(high.t())
            rows.append(torch.cat([lowest + first, highest + first], 1))
        ctx.save_for_backward(unit, gates, x, torch.stack(rows))
        return torch.stack(lows).to(x.dtype), torch.stack(highs).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        unit, gates, x, rows = ctx.saved_tensors
        to_unit, to_gates = torch.empty_like(unit), torch.empty_like(gates)
        for s, (u, g) in enumerate(zip(unit, gates, strict=True)):
            pull = torch.cat([grads[0][s].t(), grads[1][s].t()], 1).contiguous()
            z = _mixed(g, x)
            to_unit[s] = F.embedding_bag(rows[s], z.flatten(0, 1), per_sample_weights=pull, mode="sum")
            # The gradient of each token: a bag of the prototypes that found it (sorted by token).
            order = rows[s].flatten().argsort()
            counts = torch.bincount(rows[s].flatten(), minlength=z.shape[0] * z.shape[1])
            pulled = F.embedding_bag(
                torch.div(order, rows.shape[2], rounding_mode="floor"),
                u,
                offsets=counts.cumsum(0) - counts,
                per_sample_weights=pull.flatten()[order],
                mode="sum",
            ).view_as(z)
            for place in range(x.shape[1]):
                to_gates[s, place] = torch.linalg.vecdot(pulled.flatten(1), x[:, place].flatten(1)).sum()
        return to_unit, to_gates, None, None, None
