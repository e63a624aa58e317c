"""Samplers that mask an exact number of tokens, time steps, groups or lines in every clip.

All count as the published codes do: the number of visible ones is the floor of their share. Padded rows keep the same
share of their valid tokens visible as whole ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
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
    over_bands,
    widest_grid,
)
from auricle.objectives.masks.structured import MaskGrid, freq_mask, mask_lines, time_mask
from auricle.objectives.masks.token_mask import TokenMaskConfig

# Uniform float32 numbers are multiples of 2^-24: anything smaller breaks ties without changing an order.
_TIE = 2.0**-24


@dataclass(frozen=True)
class RandomMask(TokenMaskConfig):
    """Masks single tokens, uniformly, exactly equally many in every clip.

    Source: He et al. 2021 (arXiv 2111.06377), section 3; Audio-MAE (2207.06405) masks 0.8, M2D 0.7, MaskSpec, MSM-MAE
    and BEATs 0.75, SSAM 0.5.

    Attributes:
        ratio: share of the N tokens that is masked: floor(N * (1 - ratio)) stay visible.
        keep: share that stays visible, given instead of `ratio`: floor(N * keep) tokens.
    """

    ratio: InnerShare = 0.75
    keep: InnerShare | None = None

    def visible_of(self, tokens: int) -> int:
        """Return how many of a number of tokens stay visible."""
        return keep_count(tokens, self.ratio) if self.keep is None else int(tokens * self.keep)

    def sample(self, grid: Grid, rows: int, generator: torch.Generator, valid: Tensor | None) -> Tensor:
        wide = widest_grid(grid).tokens
        visible = self.visible_of(wide)
        check_count(visible, wide, "tokens", "change `ratio` or `keep`, or use longer clips")
        return ~lowest(drawn(generator, rows, grid.tokens, wide), visible, valid, wide)


@dataclass(frozen=True)
class FrameMask(TokenMaskConfig):
    """Masks whole time steps with all their bands, uniformly, exactly equally many in every clip.

    Source: SSAST's frame model (arXiv 2110.09784, section 2.3), which masks 400 (or 250) of 512 frames.

    Attributes:
        ratio: share of the T steps that is masked, rounded to the nearest number.
        count: number of steps to mask, given instead of `ratio`.
    """

    ratio: InnerShare = 400 / 512
    count: int | None = None

    def sample(self, grid: Grid, rows: int, generator: torch.Generator, valid: Tensor | None) -> Tensor:
        wide = widest_grid(grid).time
        visible = wide - (round(wide * self.ratio) if self.count is None else self.count)
        check_count(visible, wide, "time steps", "change `count` or `ratio`, or use longer clips")
        shown = lowest(drawn(generator, rows, grid.time, wide), visible, columns(valid, grid), wide)
        return over_bands(~shown, grid)


@dataclass(frozen=True)
class GroupMask(TokenMaskConfig):
    """Masks groups of adjacent time steps, exactly equally many steps in every clip.

    Source: Dasheng (arXiv 2406.06992) and its code: groups of 2 tokens of 40 ms, 0.75 masked. floor(T * keep) steps
    stay; where that is no multiple of the group, one group shows its first steps only. A last, smaller group takes
    the rest of T (the code refuses such lengths).

    Attributes:
        group: adjacent time steps that are masked or shown together.
        keep: share of the T steps that stays visible.
    """

    group: Count = 2
    keep: InnerShare = 0.25

    def sample(self, grid: Grid, rows: int, generator: torch.Generator, valid: Tensor | None) -> Tensor:
        wide = widest_grid(grid).time
        visible = int(wide * self.keep)
        check_count(visible, wide, "time steps", "change `keep` or use longer clips")
        step = torch.arange(grid.time)
        noise = rand_rows(generator, rows, -(-wide // self.group)).double()
        score = noise[:, step // self.group] + (step % self.group) / self.group * _TIE
        return over_bands(~lowest(score, visible, columns(valid, grid), wide), grid)


@dataclass(frozen=True)
class HalvesMask(TokenMaskConfig):
    """Masks one half of the tokens in row 2i and the other half in row 2i + 1: complementary pairs of rows.

    Each clip is given twice, one copy after the other. Source: DP-MAE splits the patches into two random halves, each
    of which predicts the other; its code is not public. With an odd number of tokens one of them is masked in both.
    """

    def sample(self, grid: Grid, rows: int, generator: torch.Generator, valid: Tensor | None) -> Tensor:
        if rows % 2:
            raise ConfigError(f"HalvesMask works on pairs of rows, found {rows}; pass each clip twice, copies adjacent")
        wide = widest_grid(grid).tokens
        visible = wide // 2
        check_count(visible, wide, "tokens", "use longer clips")
        score = drawn(generator, rows // 2, grid.tokens, wide)
        first = None if valid is None else valid[0::2]
        second = None if valid is None else valid[1::2]
        halves = lowest(score, visible, first, wide), lowest(-score, visible, second, wide)
        return ~torch.stack(halves, 1).flatten(0, 1)


@dataclass(frozen=True)
class StructuredMask(TokenMaskConfig):
    """Masks whole time steps, or whole bands, as AudioMosaic's views do.

    Source: arXiv 2605.14231, section 3; see `auricle.objectives.masks.structured` for the two readings of the grid.
    Where a band or the released grid is masked, padding is not made up for.

    Attributes:
        axis: `time` or `freq`.
        ratio: share of the lines that is masked; the paper's are 0.6 of time and 0.4 of frequency.
        grid: `true` (the paper) or `released` (its code).
    """

    axis: Literal["time", "freq"] = "time"
    ratio: InnerShare = 0.6
    grid: MaskGrid = "true"

    def sample(self, grid: Grid, rows: int, generator: torch.Generator, valid: Tensor | None) -> Tensor:
        wide = mask_lines(self.axis, widest_grid(grid), self.grid)
        visible = keep_count(wide, self.ratio)
        check_count(visible, wide, f"{self.axis} lines", "change `ratio`")
        noise = drawn(generator, rows, mask_lines(self.axis, grid, self.grid), wide)
        if self.axis == "time" and self.grid == "true":
            return over_bands(~lowest(noise, visible, columns(valid, grid), wide), grid)
        sampler = time_mask if self.axis == "time" else freq_mask
        kept = sampler(grid, self.ratio, noise, self.grid).index
        return torch.ones(rows, grid.tokens, dtype=torch.bool).scatter_(1, kept, False)
