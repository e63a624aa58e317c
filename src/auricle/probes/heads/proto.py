"""Class-bound real prototypes: Bird-MAE's prototypical probe (arXiv 2504.12880), `proto` in arXiv 2509.24901."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from auricle.config import Count, NonNegative
from auricle.errors import ConfigError
from auricle.probes.contract import Inputs, ProbeConfig, repeat
from auricle.probes.heads.prototype_head import PrototypeHead, block_strengths, classify_blocks, mapped
from auricle.tokens.token_set import TokenBatch, TokenShape

# The constants of the published code: two channels of this value behind tokens and prototypes, the same added under
# the root of every squared length and once more to a prototype's length; similarities are divided by 1.01.
_EPS = 1e-4
_SHRINK = 1.01
_START = 1.0
_BIAS = -2.0


@dataclass(frozen=True)
class ProtoConfig(ProbeConfig):
    """Settings of the prototypical probe.

    Without the published code's bilinear doubling of the map (which can't raise a maximum), and its margin and
    frequency weights (which are off). One learning rate for prototypes and last layer, as in arXiv 2509.24901.

    Attributes:
        per_class: J, prototypes for each class, which no other class sees.
        top_k: tokens whose mean similarity a prototype gets in training; the best alone in evaluation.
        focal: subtract from a prototype's best similarity the one with the (first) class token.
        orthogonality: weight of the Gram penalty `||G - I||_F / numel(G)` on the normalised prototypes of each class,
            G `(C, J, J)`; it acts through the gradient and is not part of the reported loss.
        precision: see `ProtobinConfig`.
    """

    lr_range: ClassVar[tuple[float, float]] = (2e-3, 8e-2)
    per_class: Count = 20
    top_k: Count = 1
    focal: bool = False
    orthogonality: NonNegative = 1.0
    precision: Literal["auto", "exact", "fast"] = "auto"


class Proto(PrototypeHead):
    """`sum_j relu(w_cj) max_i relu(sim(z_i, p_cj)) + b_c` at S settings; `P D + P + C` parameters, `P = C J`."""

    def __init__(
        self, config: ProtoConfig, shape: TokenShape, classes: int, settings: int, generator: torch.Generator
    ) -> None:
        super().__init__(top_k=config.top_k, dropout=0.0, precision=config.precision)
        if config.focal and shape.cls == 0:
            raise ConfigError("focal similarities need a class token, and this encoder has none; use focal=False")
        self.config = config
        start = torch.rand(classes * config.per_class, shape.width, generator=generator)
        self.prototypes = repeat(start, settings)
        self.weight = repeat(torch.full((classes, config.per_class), _START), settings)
        self.bias = repeat(torch.full((classes,), _BIAS), settings)

    def read(self, batch: TokenBatch) -> Inputs:
        x, valid = mapped(batch)
        if self.config.focal:
            if batch.cls is None:
                raise ConfigError("focal similarities need class tokens, and these tokens come without")
            x = torch.cat([batch.cls[:, :1], x], 1)
            valid = None if valid is None else torch.cat([valid.new_ones(len(x), 1), valid], 1)
        x = _channels(x)
        return Inputs(x / (x.square().sum(-1, keepdim=True) + _EPS).sqrt(), valid)

    def units(self) -> Tensor:
        p = _channels(self.prototypes)
        return p / ((p.square().sum(-1, keepdim=True) + _EPS).sqrt() + _EPS)

    def activate(self, values: Tensor) -> Tensor:
        return (values / _SHRINK).relu()

    def forward(self, inputs: Inputs, generator: torch.Generator | None = None) -> Tensor:
        logits = super().forward(inputs, generator)
        if self.training and self.config.orthogonality > 0:
            logits = _WithPenalty.apply(logits, self.config.orthogonality * self.orthogonality())
        return logits

    def patches(self, inputs: Inputs) -> Inputs:
        if not self.config.focal:
            return inputs
        return Inputs(inputs.x[:, 1:], None if inputs.valid is None else inputs.valid[:, 1:])

    def floor(self, inputs: Inputs) -> Tensor | None:
        return self.activate(torch.einsum("spd,bd->sbp", self.units(), inputs.x[:, 0])) if self.config.focal else None

    def mix(self, h: Tensor) -> Tensor:
        return classify_blocks(h, self.weight.relu(), self.bias)

    def strengths(self, h: Tensor, target: int) -> Tensor:
        return block_strengths(h, self.weight.relu(), target)

    def orthogonality(self) -> Tensor:
        """Return the Gram penalty of each setting, `(S,)`."""
        S, P, D = self.prototypes.shape
        J = self.config.per_class
        unit = F.normalize(self.prototypes, dim=-1).view(S, P // J, J, D)
        gram = unit @ unit.transpose(-1, -2) - torch.eye(J, dtype=unit.dtype, device=unit.device)
        return gram.flatten(1).norm(dim=1) / (P * J)


def _channels(x: Tensor) -> Tensor:
    return torch.cat([x, x.new_full((*x.shape[:-1], 2), _EPS)], -1)


class _WithPenalty(torch.autograd.Function):
    """Logits whose backward adds the gradient of a penalty, once for every setting."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, penalty: Tensor) -> Tensor:
        ctx.save_for_backward(penalty)
        return logits.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        return grads[0], torch.ones_like(ctx.saved_tensors[0])
