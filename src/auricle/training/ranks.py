"""The processes that train together: one, or those that `accelerate launch` started."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

# Imported before any process group exists: its functions keep the group that they find at import as a default, and a
# group that is alive when the process ends keeps its threads, which sometimes abort the process.
import torch.distributed.nn.functional
from accelerate import PartialState
from torch import Tensor, nn

from auricle.devices import Device, find_device

# Large enough that latency does not count, small enough that the copy stays cheap in memory.
BUCKET_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True)
class Ranks:
    """The rank of this process among those that train together.

    Attributes:
        rank: 0 ... world - 1; rank 0 writes the run folder.
        world: number of processes.
        device: where this process computes.
        local_world: number of processes on this machine.
    """

    rank: int
    world: int
    device: torch.device
    local_world: int = 1

    @classmethod
    def start(cls, device: Device = "auto") -> Ranks:
        """Join the other processes of this launch (none: a world of one).

        Raises:
            ConfigError: `cuda` or `mps` is asked for and not available.
        """
        if device != "auto":
            find_device(device)
        on_cpu = device == "cpu" or (device != "mps" and not torch.cuda.is_available())
        joined = dist.is_available() and dist.is_initialized()
        state = PartialState(cpu=on_cpu)
        if dist.is_available() and dist.is_initialized() and not joined:
            # The group's threads must have ended before the interpreter does.
            atexit.register(_leave)
        # The state is made once a process: an earlier run on another device must not decide for this one.
        kind = "cpu" if on_cpu else "mps" if device == "mps" else "cuda"
        place = torch.device(kind, state.local_process_index) if kind == "cuda" else torch.device(kind)
        local = int(os.environ.get("LOCAL_WORLD_SIZE", state.num_processes))
        return cls(state.process_index, state.num_processes, place, local)

    @property
    def main(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def share(self, value: Any) -> Any:
        """Return rank 0's value on every rank."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """Return every rank's value, by rank, on every rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set on any rank."""
        if self.world == 1:
            return flag
        value = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return bool(value.item())

    def broadcast(self, module: nn.Module) -> None:
        """Give every rank the parameters and buffers of rank 0."""
        if self.world > 1:
            for tensor in module.state_dict().values():
                dist.broadcast(tensor, src=0)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over the ranks, a bucket of many small ones at a time.

        Gradients are averaged after the backward pass and not during it (as DistributedDataParallel does), because
        gradient caching runs many backward passes for one gradient.
        """
        if self.world == 1:
            return
        for bucket in _buckets(tensors):
            flat = torch.cat([t.reshape(-1) for t in bucket])
            dist.all_reduce(flat)
            flat.div_(self.world)
            for tensor, part in zip(bucket, flat.split([t.numel() for t in bucket]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def wait(self) -> None:
        """Wait until every rank is here."""
        if self.world > 1:
            dist.barrier()


def _leave() -> None:
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Group tensors of one dtype, in order, into buckets of about `BUCKET_BYTES`."""
    for dtype in dict.fromkeys(t.dtype for t in tensors):
        bucket: list[Tensor] = []
        size = 0
        for tensor in tensors:
            if tensor.dtype != dtype:
                continue
            bucket.append(tensor)
            size += tensor.numel() * tensor.element_size()
            if size >= BUCKET_BYTES:
                yield bucket
                bucket, size = [], 0
        if bucket:
            yield bucket
