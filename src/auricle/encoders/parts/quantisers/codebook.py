"""A codebook of unit vectors, updated by moving averages instead of gradients.

Source: BEATs (arXiv 2212.09058, section 3.2): 1024 codes of 256 dimensions; codes and the quantised vectors have length
1; each code is a moving average (decay 0.99) of the vectors assigned to it; the gradient passes straight through;
k-means gives the first codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from auricle.config import Config, Natural, ShareBelowOne


@dataclass(frozen=True)
class CodebookConfig(Config):
    """Settings of a codebook and of the projection to it.

    Attributes:
        codes: K, number of codes.
        dim: dimension of a code.
        decay: of the moving averages.
        patience: steps without any assigned token after which a code is moved to a token of the batch; 0: never.
    """

    codes: Annotated[int, Ge(2)] = 1024
    dim: Annotated[int, Ge(2)] = 256
    decay: ShareBelowOne = 0.99
    patience: Natural = 20


@dataclass(frozen=True)
class Coded:
    """Quantised tokens.

    Attributes:
        x: `(B, N, dim)` the assigned codes; in backward their gradient goes to `unit` unchanged.
        unit: `(B, N, dim)` the vectors before quantisation, of length 1, with their gradient.
        codes: `(B, N)` int64.
    """

    x: Tensor
    unit: Tensor
    codes: Tensor


class Codebook(nn.Module):
    """Maps tokens to unit vectors by a layer of D tanh units, and these to the nearest of K codes of length 1.

    Computed in float32 (or wider) also under autocast: half precision confuses neighbouring codes.

    Attributes:
        book: `(K, dim)` buffer, rows of length 1.
        idle: `(K,)` int64 buffer, steps since a token was last assigned to each code.
    """

    learns_codes: ClassVar[bool] = True

    book: Tensor
    idle: Tensor

    def __init__(self, config: CodebookConfig, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.fc1, self.fc2 = nn.Linear(width, width), nn.Linear(width, config.dim)
        self.register_buffer("book", F.normalize(torch.randn(config.codes, config.dim, generator=generator), dim=1))
        self.register_buffer("idle", torch.zeros(config.codes, dtype=torch.int64))
        for linear in (self.fc1, self.fc2):
            nn.init.xavier_uniform_(linear.weight, generator=generator)
            nn.init.zeros_(linear.bias)

    def project(self, x: Tensor) -> Tensor:
        """Return unit vectors `(B, N, dim)` of tokens `(B, N, D)`."""
        with torch.autocast(x.device.type, enabled=False):
            z = F.linear(x.to(self.fc1.weight.dtype), self.fc1.weight, self.fc1.bias).tanh()
            return F.normalize(F.linear(z, self.fc2.weight, self.fc2.bias), dim=-1)

    def nearest(self, unit: Tensor) -> Tensor:
        """Return the code `(B, N)` int64 nearest to each unit vector `(B, N, dim)`; the first among equals."""
        with torch.no_grad(), torch.autocast(unit.device.type, enabled=False):
            return torch.cat([(part @ self.book.T).argmax(-1) for part in unit.split(64)])

    def forward(self, x: Tensor) -> Coded:
        """Quantise tokens `(B, N, D)`."""
        unit = self.project(x)
        codes = self.nearest(unit)
        chosen = self.book[codes]
        return Coded(unit + (chosen - unit).detach(), unit, codes)

    @torch.no_grad()
    def start(self, centres: Tensor) -> None:
        """Set the codes to `centres (K, dim)`."""
        self.book.copy_(F.normalize(centres.to(self.book), dim=1))
        self.idle.zero_()

    @torch.no_grad()
    def follow(self, sums: Tensor, counts: Tensor, candidates: Tensor) -> Tensor:
        """Update the codes by one step, and replace those that no token uses.

        Args:
            sums: `(K, dim)` sums of the unit vectors assigned to each code, over all ranks.
            counts: `(K,)` their numbers; where all are zero nothing changes.
            candidates: `(n, dim)` unit vectors of the batch, the same on every rank; unused codes take them in order.

        Returns:
            Number of replaced codes.
        """
        # `where` instead of branches, so that no step waits for the device.
        moved = F.normalize(self.config.decay * self.book + (1 - self.config.decay) * F.normalize(sums, dim=1), dim=1)
        book = torch.where((counts > 0).unsqueeze(1), moved, self.book)
        some = counts.sum() > 0
        idle = torch.where(counts > 0, 0, self.idle + 1)
        dead = (idle >= self.config.patience) & (self.config.patience > 0)
        turn = dead.long().cumsum(0) - 1
        revived = dead & (turn < len(candidates)) & some
        book = torch.where(revived.unsqueeze(1), candidates[turn.clamp(0, len(candidates) - 1)].to(book), book)
        self.book.copy_(book)
        self.idle.copy_(torch.where(some, idle.masked_fill(revived, 0), self.idle))
        return revived.sum()
