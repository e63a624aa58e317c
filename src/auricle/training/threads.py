"""Threads of the training step on a CPU.

The number of threads changes the order of float sums, hence the last bits of a result. It therefore depends on the
number of cores, or on OMP_NUM_THREADS, never on a measurement or the number of workers: same seed, same machine, same
numbers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from auricle.devices import cores


def step_threads(requested: int = -1, *, local_world: int = 1, available: int | None = None) -> int:
    """Return the number of threads for the training step.

    Args:
        requested: a number of threads, or -1 for OMP_NUM_THREADS where it is set, else every core of this rank. Loader
            workers sleep most of the time, so that no core is reserved for them; this needs OpenMP threads that sleep
            while they wait (OMP_WAIT_POLICY=passive, which the command line sets).
        local_world: ranks that share this machine.
        available: cores of this machine; None: those this process may use.
    """
    if requested > 0:
        return requested
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    # For several ranks torchrun sets 1 by itself, whatever the cores.
    if asked.isdecimal() and int(asked) > (0 if local_world == 1 else 1):
        return int(asked)
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
