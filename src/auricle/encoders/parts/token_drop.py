"""Dropping whole rows or columns of a token grid: which tokens are kept.

Index arithmetic on a `rows x columns` view of N = rows * columns tokens (token index = row * columns + column). The
caller draws the noise, one uniform number per clip and line: equal noise keeps equal tokens, on every device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from auricle.errors import ConfigError


def keep_count(lines: int, ratio: float) -> int:
    """Return how many of `lines` are kept when the share `ratio` is dropped.

    The product is truncated in double precision, as published: 8 lines at a ratio of 0.4 keep 4.

    Raises:
        ConfigError: the ratio is outside [0, 1).
    """
    if not 0.0 <= ratio < 1.0:
        raise ConfigError(f"found a mask ratio of {ratio}, expected the dropped share, 0 <= ratio < 1")
    return int(lines * (1.0 - ratio))


def kept_lines(noise: Tensor, ratio: float) -> Tensor:
    """Return the kept lines `(B, k)` in rising order: those with the smallest noise `(B, lines)`.

    The published code keeps the order of the noise: the same for attention, but not for encoders that read in order.

    Raises:
        ConfigError: the ratio is outside [0, 1), or keeps no line at all.
    """
    lines = noise.shape[1]
    kept = keep_count(lines, ratio)
    if kept == 0:
        raise ConfigError(
            f"a mask ratio of {ratio} keeps none of {lines} lines of the token grid; use at most {1 - 1 / lines:.4g}"
        )
    return noise.argsort(1)[:, :kept].sort(1).values


def keep_rows(noise: Tensor, ratio: float, columns: int) -> Tensor:
    """Keep whole rows: `noise (B, rows)` -> token indices `(B, k * columns)`, rising."""
    rows = kept_lines(noise, ratio)
    return (rows.unsqueeze(2) * columns + torch.arange(columns, device=noise.device)).flatten(1)


def keep_columns(noise: Tensor, ratio: float, rows: int) -> Tensor:
    """Keep whole columns: `noise (B, columns)` -> token indices `(B, rows * k)`, rising."""
    columns = kept_lines(noise, ratio)
    start = torch.arange(rows, device=noise.device).view(1, -1, 1) * noise.shape[1]
    return (start + columns.unsqueeze(1)).flatten(1)


def keep_crossing(row_noise: Tensor, row_ratio: float, column_noise: Tensor, column_ratio: float) -> Tensor:
    """Keep the tokens where kept rows cross kept columns: `(B, k_rows * k_columns)`, rising.

    This is the two-dimensional token drop of AudioMosaic's fine-tuning.
    """
    rows, columns = kept_lines(row_noise, row_ratio), kept_lines(column_noise, column_ratio)
    return (rows.unsqueeze(2) * column_noise.shape[1] + columns.unsqueeze(1)).flatten(1)
