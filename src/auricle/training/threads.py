"""Threads of the training step on a CPU.

The number of threads changes the order of float sums, hence the last bits of a result. It therefore depends on the
number of cores alone, never on a measurement or the number of workers: same seed, same machine, same numbers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def step_threads(requested: int = -1, *, local_world: int = 1, available: int | None = None) -> int:
    """Return the number of threads for the training step.

    Args:
        requested: a number of threads, or -1 for every core of this rank. Loader workers sleep most of the time, so
            that no core is reserved for them; this needs OpenMP threads that sleep while they wait
            (OMP_WAIT_POLICY=passive, which the command line sets).
        local_world: ranks that share this machine.
        available: cores of this machine; None: those this process may use.
    """
    if requested > 0:
        return requested
    return max(1, (cores() if available is None else available) // local_world)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with `count` threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
