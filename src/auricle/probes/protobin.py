"""Binarised prototypes: each token scored against +-1 vectors, the best token of each kept (arXiv 2509.24901)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from auricle.errors import ConfigError
from auricle.probes.contract import Inputs, ProbeConfig, ProbeHead, classify, linear_init, repeat
from auricle.tokens.token_set import TokenBatch, TokenShape

# Similarities held at once: about the second-level cache of a core (fp32), so that the maximum is found before they
# leave it; a GPU wants launches that fill it.
_CPU_CHUNK = 2**20
_GPU_CHUNK = 2**26


@dataclass(frozen=True)
class ProtobinConfig(ProbeConfig):
    """Settings of the binarised-prototype probe.

    Attributes:
        per_class: J, prototypes for each class (the paper: 20; 10 for AudioSet). They are shared by all classes.
        init_std: of the latent prototypes.
        dropout: on the similarities, in training (the paper: 0; BAT: 0.2).
        precision: `exact` computes similarities in float32. `fast` finds them in bfloat16 while training, off by up
            to 0.4 % of themselves; predictions are float32 always. `auto` is `fast` where the processor multiplies
            bfloat16 natively.
    """

    lr_range: ClassVar[tuple[float, float]] = (2e-3, 8e-2)
    per_class: int = 20
    init_std: float = 0.02
    dropout: float = 0.0
    precision: Literal["auto", "exact", "fast"] = "auto"

    def build(self, shape: TokenShape, classes: int, *, settings: int, generator: torch.Generator) -> Protobin:
        """Build the head.

        Raises:
            ConfigError: there is less than one prototype a class, or dropout is outside [0, 1).
        """
        if self.per_class < 1:
            raise ConfigError(f"per_class is {self.per_class}; a class needs at least one prototype")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout is {self.dropout}; expected 0 or more and less than 1")
        return Protobin(self, shape.width, classes, settings, generator)


class Protobin(ProbeHead):
    """`W max_i cos(z_i, sign(P)) + b` at S settings; `P D + P C + C` parameters each, with `P = C J`."""

    def __init__(
        self, config: ProtobinConfig, width: int, classes: int, settings: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.config = config
        count = classes * config.per_class
        self.prototypes = repeat(torch.randn(count, width, generator=generator) * config.init_std, settings)
        self.weight = repeat(linear_init((classes, count), count, generator), settings)
        self.bias = repeat(linear_init((classes,), count, generator), settings)
        self._signs: Tensor | None = None

    def read(self, batch: TokenBatch) -> Inputs:
        """Scale each token to length one; the class tokens do not take part."""
        return Inputs(F.normalize(batch.x, dim=-1), None if bool(batch.valid.all()) else batch.valid)

    def forward(self, inputs: Inputs, generator: torch.Generator | None = None) -> Tensor:
        """Return logits `(S, B, C)`."""
        h = self.similarities(inputs)
        if self.training and self.config.dropout > 0:
            keep = torch.rand(h.shape[1:], generator=generator, device=h.device) >= self.config.dropout
            h = h * keep / (1 - self.config.dropout)
        return classify(h, self.weight, self.bias)

    def similarities(self, inputs: Inputs) -> Tensor:
        """Return `h (S, B, P)`: the largest cosine of each prototype with any valid token."""
        # float64 tokens ask for exactness.
        single = inputs.x.dtype == torch.float32
        fast = self.training and single and fast_precision(self.config.precision, inputs.x.device)
        h: Tensor = _BestToken.apply(self.prototypes, inputs.x, inputs.valid, fast, torch.is_grad_enabled())
        return h

    def keep(self, rows: Tensor) -> None:
        """Keep the settings at `rows`."""
        super().keep(rows)
        self._signs = None if self._signs is None else self._signs[rows]

    def watch(self) -> dict[str, Tensor]:
        """Share of prototype signs that flipped since the last call: what learning rate and decay really control."""
        signs = self.prototypes.detach() >= 0
        before, self._signs = self._signs, signs
        if before is None:
            return {}
        return {"flips": (signs != before).float().mean((1, 2))}


def fast_precision(precision: str, device: torch.device) -> bool:
    """Decide whether similarities are computed in bfloat16 while training."""
    if precision == "auto":
        return device.type != "cpu" or torch.cpu._is_avx512_bf16_supported()
    return precision == "fast"


class _BestToken(torch.autograd.Function):
    """`h = max_i cos(z_i, sign(P))` whose backward reads the winning tokens only.

    The straight-through gradient goes through the normalisation after the sign: `dh/dP = (z - h p) / sqrt(D)` with
    unit vectors z (the winner) and p (sheet A1.4, point 4). No gradient is given to the tokens: they are frozen.
    """

    @staticmethod
    def forward(ctx: Any, latent: Tensor, x: Tensor, valid: Tensor | None, fast: bool, search: bool) -> Tensor:
        S, P, D = latent.shape
        unit = torch.where(latent >= 0, 1.0, -1.0).to(latent.dtype).mul_(D**-0.5).view(S * P, D)
        h, winner = best_token(unit, x, valid, fast=fast, search=search)
        ctx.save_for_backward(unit, x, h, winner)
        ctx.shape = latent.shape
        return h.view(S, P, -1).transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        unit, x, h, winner = ctx.saved_tensors
        B, N, D = x.shape
        g = grads[0].transpose(1, 2).reshape(unit.shape[0], B)
        rows = winner + torch.arange(B, device=x.device) * N
        pulled = F.embedding_bag(rows, x.reshape(B * N, D), per_sample_weights=g.contiguous(), mode="sum")
        latent = (pulled - (g * h).sum(1, keepdim=True) * unit) * D**-0.5
        return latent.view(ctx.shape), None, None, None, None


def best_token(
    unit: Tensor, x: Tensor, valid: Tensor | None, *, fast: bool, search: bool = True
) -> tuple[Tensor, Tensor]:
    """Find each prototype's best token in each clip, a cache-sized piece of the similarities at a time.

    Args:
        unit: `(R, D)` prototypes of length one (all settings in a row).
        x: `(B, N, D)` tokens of length one.
        valid: `(B, N)` bool or None.
        fast: multiply in bfloat16.
        search: find the winners too; without them (and in float32) the second result means nothing.

    Returns:
        `(R, B)` the largest similarity, and `(R, B)` int64 its token (first 65,536 tokens where `fast`).
    """
    R, (B, N, D) = unit.shape[0], x.shape
    # The place of a token is packed into 16 bits.
    fast = fast and N <= 2**16
    if fast:
        unit, x = unit.bfloat16(), x.bfloat16()
    best = torch.empty(R, B, device=x.device, dtype=torch.float32 if fast else x.dtype)
    winner = torch.empty(R, B, device=x.device, dtype=torch.int64)
    limit = _CPU_CHUNK if x.device.type == "cpu" else _GPU_CHUNK
    clips = max(1, min(B, limit // (R * N)))
    rows = max(1, min(R, limit // (clips * N)))
    place = torch.arange(N, device=x.device, dtype=torch.int32)
    for b in range(0, B, clips):
        tokens = x[b : b + clips].reshape(-1, D).t()
        masked = None if valid is None else ~valid[b : b + clips]
        for r in range(0, R, rows):
            s = (unit[r : r + rows] @ tokens).view(-1, x[b : b + clips].shape[0], N)
            if masked is not None:
                # Below any cosine, and finite: the packing below would turn -inf into NaN.
                s.masked_fill_(masked, -4.0)
            if fast:
                # bfloat16 as float32 has sixteen free low bits: with the place in them one maximum yields both,
                # at a third of the cost of a maximum with indices.
                packed = s.float().view(torch.int32).bitwise_or_(place).view(torch.float32).amax(-1).view(torch.int32)
                winner[r : r + rows, b : b + clips] = packed & 0xFFFF
                best[r : r + rows, b : b + clips] = (packed & -0x10000).view(torch.float32)
            elif search:
                best[r : r + rows, b : b + clips], winner[r : r + rows, b : b + clips] = s.max(-1)
            else:
                best[r : r + rows, b : b + clips] = s.amax(-1)
    return best, winner
