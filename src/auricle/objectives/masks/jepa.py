"""Target blocks to be predicted and the context that they are predicted from: joint-embedding predictive masks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from auricle.config import Count, InnerShare, Positive, ShareAboveZero
from auricle.encoders.contract import Grid
from auricle.errors import ConfigError
from auricle.objectives import distributed
from auricle.objectives.masks.exact_choice import (
    columns,
    even_counts,
    filled,
    padding,
    padding_everywhere,
    padding_on,
    ranks,
    widest_grid,
)
from auricle.objectives.masks.token_mask import MaskedPositions, TokenMaskConfig


@dataclass(frozen=True)
class JepaMask(TokenMaskConfig):
    """Draws several target blocks and one context block per clip; tokens of targets are taken out of the context.

    The tokens of the targets are predicted; all tokens outside the context are masked, which are more. One size for the
    targets and one for the context is drawn for the whole batch, their positions for each clip; blocks lie in the valid
    time steps. Clips of equal length then show as many tokens as the one that shows fewest over the batches of all
    ranks; the tokens to drop are drawn. Clips of other lengths keep their own number (`exact_choice.even_counts`), and
    some of their padding is shown as well. A clip whose context would be empty shows all tokens outside the targets.

    Source: I-JEPA (arXiv 2301.08243, section 3) with the sizes that a re-implementation of A-JEPA (2311.15830) uses.
    These were made for square grids; here sides are relative to those of the grid, which is the same on a square one
    and keeps the shares on any other.

    A-JEPA goes from random blocks to blocks along time and frequency in the course of training; neither its schedule
    nor its code is public. Not specified, chosen here: with `curriculum`, a clip's targets are, with a probability
    equal to the share of training that is done, of equal area but alternately spans of time over all bands and bands
    over all the time, so that nothing in the same time steps (or bands) is left to copy from.

    Attributes:
        targets: number of target blocks.
        least: least share of the grid in a target block.
        most: greatest share of the grid in a target block.
        flattest: least height to width (time to frequency) of a target block, relative to the grid's.
        tallest: greatest height to width of a target block, relative to the grid's.
        context: least share of the grid in the context block; the greatest is the whole grid.
        curriculum: whether blocks become aware of time and frequency.
    """

    targets: Count = 4
    least: InnerShare = 0.15
    most: InnerShare = 0.2
    flattest: Positive = 0.75
    tallest: Positive = 1.5
    context: ShareAboveZero = 0.85
    curriculum: bool = False

    def __post_init__(self) -> None:
        if self.least > self.most or self.flattest > self.tallest:
            raise ConfigError(
                f"mask.least is {self.least}, most {self.most}, flattest {self.flattest}, "
                f"tallest {self.tallest}; expected least <= most and flattest <= tallest"
            )

    def draw(
        self, grid: Grid, rows: int, generator: torch.Generator, valid: Tensor | None = None, progress: float = 0.0
    ) -> MaskedPositions:
        own, mine, owned = grid, padding(valid, rows, grid), rows * distributed.rank()
        # The least context is that of the global batch, so every rank draws the blocks of all.
        grid = widest_grid(own)
        if grid.tokens < 4 or grid.time < 2:
            raise ConfigError(
                f"JepaMask: found a grid of {grid.time} x {grid.freq} tokens, expected at least 2 time steps and 4 "
                "tokens for targets and a context beside them; use longer clips"
            )
        every = distributed.world() * rows
        everyone = padding_everywhere(padding_on(grid, mine, rows, own), rows, grid)
        steps = columns(everyone, grid)
        length = torch.full((every,), grid.time) if steps is None else steps.sum(1)
        sizes = torch.rand(3, generator=generator).tolist()
        share = self.least + sizes[0] * (self.most - self.least)
        shape = self.flattest + sizes[1] * (self.tallest - self.flattest)
        aware = torch.rand(every, 1, generator=generator) < (progress if self.curriculum else 0.0)
        place = torch.rand(every, self.targets + 1, 2, generator=generator)
        target = _union(self._targets(share, shape, length, grid, place[:, :-1], aware), grid)
        scale = self.context + sizes[2] * (1.0 - self.context)
        bands = max(1, round(scale**0.5 * grid.freq))
        tall = (scale * grid.freq / bands * length).round().long().unsqueeze(1)
        tall = torch.minimum(tall, length.unsqueeze(1)).clamp(min=1)
        wide = torch.full_like(tall, bands)
        seen = _union(_placed(tall, wide, length, grid, place[:, -1:]), grid) & ~target
        free = ~target if everyone is None else ~target & everyone
        seen = seen & free
        seen = torch.where(seen.any(1, keepdim=True), seen, free)
        tokens = torch.full((every,), grid.tokens) if everyone is None else everyone.sum(1)
        count = even_counts(seen.sum(1), tokens)
        if not bool((count > 0).all()):
            raise ConfigError(
                f"JepaMask: {self.targets} targets of up to {self.most:g} of the grid leave a clip of the batch "
                f"without context on {grid.time} x {grid.freq} tokens; draw fewer or smaller targets "
                "(--objective.mask.targets, --objective.mask.most), or exclude shorter clips (--loader.shortest)"
            )
        seen &= ranks(torch.rand(every, grid.tokens, generator=generator), seen) < count.unsqueeze(1)
        seen, target = (x[owned : owned + rows, : own.tokens] for x in (seen, target))
        return MaskedPositions(~seen, target) if mine is None else MaskedPositions(~filled(seen, mine), target & mine)

    def _targets(
        self, share: float, shape: float, length: Tensor, grid: Grid, place: Tensor, aware: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        # The time side makes up for the rounding of the other, which is coarse on a few bands, and exact on one.
        bands = _narrow((share / shape) ** 0.5, grid.freq)
        tall = _side(share * grid.freq / bands, length).unsqueeze(1).expand(-1, self.targets)
        wide = torch.full_like(tall, bands)
        in_time = torch.arange(self.targets) % 2 == 0
        spans = _side(share, length).unsqueeze(1)
        whole = length.unsqueeze(1) if grid.freq > 1 else spans
        tall = torch.where(aware, torch.where(in_time, spans, whole), tall)
        wide = torch.where(aware, torch.where(in_time, grid.freq, _narrow(share, grid.freq)), wide)
        return _placed(tall, wide, length, grid, place)


def _side(share: float, length: Tensor) -> Tensor:
    """Return a share of a number of time steps, at least one and, where there are two, not all of them."""
    return torch.minimum((share * length).round().long(), length - 1).clamp(min=1)


def _narrow(share: float, bands: int) -> int:
    """Return a share of a number of bands, at least one and, where there are two, not all of them."""
    return max(1, min(round(share * bands), bands - 1))


def _placed(
    tall: Tensor, wide: Tensor, length: Tensor, grid: Grid, place: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return first and last (excluded) step and band of blocks `(B, M)`, placed by `place (B, M, 2)` in [0, 1)."""
    top = (place[..., 0] * (length.unsqueeze(1) - tall + 1).clamp(min=1)).long()
    left = (place[..., 1] * (grid.freq - wide + 1)).long()
    return top, top + tall, left, left + wide


def _union(blocks: tuple[Tensor, Tensor, Tensor, Tensor], grid: Grid) -> Tensor:
    """Return the tokens `(B, N)` in any of the blocks `(B, M)`."""
    top, bottom, left, right = (edge.unsqueeze(-1) for edge in blocks)
    step, band = torch.arange(grid.time), torch.arange(grid.freq)
    rows, columns_ = (step >= top) & (step < bottom), (band >= left) & (band < right)
    return (rows.unsqueeze(3) & columns_.unsqueeze(2)).any(1).flatten(1)
