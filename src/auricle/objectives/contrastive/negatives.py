"""Negatives of a prediction of the future.

Candidates are the valid tokens of all ranks, in groups of clips; a token's negatives are drawn uniformly, with
replacement, from its own group (without the token itself), or from all other groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Negatives:
    """Positions of negatives.

    Attributes:
        index: `(B, N, n)` int64 into the tokens of all clips, `clip * N + place`.
        enough: `(B, N)` bool, False where there is nothing to draw from; the index has no meaning there.
        possible: whether any token of any clip has something to draw from.
    """

    index: Tensor
    enough: Tensor
    possible: bool


def draw_negatives(valid: Tensor, group: Tensor, first: int, uniform: Tensor, outside: bool = False) -> Negatives:
    """Draw negatives for the tokens of some rows.

    Args:
        valid: `(G, N)` bool of the clips to draw from.
        group: `(G,)` int64, group of each of these clips.
        first: number of the clip of the first row.
        uniform: `(B, N, n)` in [0, 1), one for each negative of the rows `first ... first + B - 1`.
        outside: draw from the other groups instead of a token's own, from which the token itself is left out.
    """
    G, N = valid.shape
    rows, device = uniform.shape[0], valid.device
    # Valid tokens side by side, group by group, so that every group is one stretch.
    clip_order = group.argsort(stable=True)
    sorted_valid = valid[clip_order]
    places = (clip_order.unsqueeze(1) * N + torch.arange(N, device=device))[sorted_valid]
    rank = torch.zeros(G * N, dtype=torch.int64, device=device)
    rank[places] = torch.arange(len(places), device=device)
    counts = torch.zeros(int(group.max()) + 1, dtype=torch.int64, device=device)
    counts.index_add_(0, group, valid.sum(1))
    starts = counts.cumsum(0) - counts
    own = group[first : first + rows]
    count, start = counts[own].view(-1, 1, 1), starts[own].view(-1, 1, 1)
    if len(places) == 0:
        return Negatives(torch.zeros_like(uniform, dtype=torch.int64), torch.zeros_like(uniform[..., 0]).bool(), False)
    if outside:
        room = len(places) - count
        drawn = (uniform.double() * room).long().minimum((room - 1).clamp(min=0))
        place = torch.where(drawn >= start, drawn + count, drawn)
    else:
        room = count - 1
        drawn = (uniform.double() * room).long().minimum((room - 1).clamp(min=0))
        itself = rank.view(G, N)[first : first + rows].unsqueeze(-1) - start
        place = start + torch.where(drawn >= itself, drawn + 1, drawn)
    enough = (room > 0).squeeze(-1).expand(-1, N) & valid[first : first + rows]
    possible = bool(((len(places) - counts if outside else counts - 1)[counts > 0] > 0).any())
    return Negatives(places[place.clamp(0, len(places) - 1)], enough, possible)


def numbered(values: list[object]) -> Tensor:
    """Return the group of each value `(C,)` int64: equal values have equal numbers."""
    numbers: dict[object, int] = {}
    return torch.tensor([numbers.setdefault(value, len(numbers)) for value in values], dtype=torch.int64)
