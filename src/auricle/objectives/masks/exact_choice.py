"""Choosing an exact number of positions in every row, also where part of a row is padding.

Encoders that see the visible tokens only need equally many of them in every row. Where rows end in padding, a row's
valid positions are chosen in the same proportion as its padding, so that a short clip keeps the same share visible as a
long one.

Each rank may pad its rows of a batch to another width. All draws and numbers are those of the widest grid
(`widest_grid`, `drawn`): each rank masks what one process with the whole batch would.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from auricle.encoders.contract import Grid
from auricle.errors import ConfigError
from auricle.objectives import distributed
from auricle.objectives.distributed import gather_rows, rand_rows, widest


def lowest(score: Tensor, count: int, valid: Tensor | None = None, of: int | None = None) -> Tensor:
    """Choose the places with the lowest score in each row: `count` of every `of`.

    Args:
        score: `(B, N)`; ties are broken arbitrarily but always alike.
        count: places to choose from a row of `of` places, 1 ... `of`.
        valid: `(B, N)` bool, False for padding. A row with n valid places gets floor(count * n / of) of them, at least
            one where n > 0, and the rest of its places from the padding.
        of: places of the widest row over all ranks, at least N; None: N.

    Returns:
        `(B, N)` bool with exactly floor(count * N / of) True in each row, at least one; with `count` where `of` is N.
    """
    chosen = torch.zeros(score.shape, dtype=torch.bool, device=score.device)
    of = score.shape[1] if of is None else of
    full = max(1, count * score.shape[1] // of)
    if valid is None:
        return chosen.scatter_(1, score.topk(full, dim=1, largest=False, sorted=False).indices, True)
    length = valid.sum(1)
    quota = torch.maximum(count * length // of, length.clamp(max=1))
    among_valid = ranks(score, valid) < quota.unsqueeze(1)
    among_padding = ranks(score, ~valid) < (full - quota).unsqueeze(1)
    return (among_valid & valid) | (among_padding & ~valid)


def ranks(score: Tensor, among: Tensor) -> Tensor:
    """Return the rank by score `(B, N)` of each position among those that count; the ranks of all others follow."""
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


def widest_grid(grid: Grid) -> Grid:
    """Return the longest of all ranks' grids, which differ where windows vary in length. Call it on every rank."""
    return replace(grid, time=widest(grid.time, _meeting_place()))


def drawn(generator: torch.Generator, rows: int, places: int, wide: int) -> Tensor:
    """Return uniform numbers `(rows, places)`: the first ones of `wide` places, drawn for the rows of all ranks."""
    return rand_rows(generator, rows, wide)[:, :places]


def padding_on(wide: Grid, valid: Tensor | None, rows: int, grid: Grid) -> Tensor | None:
    """Bring `valid (B, N)` from a rank's own grid to a wider one: `(B, N')`, the rest being padding."""
    if wide == grid:
        return valid
    own = torch.ones(rows, grid.tokens, dtype=torch.bool) if valid is None else valid
    return F.pad(own, (0, wide.tokens - grid.tokens))


def padding_everywhere(valid: Tensor | None, rows: int, grid: Grid) -> Tensor | None:
    """Return the padding of the global batch `(W * B, N)` from that of each of W ranks; None where nothing is padded.

    Call it on every rank, whether its own rows are padded or not, with the grid of all (`widest_grid`).
    """
    if distributed.world() == 1:
        return valid
    own = torch.ones(rows, grid.tokens, dtype=torch.uint8) if valid is None else valid.to(torch.uint8)
    everyone = gather_rows(own.to(_meeting_place())).cpu().bool()
    return None if bool(everyone.all()) else everyone


def _meeting_place() -> torch.device:
    # NCCL gathers on GPUs only.
    on_gpu = dist.is_available() and dist.is_initialized() and dist.get_backend() == "nccl"
    return torch.device("cuda" if on_gpu else "cpu")


def even_counts(count: Tensor, length: Tensor) -> Tensor:
    """Lower the numbers `(B,)` of places chosen from rows of `length (B,)` places as little as makes them even.

    Even means: of two rows, the longer one has at least as many places chosen, and at least as many not chosen. Rows of
    equal length then have equal numbers, the least of theirs; rows of very different length keep their own, so that a
    short one takes nothing from long ones. Together with padding that is chosen as well (`filled`), all rows of a
    rank choose equally many places. The number of row i is the least of count_j + max(0, length_i - length_j) over j.
    """
    order = length.argsort(stable=True)
    rising = count[order].flip(0).cummin(0).values.flip(0)
    even = (rising - length[order]).cummin(0).values + length[order]
    return torch.empty_like(count).scatter_(0, order, even)


def filled(chosen: Tensor, valid: Tensor) -> Tensor:
    """Also choose positions of the padding, the first ones, until all rows have as many as the one with most.

    Args:
        chosen: `(B, N)` bool, of valid places only, in numbers that are even (`even_counts`).
        valid: `(B, N)` bool.
    """
    count = chosen.sum(1, keepdim=True)
    return chosen | (~valid & ((~valid).cumsum(1) <= count.max() - count))


def columns(valid: Tensor | None, grid: Grid) -> Tensor | None:
    """Return `(B, T)`: which time steps hold a valid token."""
    return None if valid is None else valid.view(-1, grid.time, grid.freq).any(2)


def over_bands(steps: Tensor, grid: Grid) -> Tensor:
    """Spread a mask of time steps `(B, T)` over their bands: `(B, N)`, time-major."""
    return steps.repeat_interleave(grid.freq, 1) if grid.freq > 1 else steps


def check_count(visible: int, places: int, what: str, remedy: str) -> None:
    """Refuse a mask that leaves nothing visible, or masks nothing.

    Raises:
        ConfigError: `visible` of `places` is none or all of them.
    """
    if visible < 1:
        raise ConfigError(f"the mask covers all {places} {what} of the grid and leaves nothing visible; {remedy}")
    if visible >= places:
        raise ConfigError(f"the mask covers none of the {places} {what} of the grid; {remedy}")
