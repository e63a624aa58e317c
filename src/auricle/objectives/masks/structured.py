"""The tokens that each of two views keeps: structured time and frequency masks, and the unstructured one.

Source: AudioMosaic, arXiv 2605.14231, section 3. `true` drops time columns or mel bands, as the paper describes.
`released` follows the published code, which reads the time-major token sequence as if on the transposed grid (F rows of
T): the "time" mask drops blocks of T consecutive tokens, the "frequency" mask the same positions inside each block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from auricle.config import Config, ShareBelowOne
from auricle.encoders.contract import Grid
from auricle.encoders.parts.token_drop import keep_columns, keep_rows, kept_lines
from auricle.errors import ConfigError
from auricle.objectives.contract import IndexSet
from auricle.objectives.distributed import rand_rows

MaskGrid = Literal["true", "released"]
MaskKind = Literal["time", "freq", "unstructured", "none"]
MaskMode = Literal["tf", "tt", "ff", "unstructured", "none"]

_PAIRS: dict[str, tuple[MaskKind, MaskKind]] = {
    "tf": ("time", "freq"),
    "tt": ("time", "time"),
    "ff": ("freq", "freq"),
    "unstructured": ("unstructured", "unstructured"),
    "none": ("none", "none"),
}


@dataclass(frozen=True)
class MaskConfig(Config):
    """Settings of the pair of masks.

    Attributes:
        mode: `tf` (the first view loses time, the second frequency), `tt`, `ff`, `unstructured` or `none`.
        time: share of time positions that a time mask drops.
        freq: share of frequency positions that a frequency mask drops.
        ratio: share of tokens that an unstructured mask drops.
        grid: `true` (the paper) or `released` (its code); see the module.
    """

    mode: MaskMode = "tf"
    time: ShareBelowOne = 0.6
    freq: ShareBelowOne = 0.4
    ratio: ShareBelowOne = 0.5
    grid: MaskGrid = "true"

    @property
    def kinds(self) -> tuple[MaskKind, MaskKind]:
        """The masks of the first and the second view."""
        return _PAIRS[self.mode]

    def draw(self, kind: MaskKind, grid: Grid, clips: int, generator: torch.Generator) -> IndexSet:
        """Draw one view's kept tokens, independently for each clip, from a CPU generator."""
        lines = mask_lines(kind, grid, self.grid)
        return self.choose(kind, grid, rand_rows(generator, clips, lines))

    def choose(self, kind: MaskKind, grid: Grid, noise: Tensor) -> IndexSet:
        """Return the kept tokens that the noise `(B, mask_lines(kind))` decides."""
        if kind == "time":
            return time_mask(grid, self.time, noise, self.grid)
        if kind == "freq":
            return freq_mask(grid, self.freq, noise, self.grid)
        if kind == "unstructured":
            return unstructured_mask(grid, self.ratio, noise)
        every = torch.arange(grid.tokens, device=noise.device)
        return IndexSet("none", every.expand(noise.shape[0], -1), grid)


def mask_lines(kind: MaskKind, grid: Grid, layout: MaskGrid = "true") -> int:
    """Return how many uniform numbers per clip a mask needs: one per line that can be dropped."""
    if kind == "none":
        return 0
    if kind == "unstructured":
        return grid.tokens
    return grid.time if (kind == "time") == (layout == "true") else grid.freq


def time_mask(grid: Grid, ratio: float, noise: Tensor, layout: MaskGrid = "true") -> IndexSet:
    """Drop time positions: `noise (B, T)` on the true grid, `(B, F)` blocks of T tokens on the released one."""
    columns = grid.freq if layout == "true" else grid.time
    _check(noise, grid.tokens // columns)
    return IndexSet("time", keep_rows(noise, ratio, columns), grid)


def freq_mask(grid: Grid, ratio: float, noise: Tensor, layout: MaskGrid = "true") -> IndexSet:
    """Drop frequency positions: `noise (B, F)` on the true grid, `(B, T)` places in a block on the released one."""
    rows = grid.time if layout == "true" else grid.freq
    _check(noise, grid.tokens // rows)
    return IndexSet("freq", keep_columns(noise, ratio, rows), grid)


def unstructured_mask(grid: Grid, ratio: float, noise: Tensor) -> IndexSet:
    """Drop single tokens: `noise (B, N)`."""
    _check(noise, grid.tokens)
    return IndexSet("unstructured", kept_lines(noise, ratio), grid)


def _check(noise: Tensor, lines: int) -> None:
    if noise.dim() != 2 or noise.shape[1] != lines:
        raise ConfigError(f"found mask noise of shape {tuple(noise.shape)}, expected (clips, {lines}): one per line")
