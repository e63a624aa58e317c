"""Samplers that hide an exact number of tokens, time steps, groups or lines in every clip.

All count as the published codes do: what stays visible is the floor of its share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from auricle.config import nearest
from auricle.encoders.contract import Grid
from auricle.encoders.parts.token_drop import keep_count
from auricle.errors import ConfigError
from auricle.objectives.draws import rand_rows
from auricle.objectives.masks.exact_choice import (
    check_count,
    check_shares,
    columns,
    drawn,
    lowest,
    over_bands,
    padding,
    widest_grid,
)
from auricle.objectives.masks.structured import MaskGrid, freq_mask, mask_lines, time_mask
from auricle.objectives.masks.token_mask import MaskedPositions, TokenMaskConfig

# Uniform float32 numbers are multiples of 2^-24: anything smaller breaks ties without changing an order.
_TIE = 2.0**-24

StructuredAxis = Literal["time", "freq"]


def settle(masked: Tensor, valid: Tensor | None) -> MaskedPositions:
    """Predict what is hidden, padding excepted."""
    return MaskedPositions(masked, masked if valid is None else masked & valid)


@dataclass(frozen=True)
class RandomMask(TokenMaskConfig):
    """Hides single tokens, uniformly, exactly equally many in every clip.

    Source: He et al. 2021 (arXiv 2111.06377), section 3; Audio-MAE (2207.06405) hides 0.8, M2D 0.7, MaskSpec, MSM-MAE
    and BEATs 0.75, SSAM 0.5.

    Attributes:
        ratio: share of the N tokens that is hidden: floor(N * (1 - ratio)) stay visible.
        keep: share that stays visible, given instead of `ratio`: floor(N * keep) tokens.
    """

    ratio: float = 0.75
    keep: float | None = None

    def __post_init__(self) -> None:
        """Refuse shares outside (0, 1).

        Raises:
            ConfigError: naming the setting.
        """
        check_shares("RandomMask", ("ratio",), (self.ratio,))
        if self.keep is not None:
            check_shares("RandomMask", ("keep",), (self.keep,))

    @property
    def equal_count(self) -> bool:
        """True."""
        return True

    def visible_of(self, tokens: int) -> int:
        """Return how many of so many tokens stay visible."""
        return keep_count(tokens, self.ratio) if self.keep is None else int(tokens * self.keep)

    def draw(
        self, grid: Grid, rows: int, generator: torch.Generator, valid: Tensor | None = None, progress: float = 0.0
    ) -> MaskedPositions:
        """Draw; padded rows show the same share of their valid tokens as whole ones (see `exact_choice`)."""
        valid, wide = padding(valid, rows, grid), widest_grid(grid).tokens
        visible = self.visible_of(wide)
        check_count(visible, wide, "tokens", "change the share that is hidden or use longer clips")
        return settle(~lowest(drawn(generator, rows, grid.tokens, wide), visible, valid, wide), valid)


@dataclass(frozen=True)
class FrameMask(TokenMaskConfig):
    """Hides whole time steps with all their bands, uniformly, exactly equally many in every clip.

    Source: SSAST's frame model (arXiv 2110.09784, section 2.3), which hides 400 (or 250) of 512 frames.

    Attributes:
        ratio: share of the T steps that is hidden, rounded to the nearest number.
        count: number of steps to hide, given instead of `ratio`.
    """

    ratio: float = 400 / 512
    count: int | None = None

    def __post_init__(self) -> None:
        """Refuse a share outside (0, 1).

        Raises:
            ConfigError: naming the setting.
        """
        check_shares("FrameMask", ("ratio",), (self.ratio,))

    @property
    def equal_count(self) -> bool:
        """True."""
        return True

    def draw(
        self, grid: Grid, rows: int, generator: torch.Generator, valid: Tensor | None = None, progress: float = 0.0
    ) -> MaskedPositions:
        """Draw; padded rows show the same share of their valid steps as whole ones."""
        valid, wide = padding(valid, rows, grid), widest_grid(grid).time
        hidden = round(wide * self.ratio) if self.count is None else self.count
        check_count(wide - hidden, wide, "time steps", "change `count` or `ratio`, or use longer clips")
        shown = lowest(drawn(generator, rows, grid.time, wide), wide - hidden, columns(valid, grid), wide)
        return settle(over_bands(~shown, grid), valid)


@dataclass(frozen=True)
class GroupMask(TokenMaskConfig):
    """Hides groups of adjacent time steps, exactly equally many steps in every clip.

    Source: Dasheng (arXiv 2406.06992) and its code: groups of 2 tokens of 40 ms, 0.75 hidden. floor(T * keep) steps
    stay; where that is no multiple of the group, one group shows its first steps only. A last, smaller group takes
    what is left of T (the code refuses such lengths).

    Attributes:
        group: adjacent time steps that are hidden or shown together.
        keep: share of the T steps that stays visible.
    """

    group: int = 2
    keep: float = 0.25

    def __post_init__(self) -> None:
        """Refuse groups of no step and shares outside (0, 1).

        Raises:
            ConfigError: naming the setting.
        """
        check_shares("GroupMask", ("keep",), (self.keep,))
        if self.group < 1:
            raise ConfigError(f"GroupMask: found group={self.group}, expected at least 1 time step")

    @property
    def equal_count(self) -> bool:
        """True."""
        return True

    def draw(
        self, grid: Grid, rows: int, generator: torch.Generator, valid: Tensor | None = None, progress: float = 0.0
    ) -> MaskedPositions:
        """Draw; padded rows show the same share of their valid steps as whole ones."""
        valid, wide = padding(valid, rows, grid), widest_grid(grid).time
        visible = int(wide * self.keep)
        check_count(visible, wide, "time steps", "change `keep` or use longer clips")
        step = torch.arange(grid.time)
        noise = rand_rows(generator, rows, -(-wide // self.group)).double()
        score = noise[:, step // self.group] + (step % self.group) / self.group * _TIE
        return settle(over_bands(~lowest(score, visible, columns(valid, grid), wide), grid), valid)


@dataclass(frozen=True)
class HalvesMask(TokenMaskConfig):
    """Hides one half of the tokens from row 2i and the other half from row 2i + 1: complementary pairs of rows.

    Each clip is given twice, one copy after the other. Source: DP-MAE splits the patches into two random halves, each
    of which predicts the other; its code is not public. With an odd number of tokens one of them is hidden from both.
    """

    @property
    def equal_count(self) -> bool:
        """True."""
        return True

    def draw(
        self, grid: Grid, rows: int, generator: torch.Generator, valid: Tensor | None = None, progress: float = 0.0
    ) -> MaskedPositions:
        """Draw one split for each pair of rows; the valid tokens of a padded clip are halved as well.

        Raises:
            ConfigError: the number of rows is odd, or a half of the grid is empty.
        """
        if rows % 2:
            raise ConfigError(f"HalvesMask works on pairs of rows, found {rows}; give each clip twice, copies adjacent")
        valid, wide = padding(valid, rows, grid), widest_grid(grid).tokens
        visible = wide // 2
        check_count(visible, wide, "tokens", "use longer clips")
        score = drawn(generator, rows // 2, grid.tokens, wide)
        first = None if valid is None else valid[0::2]
        second = None if valid is None else valid[1::2]
        halves = lowest(score, visible, first, wide), lowest(-score, visible, second, wide)
        return settle(~torch.stack(halves, 1).flatten(0, 1), valid)


@dataclass(frozen=True)
class StructuredMask(TokenMaskConfig):
    """Hides whole time steps, or whole bands, as AudioMosaic's views do.

    Source: arXiv 2605.14231, section 3; see `auricle.objectives.masks.structured` for the two readings of the grid.

    Attributes:
        axis: `time` or `freq`.
        ratio: share of the lines that is hidden; the paper's are 0.6 of time and 0.4 of frequency.
        grid: `true` (the paper) or `released` (its code).
    """

    axis: StructuredAxis = "time"
    ratio: float = 0.6
    grid: MaskGrid = "true"

    def __post_init__(self) -> None:
        """Refuse unknown names and shares outside (0, 1).

        Raises:
            ConfigError: naming the setting.
        """
        for name, known in (("axis", get_args(StructuredAxis)), ("grid", get_args(MaskGrid))):
            value = getattr(self, name)
            if value not in known:
                raise ConfigError(f"StructuredMask: unknown {name} {value!r}{nearest(str(value), known)}")
        check_shares("StructuredMask", ("ratio",), (self.ratio,))

    @property
    def equal_count(self) -> bool:
        """True."""
        return True

    def draw(
        self, grid: Grid, rows: int, generator: torch.Generator, valid: Tensor | None = None, progress: float = 0.0
    ) -> MaskedPositions:
        """Draw; on the true grid, padded rows show the same share of their valid time steps as whole ones."""
        valid, wide = padding(valid, rows, grid), mask_lines(self.axis, widest_grid(grid), self.grid)
        visible = keep_count(wide, self.ratio)
        check_count(visible, wide, f"{self.axis} lines", "change `ratio`")
        noise = drawn(generator, rows, mask_lines(self.axis, grid, self.grid), wide)
        if self.axis == "time" and self.grid == "true":
            return settle(over_bands(~lowest(noise, visible, columns(valid, grid), wide), grid), valid)
        sampler = time_mask if self.axis == "time" else freq_mask
        kept = sampler(grid, self.ratio, noise, self.grid).index
        return settle(torch.ones(rows, grid.tokens, dtype=torch.bool).scatter_(1, kept, False), valid)
