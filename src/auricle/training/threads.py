"""Cores of a CPU run: how many threads the step takes, so that it and the loader's workers do not fight.

The number of threads changes the order of float sums, hence the last bits of a result. So the choice is a rule on the
number of cores alone, never a measurement at run time nor the number of workers: the same seed on the same machine
gives the same numbers, resumed or not, with any number of workers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def step_threads(requested: int = -1, *, local_world: int = 1, available: int | None = None) -> int:
    """Return how many threads the training step takes.

    Args:
        requested: a number of threads, or -1 for the rule: every core of this rank. Loader workers use one thread each
            and are asleep most of the time, since decoding is a small part of a step; leaving a core to them idles it.
            That needs OpenMP threads that sleep while they wait (OMP_WAIT_POLICY=passive, which the command line
            sets): spinning ones would take the workers' time.
        local_world: ranks that share this machine.
        available: cores of this machine; None: those this process may use.
    """
    if requested > 0:
        return requested
    return max(1, (cores() if available is None else available) // local_world)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with so many threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def time_threads(step: Callable[[], object], counts: Sequence[int], *, repeats: int = 5) -> dict[int, float]:
    """Measure the median seconds of a step at each number of threads (for the benchmarks that back the rule)."""
    seconds = {}
    for count in counts:
        with threads(count):
            step()
            times = []
            for _ in range(repeats):
                begin = time.perf_counter()
                step()
                times.append(time.perf_counter() - begin)
        seconds[count] = sorted(times)[len(times) // 2]
    return seconds
