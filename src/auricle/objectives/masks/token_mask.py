"""The contract of mask samplers: which tokens of each clip are masked, and which are to be predicted."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass

import torch
from torch import Tensor

from auricle.config import Config
from auricle.encoders.contract import Grid
from auricle.objectives.masks.exact_choice import padding


@dataclass(frozen=True)
class MaskedPositions:
    """The tokens that the encoder does not see, and those to be predicted, for B clips on a grid of N tokens.

    Attributes:
        masked: `(B, N)` bool, True where a token is masked.
        predicted: `(B, N)` bool, True where a token is to be predicted; usually the masked ones.
    """

    masked: Tensor
    predicted: Tensor

    def visible(self) -> Tensor | None:
        """Return the positions `(B, K)` of the visible tokens, rising, or None where rows differ in their number."""
        counts = (~self.masked).sum(1)
        if not bool((counts == counts[0]).all()):
            return None
        # Stable: False (visible) before True, each in its order.
        return self.masked.to(torch.uint8).argsort(dim=1, stable=True)[:, : int(counts[0])]

    def to(self, device: torch.device | str) -> MaskedPositions:
        """Move to a device."""
        return MaskedPositions(self.masked.to(device), self.predicted.to(device))


@dataclass(frozen=True)
class TokenMaskConfig(Config, ABC, section="mask"):
    """Base of the settings of mask samplers; a sampler has no state, so its settings draw.

    All draws are those of `auricle.objectives.distributed`, so that two ranks mask the same tokens as one process.
    """

    @property
    def equal_count(self) -> bool:
        """Whether every row has equally many masked tokens, padding included: needed where masked ones are dropped."""
        return True

    def draw(
        self, grid: Grid, rows: int, generator: torch.Generator, valid: Tensor | None = None, progress: float = 0.0
    ) -> MaskedPositions:
        """Draw the masked positions of each of `rows` clips, on the CPU.

        Args:
            grid: of the tokens (time-major: token = t * F + f).
            rows: clips of this rank.
            generator: in the same state on every rank.
            valid: `(B, N)` bool, False for tokens of padding, which are never predicted; None: all valid.
            progress: share of the training that is done, 0 ... 1, for samplers with a curriculum.

        Raises:
            ConfigError: the mask would leave nothing visible, or nothing masked, on this grid.

        Examples:
            >>> from auricle.objectives.masks.samplers import RandomMask
            >>> mask = RandomMask(ratio=0.75).draw(Grid(time=16, freq=4, rate=25.0), 2, torch.Generator())
            >>> mask.masked.sum(1).tolist()
            [48, 48]
        """
        valid = padding(valid, rows, grid)
        masked = self.sample(grid, rows, generator, valid)
        return MaskedPositions(masked, masked if valid is None else masked & valid)

    def sample(self, grid: Grid, rows: int, generator: torch.Generator, valid: Tensor | None) -> Tensor:
        """Return the masked tokens `(B, N)` bool, for samplers whose masked tokens are all to be predicted.

        Args:
            grid: see `draw`.
            rows: see `draw`.
            generator: see `draw`.
            valid: `(B, N)` bool on the CPU, None where nothing is padded.
        """
        raise NotImplementedError(f"{type(self).__name__} defines neither sample nor draw")
