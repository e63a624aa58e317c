"""The frequency tokens of a time step side by side, as MSM-MAE and M2D read their encoders.

Sources: MSM-MAE, arXiv 2204.12260; M2D, arXiv 2210.14648: 5 tokens of 768 make frames of 3840.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from auricle.encoders.contract import Grid, Tokens
from auricle.errors import ConfigError


def concatenate_frequency(tokens: Tokens) -> Tokens:
    """Turn tokens `(B, T * F, D)` into frames `(B, T, F * D)`: what a time step's tokens say, lowest band first.

    Class tokens are left as they are; layers and positions are dropped. A frame is valid where its tokens are.

    Raises:
        ConfigError: tokens were dropped: time steps would have gaps.
    """
    if tokens.index is not None:
        raise ConfigError(
            f"found {tokens.x.shape[1]} of {tokens.grid.tokens} tokens, expected all: frames can't be made where "
            "tokens were dropped"
        )
    grid = tokens.grid
    x = tokens.x.unflatten(1, (grid.time, grid.freq)).flatten(2)
    valid = None if tokens.valid is None else tokens.valid.unflatten(1, (grid.time, grid.freq)).all(2)
    return replace(tokens, x=x, grid=Grid(grid.time, 1, grid.rate), valid=valid, layers=None, positions=None)


def frequency_means(tokens: Tokens) -> Tensor:
    """Return `(B, F * D)`: the mean over time of each band's valid tokens, bands side by side.

    With all tokens there this is the mean over time of `concatenate_frequency`. With dropped ones each band is averaged
    over those it kept; a band without any yields zeros.
    """
    x, grid = tokens.x, tokens.grid
    if tokens.index is None and tokens.valid is None:
        return x.unflatten(1, (grid.time, grid.freq)).mean(1).flatten(1)
    place = torch.arange(grid.tokens, device=x.device).unsqueeze(0) if tokens.index is None else tokens.index
    band = (place % grid.freq).unsqueeze(2) == torch.arange(grid.freq, device=x.device)
    if tokens.valid is not None:
        band = band & tokens.valid.unsqueeze(2)
    weight = band.to(x.dtype).expand(x.shape[0], -1, -1)
    total = weight.transpose(1, 2) @ x
    return (total / weight.sum(1).clamp(min=1).unsqueeze(2)).flatten(1)
