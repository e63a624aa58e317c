"""Two-dimensional sin-cos tables: where learned positions start."""

from __future__ import annotations

import torch
from torch import Tensor

from auricle.errors import ConfigError


def sincos_axis(places: Tensor, width: int) -> Tensor:
    """Return `(N, width)`: sines, then cosines, of `places (N,)` at frequencies 10000^(-k / (width / 2))."""
    half = width // 2
    frequency = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = places.to(torch.float64).unsqueeze(1) * frequency
    return torch.cat([angle.sin(), angle.cos()], 1)


def sincos_grid(rows: int, columns: int, width: int) -> Tensor:
    """Return the float64 table `(rows * columns, width)`: the first half encodes the column, the second the row.

    Args:
        rows: lines of the slow axis (token index = row * columns + column).
        columns: lines of the fast axis.
        width: D, a multiple of 4.

    Raises:
        ConfigError: the width is not a multiple of 4.
    """
    if width % 4:
        raise ConfigError(f"found width {width}, expected a multiple of 4 for sin-cos positions on two axes")
    token = torch.arange(rows * columns)
    column = sincos_axis(token % columns, width // 2)
    row = sincos_axis(token // columns, width // 2)
    return torch.cat([column, row], 1)
