"""Random numbers of a batch that do not depend on how many processes share it.

Every rank is given a generator in the same state. It draws for the global batch and keeps its own rows, so that two
processes hide the same tokens, and choose the same distractors, as one process with the whole batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from auricle.objectives.gather import rank, world


def rand_rows(generator: torch.Generator, rows: int, *shape: int) -> Tensor:
    """Return this rank's rows `(rows, *shape)` of uniform numbers in [0, 1) drawn for all ranks, on the CPU."""
    return torch.rand(world() * rows, *shape, generator=generator)[rank() * rows : (rank() + 1) * rows]


def randn_rows(generator: torch.Generator, rows: int, *shape: int) -> Tensor:
    """Return this rank's rows `(rows, *shape)` of standard normal numbers drawn for all ranks, on the CPU."""
    return torch.randn(world() * rows, *shape, generator=generator)[rank() * rows : (rank() + 1) * rows]
