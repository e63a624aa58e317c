"""Sin-cos tables on one and two axes: fixed positions, or initial values of learned ones."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from auricle.errors import ConfigError

PositionGrid = Literal["true", "released"]
"""`true`: positions of the tokens' own (time, frequency) grid; `released`: of the transposed one, as in the code of
Audio-MAE and AudioMosaic, which counts tokens of a 64 x 8 grid as 8 rows of 64."""


def sincos_axis(places: Tensor, width: int) -> Tensor:
    """Return `(N, width)`: sines, then cosines, of `places (N,)` at frequencies 10000^(-k / (width / 2))."""
    half = width // 2
    frequency = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = places.to(torch.float64).unsqueeze(1) * frequency
    return torch.cat([angle.sin(), angle.cos()], 1)


def sincos_grid(rows: int, columns: int, width: int) -> Tensor:
    """Return the float64 table `(rows * columns, width)`: the first half encodes the column, the second the row.

    Args:
        rows: size of the slow axis (token index = row * columns + column).
        columns: size of the fast axis.
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


def sincos_tokens(time: int, freq: int, width: int, grid: PositionGrid) -> Tensor:
    """Return the float64 table `(time * freq, width)` of time-major tokens on either of the two grids."""
    return sincos_grid(time, freq, width) if grid == "true" else sincos_grid(freq, time, width)


def sinusoid_table(places: int, width: int) -> Tensor:
    """Return the float64 table `(places, width)` of the original transformer: alternating sines and cosines.

    Channel 2k holds sin(place / 10000^(2k / width)), channel 2k + 1 its cosine (arXiv 1706.03762, section 3.5).

    Args:
        places: number of positions, counted from 0.
        width: D, even.

    Raises:
        ConfigError: the width is odd.
    """
    if width % 2:
        raise ConfigError(f"found width {width}, expected an even one for alternating sines and cosines")
    sines, cosines = sincos_axis(torch.arange(places), width).chunk(2, 1)
    return torch.stack([sines, cosines], 2).flatten(1)
