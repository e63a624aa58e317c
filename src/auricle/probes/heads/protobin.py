"""Binarised prototypes: each token scored against +-1 vectors, the best token of each kept (arXiv 2509.24901)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from auricle.config import Count, NonNegative, ShareBelowOne
from auricle.errors import ConfigError
from auricle.probes.contract import Inputs, ProbeConfig, linear_layer, repeat
from auricle.probes.heads.prototype_head import PrototypeHead, block_strengths, classify_any, classify_blocks, mapped
from auricle.tokens.token_set import TokenBatch, TokenShape


@dataclass(frozen=True)
class ProtobinConfig(ProbeConfig):
    """Settings of the binarised-prototype probe, and of its real-valued ablation `protofloat`.

    Attributes:
        per_class: J, prototypes for each class (the paper: 20; 10 for AudioSet).
        values: `sign` binarises the latent prototypes to +-1 (ties to +1); `float` takes them as they are (protofloat).
        mixer: `dense` lets every class see all prototypes (the paper), `block` its own J only: `J C + C` parameters
            instead of `J C^2 + C`, for very many classes.
        top_k: tokens whose mean similarity a prototype gets in training; the best alone in evaluation, and by default.
        gradient: through the sign. `projected` normalises after the sign, so that the gradient is projected onto the
            tangent plane and divided by sqrt(D) (the published code); `constant_norm` takes the length sqrt(D) for a
            constant and leaves the projection out.
        init_std: of the latent prototypes.
        dropout: on the similarities, in training (the paper: 0; BAT: 0.2).
        precision: `exact` computes similarities in float32. `fast` finds them in bfloat16 while training, off by up
            to 0.4 % of themselves; predictions are float32 always. `auto` is `fast` where the processor multiplies
            bfloat16 natively.
    """

    lr_range: ClassVar[tuple[float, float]] = (2e-3, 8e-2)
    per_class: Count = 20
    values: Literal["sign", "float"] = "sign"
    mixer: Literal["dense", "block"] = "dense"
    top_k: Count = 1
    gradient: Literal["projected", "constant_norm"] = "projected"
    init_std: NonNegative = 0.02
    dropout: ShareBelowOne = 0.0
    precision: Literal["auto", "exact", "fast"] = "auto"

    def __post_init__(self) -> None:
        if self.values == "float" and self.gradient == "constant_norm":
            raise ConfigError("gradient 'constant_norm' is for values 'sign': real prototypes have no constant length")


class Protobin(PrototypeHead):
    """`W max_i cos(z_i, sign(P)) + b` at S settings; `P D + P C + C` parameters each, with `P = C J`."""

    def __init__(
        self, config: ProtobinConfig, shape: TokenShape, classes: int, settings: int, generator: torch.Generator
    ) -> None:
        super().__init__(top_k=config.top_k, dropout=config.dropout, precision=config.precision)
        self.config = config
        count, seen = classes * config.per_class, config.per_class * (classes if config.mixer == "dense" else 1)
        self.prototypes = repeat(torch.randn(count, shape.width, generator=generator) * config.init_std, settings)
        self.weight, self.bias = linear_layer(classes, seen, settings, generator)
        self._signs: Tensor | None = None

    def read(self, batch: TokenBatch) -> Inputs:
        x, valid = mapped(batch)
        return Inputs(F.normalize(x, dim=-1), valid)

    def units(self) -> Tensor:
        if self.config.values == "float":
            return F.normalize(self.prototypes, dim=-1)
        units: Tensor = _UnitSigns.apply(self.prototypes, self.config.gradient == "projected")
        return units

    def mix(self, h: Tensor) -> Tensor:
        return (classify_any if self.config.mixer == "dense" else classify_blocks)(h, self.weight, self.bias)

    def strengths(self, h: Tensor, target: int) -> Tensor:
        if self.config.mixer == "block":
            return block_strengths(h, self.weight, target)
        return h * self.weight[:, target].unsqueeze(1)

    def keep(self, rows: Tensor) -> None:
        super().keep(rows)
        self._signs = None if self._signs is None else self._signs[rows]

    def watch(self) -> dict[str, Tensor]:
        if self.config.values == "float":
            return {}
        signs = self.prototypes.detach() >= 0
        before, self._signs = self._signs, signs
        if before is None:
            return {}
        return {"flips": (signs != before).float().mean((1, 2))}


class _UnitSigns(torch.autograd.Function):
    """`sign(P) / sqrt(D)`, the gradient passed straight through the sign (not clipped)."""

    @staticmethod
    def forward(ctx: Any, latent: Tensor, projected: bool) -> Tensor:
        unit = torch.where(latent >= 0, 1.0, -1.0).to(latent.dtype).mul_(latent.shape[-1] ** -0.5)
        ctx.projected = projected
        ctx.save_for_backward(unit)
        return unit

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (unit,) = ctx.saved_tensors
        g = grads[0]
        if ctx.projected:
            # d(u/|u|) at |u| = sqrt(D): what lies along the prototype is lost (sheet of the paper, A1.4, point 4).
            g = g - (g * unit).sum(-1, keepdim=True) * unit
        return g * unit.shape[-1] ** -0.5, None
