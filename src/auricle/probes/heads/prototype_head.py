"""Base of heads that score tokens against prototypes and keep the best token of each."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from auricle.encoders.contract import Grid
from auricle.errors import ConfigError
from auricle.probes.contract import Inputs, ProbeHead, classify, drop
from auricle.probes.heads.best_tokens import best_token, fast_precision, similarities, top_tokens
from auricle.tokens.token_set import TokenBatch


class PrototypeHead(ProbeHead):
    """`mix(max_i sim(z_i, p))` at S settings; inputs hold tokens of length one.

    Args:
        top_k: in training, the similarity of a prototype is the mean over its `top_k` best tokens of a clip (over all
            where it has fewer); in evaluation it is that of the best (Bird-MAE, arXiv 2504.12880).
        dropout: on the similarities, in training.
        precision: `exact`, `fast` or `auto`; see `ProtobinConfig`.
    """

    prototypes: nn.Parameter

    def __init__(self, *, top_k: int, dropout: float, precision: str) -> None:
        super().__init__()
        self.top_k, self.dropout, self.precision = top_k, dropout, precision

    @abstractmethod
    def units(self) -> Tensor:
        """Return the prototypes `(S, P, D)` of length one, with their gradient."""

    @abstractmethod
    def mix(self, h: Tensor) -> Tensor:
        """Return logits `(S, ..., C)` of similarities `(S, ..., P)`."""

    @abstractmethod
    def strengths(self, h: Tensor, target: int) -> Tensor:
        """Return each prototype's part in the logit of class `target`, `(S, B, P)`, at similarities `(S, B, P)`."""

    def activate(self, values: Tensor) -> Tensor:
        """Turn products of unit vectors into similarities; must not change their order."""
        return values

    def patches(self, inputs: Inputs) -> Inputs:
        """Return the tokens of the map, without those that `read` puts in front of them."""
        return inputs

    def floor(self, inputs: Inputs) -> Tensor | None:
        """Return `(S, B, P)` to subtract from every similarity of a clip; None: nothing."""
        return None

    def forward(self, inputs: Inputs, generator: torch.Generator | None = None) -> Tensor:
        h = self.similarities(inputs)
        return self.mix(drop(h, self.dropout, generator) if self.training else h)

    def similarities(self, inputs: Inputs) -> Tensor:
        """Return `h (S, B, P)`: the similarity of each prototype with its best valid token, or mean of its best."""
        units, floor, inputs = self.units(), self.floor(inputs), self.patches(inputs)
        S, P, _ = units.shape
        flat, x, valid = units.flatten(0, 1), inputs.x, inputs.valid
        count = min(self.top_k, x.shape[1]) if self.training else 1
        if count == 1:
            values, places = best_token(flat, x, valid, fast=self._fast(x), search=torch.is_grad_enabled())
            h = self.activate(similarities(values, places, flat, x))
        else:
            best, place = top_tokens(flat, x, valid, count)
            there = x.new_full((len(x),), x.shape[1]) if valid is None else valid.sum(1).to(x.dtype)
            h = x.new_zeros(S * P, len(x))
            for k in range(count):
                one = self.activate(similarities(best[..., k], place[..., k], flat, x))
                h = h + one * (there > k)
            h = h / there.clamp(max=count)
        h = h.view(S, P, -1).transpose(1, 2)
        return h if floor is None else h - floor

    def frame_similarities(self, inputs: Inputs, grid: Grid) -> Tensor:
        """Return `(S, B, T, P)`: each prototype's best similarity in each time column, 0 in columns of padding.

        The maximum is over frequency only, as for sound events (arXiv 2602.16305); gradients flow as in `similarities`.

        Args:
            inputs: of `read`.
            grid: of the batch that was read.

        Raises:
            ConfigError: the tokens do not fill the grid.
        """
        units, floor, inputs = self.units(), self.floor(inputs), self.patches(inputs)
        x, valid = inputs.x, inputs.valid
        B, N, D = x.shape
        if grid.tokens != N:
            raise ConfigError(f"found {N} tokens a clip, expected {grid.time} x {grid.freq}; pass the batch's own grid")
        S, P, _ = units.shape
        x = x.reshape(B * grid.time, grid.freq, D)
        valid = None if valid is None else valid.reshape(B * grid.time, grid.freq)
        flat = units.flatten(0, 1)
        values, places = best_token(flat, x, valid, fast=self._fast(x), search=torch.is_grad_enabled())
        h = self.activate(similarities(values, places, flat, x)).view(S, P, B, grid.time).permute(0, 2, 3, 1)
        h = h if floor is None else h - floor.unsqueeze(2)
        return h if valid is None else h.masked_fill(~valid.any(1).view(B, grid.time, 1), 0)

    @torch.no_grad()
    def token_similarities(self, inputs: Inputs, prototypes: Tensor) -> Tensor:
        """Return the similarity of some prototypes `(K,)` int64 with every token, `(S, B, K, N)`: for maps."""
        floor, x = self.floor(inputs), self.patches(inputs).x
        found = self.activate(torch.einsum("skd,bnd->sbkn", self.units()[:, prototypes], x))
        return found if floor is None else found - floor[..., prototypes].unsqueeze(-1)

    def _fast(self, x: Tensor) -> bool:
        # float64 tokens need exact similarities.
        return self.training and x.dtype == torch.float32 and fast_precision(self.precision, x.device)


def mapped(batch: TokenBatch) -> tuple[Tensor, Tensor | None]:
    """Return a batch's tokens, zeros at padded places, and their validity, None where nothing is padding."""
    if bool(batch.valid.all()):
        return batch.x, None
    # Padded tokens are never the best, except in a column of padding, whose gradient is zero times that token.
    return batch.x.masked_fill(~batch.valid.unsqueeze(-1), 0), batch.valid


def classify_any(h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Apply each setting's linear layer to `(S, ..., P)`: `(S, C, P)`, `(S, C)` -> `(S, ..., C)`."""
    return classify(h.flatten(1, -2), weight, bias).view(*h.shape[:-1], -1)


def classify_blocks(h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Let each class see its own J prototypes only: `(S, ..., C J)`, `(S, C, J)`, `(S, C)` -> `(S, ..., C)`."""
    C, J = weight.shape[1:]
    own = h.flatten(1, -2).unflatten(-1, (C, J))
    return ((own * weight.unsqueeze(1)).sum(-1) + bias.unsqueeze(1)).view(*h.shape[:-1], C)


def block_strengths(h: Tensor, weight: Tensor, target: int) -> Tensor:
    """Return the part `(S, B, P)` of prototypes in a class that sees its own only; `weight (S, C, J)`."""
    J = weight.shape[2]
    out = torch.zeros_like(h)
    own = slice(target * J, (target + 1) * J)
    out[..., own] = h[..., own] * weight[:, target].unsqueeze(1)
    return out
