"""A codebook of directions that follows what is quantised: moving averages instead of gradients.

Source: BEATs (arXiv 2212.09058, section 3.2): 1024 codes of 256 dimensions, normalised to length 1, as are the vectors
that they stand for; each code is a moving average (decay 0.99) of the vectors that chose it; the gradient passes
straight through; k-means gives the first codes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.config import Config
from auricle.errors import ConfigError


@dataclass(frozen=True)
class CodebookConfig(Config):
    """Settings of a codebook and of the map to it.

    Attributes:
        codes: K, number of codes.
        dim: size of a code.
        decay: share of itself that a code keeps each step.
        patience: a code that no token chose for so many steps is moved to a token of the batch; 0: never.
    """

    codes: int = 1024
    dim: int = 256
    decay: float = 0.99
    patience: int = 20

    def __post_init__(self) -> None:
        """Refuse settings out of range.

        Raises:
            ConfigError: naming the setting.
        """
        if self.codes < 2 or self.dim < 2:
            raise ConfigError(f"found codes {self.codes} and dim {self.dim} of a codebook, expected at least 2 each")
        if not 0.0 <= self.decay < 1.0 or self.patience < 0:
            raise ConfigError(
                f"found decay {self.decay} and patience {self.patience} of a codebook, expected 0 <= decay < 1 and 0 "
                "or more steps"
            )


@dataclass(frozen=True)
class Coded:
    """What a codebook makes of `(B, N, D)`.

    Attributes:
        x: `(B, N, dim)` the chosen codes; in backward their gradient goes to `unit` unchanged.
        unit: `(B, N, dim)` what was quantised, of length 1, with its gradient.
        codes: `(B, N)` int64.
    """

    x: Tensor
    unit: Tensor
    codes: Tensor


class Codebook(nn.Module):
    """Maps tokens to unit vectors by a layer of D tanh units, and these to the nearest of K codes of length 1.

    Computed in float32 (or wider) whatever the autocast: half precision confuses neighbouring codes.

    Attributes:
        book: `(K, dim)` buffer, rows of length 1.
        idle: `(K,)` int64 buffer, steps since a token last chose each code.
    """

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
        """Begin with given codes `(K, dim)`."""
        self.book.copy_(F.normalize(centres.to(self.book), dim=1))
        self.idle.zero_()

    @torch.no_grad()
    def follow(self, sums: Tensor, counts: Tensor, candidates: Tensor) -> Tensor:
        """Move the codes by one step, and give those that nobody uses another place.

        Args:
            sums: `(K, dim)` sums of the unit vectors that chose each code, over all ranks.
            counts: `(K,)` their numbers; where all are zero nothing changes.
            candidates: `(n, dim)` unit vectors of the batch, the same on every rank: dead codes take them in turn.

        Returns:
            How many codes were moved to candidates.
        """
        # All by `where`, so that no step waits for the device.
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
