"""Batches of variable length over several ranks: how wide the widest rank's rows are."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from auricle.objectives.gather import gather_rows, world


def widest(places: int, device: torch.device) -> int:
    """Return the largest number of tokens a row has on any rank: draws are made for so many on all of them."""
    if world() == 1:
        return places
    most = torch.tensor([places], device=device)
    dist.all_reduce(most, op=dist.ReduceOp.MAX)
    return int(most)


def gather_wide(x: Tensor, places: int) -> Tensor:
    """Return the rows `(W * B, places, ...)` of all ranks, each padded with zeros to so many tokens.

    Args:
        x: `(B, N, ...)` of this rank, N at most `places`; gradients flow back to it.
        places: see `widest`.
    """
    missing = places - x.shape[1]
    return gather_rows(F.pad(x, (0, 0) * (x.dim() - 2) + (0, missing)) if missing else x)
