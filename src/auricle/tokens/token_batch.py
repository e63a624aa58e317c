"""Tokens of some clips as probes read them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from auricle.encoders.contract import Grid
from auricle.errors import ConfigError


@dataclass(frozen=True)
class TokenBatch:
    """Tokens of some clips, padded to the longest.

    Attributes:
        x: `(B, N, D)` float32, zeros beyond a clip's tokens.
        valid: `(B, N)` bool, False where a token is padding; each clip has at least one valid token.
        cls: `(B, P, D)` class tokens, or None.
        pooled: `(B, D')` the encoder's own clip vector (its width may differ from D).
        grid: the grid of the longest clip; token index = t * grid.freq + f.
        stack: `(B, L, N', D)` the stacked layers, padded to the longest of them, or None.
        stack_valid: `(B, L, N')` bool, or None.
        stack_cls: `(B, L, P, D)` their class tokens, or None.
        stack_grids: the grid of each stacked layer.
        aligned: whether every clip's stacked layers have one grid.
    """

    x: Tensor
    valid: Tensor
    cls: Tensor | None
    pooled: Tensor
    grid: Grid
    stack: Tensor | None = None
    stack_valid: Tensor | None = None
    stack_cls: Tensor | None = None
    stack_grids: tuple[Grid, ...] = ()
    aligned: bool = True

    def to(self, device: torch.device | str) -> TokenBatch:
        """Move to a device."""
        parts: dict[str, Any] = {part.name: getattr(self, part.name) for part in fields(self)}
        moved: dict[str, Any] = {name: x.to(device) if isinstance(x, Tensor) else x for name, x in parts.items()}
        return TokenBatch(**moved)

    def layers(self, *, one_grid: bool = False) -> tuple[Tensor, Tensor]:
        """Return the stacked layers `(B, L, N', D)` and their validity `(B, L, N')`, for a probe that needs them.

        Args:
            one_grid: token i must be at the same place in every layer.

        Raises:
            ConfigError: no layers are stacked, or their grids differ where one is needed.
        """
        if self.stack is None or self.stack_valid is None:
            raise ConfigError(
                "this probe reads the layers of an encoder, and these tokens are of its output alone; extract several "
                "layers and select them with layers='all'"
            )
        if one_grid and not self.aligned:
            grids = sorted({(grid.time, grid.freq) for grid in self.stack_grids})
            raise ConfigError(
                f"this probe compares the layers token by token, and they have different grids {grids} (time, "
                "frequency); choose layers of one grid, or a probe that averages each layer first"
            )
        return self.stack, self.stack_valid
