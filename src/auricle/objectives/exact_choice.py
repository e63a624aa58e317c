"""Choosing an exact number of places in every row, also where part of a row is padding.

Encoders that see the visible tokens only need equally many of them in every row. Where rows end in padding, the number
is split: a row's valid places are chosen in the same proportion as its padding, so that a short clip shows, and hides,
the same share of what it has as a long one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from auricle.encoders.contract import Grid
from auricle.errors import ConfigError
from auricle.objectives import draws
from auricle.objectives.gather import gather_rows


def lowest(score: Tensor, count: int, valid: Tensor | None = None) -> Tensor:
    """Choose the `count` places with the lowest score in each row.

    Args:
        score: `(B, N)`; ties are broken arbitrarily but always alike.
        count: places to choose, 1 ... N.
        valid: `(B, N)` bool, False for padding. A row with n valid places gets floor(count * n / N) of them, at least
            one where n > 0, and the rest of its places from the padding.

    Returns:
        `(B, N)` bool with exactly `count` True in each row.
    """
    chosen = torch.zeros(score.shape, dtype=torch.bool, device=score.device)
    if valid is None:
        return chosen.scatter_(1, score.topk(count, dim=1, largest=False, sorted=False).indices, True)
    length = valid.sum(1)
    quota = torch.maximum(count * length // score.shape[1], length.clamp(max=1))
    among_valid = ranks(score, valid) < quota.unsqueeze(1)
    among_padding = ranks(score, ~valid) < (count - quota).unsqueeze(1)
    return (among_valid & valid) | (among_padding & ~valid)


def ranks(score: Tensor, among: Tensor) -> Tensor:
    """Return each place's rank by score `(B, N)` among the places that count; the others' ranks follow theirs."""
    order = score.masked_fill(~among, torch.inf).argsort(dim=1, stable=True)
    places = torch.arange(score.shape[1], device=score.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)


def padding(valid: Tensor | None, rows: int, grid: Grid) -> Tensor | None:
    """Bring `valid (B, N)` to the CPU; None where nothing is padded.

    Raises:
        ConfigError: it has another shape than the mask.
    """
    if valid is None:
        return None
    if valid.shape != (rows, grid.tokens):
        raise ConfigError(
            f"found `valid` of shape {tuple(valid.shape)}, expected ({rows}, {grid.tokens}): a bool for each of the "
            f"{grid.time} x {grid.freq} tokens of each row"
        )
    valid = valid.cpu()
    return None if bool(valid.all()) else valid


def padding_everywhere(valid: Tensor | None, rows: int, grid: Grid) -> Tensor | None:
    """Return the padding of the global batch `(W * B, N)` from that of each of W ranks; None where nothing is padded.

    Every rank must call it, whether its own rows are padded or not.
    """
    if draws.world() == 1:
        return valid
    own = torch.ones(rows, grid.tokens, dtype=torch.uint8) if valid is None else valid.to(torch.uint8)
    # NCCL gathers on GPUs only.
    on_gpu = dist.is_available() and dist.is_initialized() and dist.get_backend() == "nccl"
    everyone = gather_rows(own.to("cuda" if on_gpu else "cpu")).cpu().bool()
    return None if bool(everyone.all()) else everyone


def columns(valid: Tensor | None, grid: Grid) -> Tensor | None:
    """Return `(B, T)`: which time steps hold a valid token."""
    return None if valid is None else valid.view(-1, grid.time, grid.freq).any(2)


def over_bands(steps: Tensor, grid: Grid) -> Tensor:
    """Spread a mask of time steps `(B, T)` over their bands: `(B, N)`, time-major."""
    return steps.repeat_interleave(grid.freq, 1) if grid.freq > 1 else steps


def check_count(visible: int, places: int, what: str, remedy: str) -> None:
    """Refuse a mask that leaves nothing visible, or hides nothing.

    Raises:
        ConfigError: `visible` of `places` is none or all of them.
    """
    if visible < 1:
        raise ConfigError(f"the mask hides all {places} {what} of the grid and leaves nothing visible; {remedy}")
    if visible >= places:
        raise ConfigError(f"the mask hides none of the {places} {what} of the grid; {remedy}")


def check_shares(owner: str, names: Sequence[str], values: Sequence[float]) -> None:
    """Refuse shares outside (0, 1).

    Raises:
        ConfigError: naming the setting.
    """
    for name, value in zip(names, values, strict=True):
        if not 0.0 < value < 1.0:
            raise ConfigError(f"{owner}: found {name}={value}, expected a share between 0 and 1, both excluded")
