"""What every sampler of token masks promises: which tokens of each clip are hidden, and which are to be predicted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from auricle.config import Config
from auricle.encoders.contract import Grid


@dataclass(frozen=True)
class MaskedPositions:
    """The tokens that are hidden from the encoder, and those to be predicted, for B clips on a grid of N tokens.

    Attributes:
        masked: `(B, N)` bool, True where a token is hidden.
        predicted: `(B, N)` bool, True where it is to be predicted; usually the hidden ones.
    """

    masked: Tensor
    predicted: Tensor

    def visible(self) -> Tensor | None:
        """Return the places `(B, K)` of the visible tokens, rising, or None where rows differ in their number."""
        counts = (~self.masked).sum(1)
        if not bool((counts == counts[0]).all()):
            return None
        # Stable: False (visible) before True, each in its order.
        return self.masked.to(torch.uint8).argsort(dim=1, stable=True)[:, : int(counts[0])]

    def to(self, device: torch.device | str) -> MaskedPositions:
        """Move to a device."""
        return MaskedPositions(self.masked.to(device), self.predicted.to(device))


@dataclass(frozen=True)
class TokenMaskConfig(Config, ABC):
    """Base of the settings of mask samplers; a sampler has no state, so its settings draw.

    All randomness comes through `auricle.objectives.draws`, so that two ranks hide what one process would.
    """

    @property
    @abstractmethod
    def equal_count(self) -> bool:
        """Whether every clip hides equally many tokens: needed where the encoder sees the visible ones only."""

    @abstractmethod
    def draw(
        self, grid: Grid, rows: int, generator: torch.Generator, valid: Tensor | None = None, progress: float = 0.0
    ) -> MaskedPositions:
        """Draw what is hidden from each of `rows` clips, on the CPU.

        Args:
            grid: where the tokens lie (time-major: token = t * F + f).
            rows: clips of this rank.
            generator: in the same state on every rank.
            valid: `(B, N)` bool, False for tokens of padding, which are never predicted; None: all valid.
            progress: share of the training that is done, 0 ... 1, for samplers with a curriculum.

        Raises:
            ConfigError: the mask would leave nothing visible, or nothing hidden, on this grid.
        """
