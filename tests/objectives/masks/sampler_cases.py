"""Grids, padding and one sampler of each kind, for the tests of masks."""

from __future__ import annotations

import torch
from torch import Tensor

from auricle.encoders.contract import Grid
from auricle.objectives.masks.blocks import BlockMask, ClusterMask, InverseBlockMask
from auricle.objectives.masks.jepa import JepaMask
from auricle.objectives.masks.samplers import FrameMask, GroupMask, HalvesMask, RandomMask, StructuredMask
from auricle.objectives.masks.spans import BernoulliSpanMask, SpanMask
from auricle.objectives.masks.token_mask import TokenMaskConfig

PATCHES = Grid(64, 8, 6.25)
FRAMES = Grid(500, 1, 50.0)

EVERY: list[TokenMaskConfig] = [
    RandomMask(),
    RandomMask(keep=0.2),
    FrameMask(),
    FrameMask(count=30),
    GroupMask(),
    GroupMask(group=3, keep=0.4),
    HalvesMask(),
    StructuredMask(),
    StructuredMask(axis="freq", ratio=0.4),
    StructuredMask(grid="released"),
    SpanMask(),
    SpanMask(p=0.8, same_count=False),
    BernoulliSpanMask(),
    ClusterMask(),
    ClusterMask(wrap=True),
    BlockMask(),
    BlockMask(even=False),
    InverseBlockMask(),
    InverseBlockMask(even=False),
    JepaMask(),
    JepaMask(curriculum=True),
]
IDS = [f"{type(mask).__name__}-{i}" for i, mask in enumerate(EVERY)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def prefixes(grid: Grid, lengths: list[int]) -> Tensor:
    steps = torch.arange(grid.time) < torch.tensor(lengths).unsqueeze(1)
    return steps.repeat_interleave(grid.freq, 1)
