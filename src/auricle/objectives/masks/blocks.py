"""Samplers that mask, or keep, rectangles of the token grid: SSAST's clusters, data2vec 2.0's and EAT's blocks.

Letters in shapes: B clips, T time steps, F bands, N = T * F tokens; a map `(B, T, F)` lies on the grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from auricle.config import Count, InnerShare
from auricle.encoders.contract import Grid
from auricle.encoders.parts.token_drop import keep_count
from auricle.errors import ConfigError
from auricle.objectives.distributed import rand_rows
from auricle.objectives.masks.exact_choice import (
    check_count,
    columns,
    drawn,
    lowest,
    padding_on,
    widest_grid,
)
from auricle.objectives.masks.token_mask import TokenMaskConfig

# Uniform float32 numbers are multiples of 2^-24: anything smaller breaks ties without changing an order.
_TIE = 2.0**-24


@dataclass(frozen=True)
class ClusterMask(TokenMaskConfig):
    """Masks squares of C x C tokens, C drawn once for each clip, until an exact number of tokens is masked.

    A square is given by its corner, drawn uniformly over all tokens; squares may overlap, and are cut at the end of the
    grid. Of the last square only as many tokens are masked, chosen at random, as are needed. Padded rows mask the same
    share of their valid tokens as whole ones.

    Source: SSAST (arXiv 2110.09784, section 2.3) and its code: 400 (or 250, 300) of 512 patches, C in 3 ... 5. The
    code reads the grid as F rows of T tokens in one line, so that a square that reaches over the end of a row goes on
    at the start of the next band (`wrap`). Deviation: the code never masks token 0, and drops surplus tokens from the
    highest bands.

    Attributes:
        ratio: share of the N tokens that is masked, rounded to the nearest number.
        count: number of tokens to mask, given instead of `ratio`.
        smallest: least side C of the squares.
        largest: greatest side C of the squares.
        wrap: whether squares go on in the next band as in the published code; otherwise they are cut at the end.
    """

    ratio: InnerShare = 400 / 512
    count: int | None = None
    smallest: Count = 3
    largest: int = 5
    wrap: bool = False

    def __post_init__(self) -> None:
        if self.smallest > self.largest:
            raise ConfigError(
                f"mask.smallest is {self.smallest} and mask.largest is {self.largest}; expected smallest <= largest"
            )

    def sample(self, grid: Grid, rows: int, generator: torch.Generator, valid: Tensor | None) -> Tensor:
        wide = widest_grid(grid)
        count = round(wide.tokens * self.ratio) if self.count is None else self.count
        check_count(wide.tokens - count, wide.tokens, "tokens", "change `count` or `ratio`, or use longer clips")
        sides = self.smallest + (rand_rows(generator, rows) * (self.largest - self.smallest + 1)).long()
        # With repeated draws, corners come up for the first time in an order that is uniform over all orders.
        turn = rand_rows(generator, rows, wide.tokens)
        singly = drawn(generator, rows, grid.tokens, wide.tokens)
        # Squares go on in the next band where the widest grid of all ranks ends, so they are laid out on that one.
        inside = padding_on(wide, valid, rows, grid)
        if inside is not None:
            turn = turn.masked_fill(~inside, 1.0)
        turn = turn.view(rows, wide.time, wide.freq)
        reached = torch.empty_like(turn)
        for side in range(self.smallest, self.largest + 1):
            those = sides == side
            reached[those] = _first_reached(turn[those], side, self.wrap)
        score = reached[:, : grid.time].flatten(1).double() + singly.double() * _TIE
        return lowest(score, count, valid, wide.tokens)


def _first_reached(turn: Tensor, side: int, wrap: bool) -> Tensor:
    """Return the turn `(B, T, F)` in which each token is reached first by a square, given the turn of each corner."""
    if wrap:
        bands_first = turn.transpose(1, 2).flatten(1)
        row = turn.shape[1]
        line = _least_of_earlier(_least_of_earlier(bands_first, side, 1), side, row)
        return line.view(-1, turn.shape[2], row).transpose(1, 2)
    steps, bands = turn.shape[1:]
    along_time = _least_of_earlier(turn.flatten(1), side, bands).view_as(turn)
    line = _least_of_earlier(along_time.transpose(1, 2).flatten(1), side, steps)
    return line.view(-1, bands, steps).transpose(1, 2)


def _least_of_earlier(line: Tensor, count: int, step: int) -> Tensor:
    """Return the least of each place `(B, N)` and the `count - 1` places that lie 1, 2, ... times `step` before it."""
    least = line.clone()
    for i in range(1, count):
        back = i * step
        if back < line.shape[1]:
            torch.minimum(least[:, back:], line[:, :-back], out=least[:, back:])
    return least


@dataclass(frozen=True)
class BlockMask(TokenMaskConfig):
    """Masks blocks of `size` x `size` tokens (of `size` steps where the grid has one band), then evens out the number.

    floor(N * (ratio + adjust) / size^2) centres are drawn with replacement; blocks overlap, and are cut at the edges of
    the grid. Then single tokens of the blocks are shown again, or further ones masked, at random, until exactly
    floor(N * ratio) are masked. Padded rows mask the same share of their valid tokens as whole ones.

    Source: data2vec 2.0 (arXiv 2212.07525) and fairseq's block masks. Runs of ATST-Frame of earlier versions have it.

    Attributes:
        ratio: share of the N tokens that is masked.
        size: side of a block, in tokens.
        adjust: added to the share from which the number of blocks is computed, to make up for their overlap.
        even: whether every clip has equally many masked tokens; False: the blocks as they fall.
    """

    ratio: InnerShare = 0.65
    size: Count = 5
    adjust: float = 0.0
    even: bool = True

    def __post_init__(self) -> None:
        _check_share("BlockMask", self.ratio + self.adjust)

    @property
    def equal_count(self) -> bool:
        return self.even

    def sample(self, grid: Grid, rows: int, generator: torch.Generator, valid: Tensor | None) -> Tensor:
        wide = widest_grid(grid).tokens
        count = int(wide * self.ratio)
        check_count(wide - count, wide, "tokens", "change `ratio` or use longer clips")
        blocks = _blocks(grid, wide, rows, generator, self.ratio + self.adjust, self.size, valid)
        return _evened(blocks, wide, generator, count, valid) if self.even else blocks


@dataclass(frozen=True)
class InverseBlockMask(TokenMaskConfig):
    """Keeps blocks of `size` x `size` tokens (of `size` steps where the grid has one band) and masks all others.

    As `BlockMask`, with visible blocks: floor(N * (1 - ratio + adjust) / size^2) centres with replacement, then exactly
    floor(N * (1 - ratio)) tokens are visible. Source: data2vec 2.0 (arXiv 2212.07525): ratio 0.5, spans of 5, adjust
    0.05 on speech; EAT (2401.03497): ratio 0.8, blocks of 5 x 5, adjust 0.07 on 64 x 8 patches.

    Attributes:
        ratio: share of the N tokens that is masked.
        size: side of a visible block, in tokens.
        adjust: added to the share from which the number of blocks is computed, to make up for their overlap.
        even: whether every clip has equally many visible tokens; False: the blocks as they fall.
    """

    ratio: InnerShare = 0.8
    size: Count = 5
    adjust: float = 0.07
    even: bool = True

    def __post_init__(self) -> None:
        _check_share("InverseBlockMask", 1 - self.ratio + self.adjust)

    @property
    def equal_count(self) -> bool:
        return self.even

    def sample(self, grid: Grid, rows: int, generator: torch.Generator, valid: Tensor | None) -> Tensor:
        wide = widest_grid(grid).tokens
        visible = keep_count(wide, self.ratio)
        check_count(visible, wide, "tokens", "change `ratio` or use longer clips")
        blocks = _blocks(grid, wide, rows, generator, 1 - self.ratio + self.adjust, self.size, valid)
        return ~(_evened(blocks, wide, generator, visible, valid) if self.even else blocks)


def _blocks(
    grid: Grid, wide: int, rows: int, generator: torch.Generator, share: float, size: int, valid: Tensor | None
) -> Tensor:
    """Return the tokens `(B, N)` in blocks around centres that are drawn with replacement."""
    area = size * min(size, grid.freq)
    steps = columns(valid, grid)
    length = torch.full((rows,), grid.time) if steps is None else steps.sum(1)
    # At least one, so that a small grid gets a block rather than single tokens.
    count = (length * grid.freq * (share / area)).long().clamp(min=1)
    noise = rand_rows(generator, rows, max(1, int(wide * (share / area))))
    centre = (noise.double() * (length * grid.freq).unsqueeze(1)).long()
    used = (torch.arange(noise.shape[1]) < count.unsqueeze(1)).float()
    centres = torch.zeros(rows, grid.tokens).scatter_reduce_(1, centre, used, "amax")
    # A block reaches size // 2 before its centre and the rest after it, and is cut at the edges of the grid.
    after, before = size // 2, size - 1 - size // 2
    beside = (before, after) if grid.freq > 1 else (0, 0)
    around = F.pad(centres.view(rows, 1, grid.time, grid.freq), (*beside, before, after))
    blocks = F.max_pool2d(around, (size, size if grid.freq > 1 else 1), stride=1).flatten(1) > 0
    return blocks if valid is None else blocks & valid


def _evened(blocks: Tensor, wide: int, generator: torch.Generator, count: int, valid: Tensor | None) -> Tensor:
    """Return `count` of every `wide` tokens of each row: those of blocks first, at random among each other."""
    rows, places = blocks.shape
    return lowest(drawn(generator, rows, places, wide) + (~blocks).float(), count, valid, wide)


def _check_share(owner: str, share: float) -> None:
    if not 0.0 < share < 1.0:
        raise ConfigError(
            f"{owner}: found an adjusted share of {share} of the tokens in blocks, expected 0 < share < 1"
        )
