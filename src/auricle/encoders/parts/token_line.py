"""The one line in which a recurrence reads the tokens of a grid: their order, the class token's place, padding last."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from auricle.encoders.contract import Tokens

ReadingOrder = Literal["time", "frequency"]


class TokenLine:
    """A batch of tokens as sequences, and back.

    Args:
        tokens: all of a grid, in time-major order; padding is at the end of time.
        cls: where the class token is read: `first`, or `last` (after the last valid token); `none`: there is none.
        order: `time`: one time step after the other; `frequency`: one band after the other.
    """

    def __init__(self, tokens: Tokens, cls: Literal["none", "first", "last"], order: ReadingOrder) -> None:
        self.tokens, self.cls = tokens, cls
        self.count = None if tokens.valid is None else tokens.valid.sum(1)
        self.order: Tensor | None = None
        if order == "frequency":
            grid = tokens.grid
            place = torch.arange(grid.tokens, device=tokens.x.device)
            rank = (place % grid.freq * grid.time + place // grid.freq).expand(tokens.x.shape[0], -1)
            self.order = (rank if tokens.valid is None else rank + ~tokens.valid * grid.tokens).argsort(1)

    def joined(self) -> tuple[Tensor, Tensor | None]:
        """Return the sequences `(B, L, D)` and each one's length (None: no padding)."""
        x, cls, count = self.tokens.x, self.tokens.cls, self.count
        x = x if self.order is None else _rows(x, self.order)
        if cls is None:
            return x, count
        lengths = None if count is None else count + 1
        if self.cls == "first":
            return torch.cat([cls, x], 1), lengths
        joined = torch.cat([x, cls], 1)
        if count is None:
            return joined, None
        place, last = torch.arange(joined.shape[1], device=x.device), count.unsqueeze(1)
        source = torch.where(place < last, place, torch.where(place == last, x.shape[1], place - 1))
        return _rows(joined, source), lengths

    def parted(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Undo `joined` on sequences `(B, L, D)`: return tokens in time-major order, and the class token."""
        body, cls = self._without_cls(x)
        return body if self.order is None else _rows(body, self.order.argsort(1)), cls

    def _without_cls(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.tokens.cls is None:
            return x, None
        if self.cls == "first":
            return x[:, 1:], x[:, :1]
        if self.count is None:
            return x[:, :-1], x[:, -1:]
        place, last = torch.arange(x.shape[1] - 1, device=x.device), self.count.unsqueeze(1)
        return _rows(x, torch.where(place < last, place, place + 1)), _rows(x, last)


def _rows(x: Tensor, index: Tensor) -> Tensor:
    return x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[2]))
