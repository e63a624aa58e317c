"""k-means on vectors that are all in memory: nearest centres, k-means++ and Lloyd's algorithm."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Distances held at once: 2^24 float32 numbers are 64 MiB.
_AT_ONCE = 2**24


def lloyd(x: Tensor, centres: Tensor, passes: int) -> Tensor:
    """Move each centre `(K, D)` to the mean of the vectors `(n, D)` nearest to it, until none moves or passes are over.

    A centre that is nearest to no vector stays where it is.
    """
    for _ in range(passes):
        codes, _ = nearest_centres(x, centres)
        total, count = cluster_sums(x, codes, len(centres))
        moved = torch.where(count.unsqueeze(1) > 0, total / count.clamp(min=1).unsqueeze(1), centres)
        if bool((moved == centres).all()):
            break
        centres = moved
    return centres


def nearest_centres(x: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nearest centre `(n,)` int64 of each `x (n, D)` and the squared distance to it, `(n,)`.

    The first wins among equals. No more than 64 MiB of distances exist at once.
    """
    codes, distances = [], []
    # Distances are differences of squared lengths, which lose digits far from the origin.
    middle = centres.mean(0)
    centres = centres - middle
    norm = centres.square().sum(1)
    for part in (x - middle).split(max(1, _AT_ONCE // len(centres))):
        value, place = torch.addmm(norm, part, centres.T, alpha=-2).min(1)
        codes.append(place)
        distances.append((value + part.square().sum(1)).clamp(min=0))
    if not codes:
        return torch.zeros(0, dtype=torch.int64, device=x.device), x.new_zeros(0)
    return torch.cat(codes), torch.cat(distances)


def plus_plus(x: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    """Choose `clusters` of the vectors `x (n, D)` by greedy k-means++: far ones likely, the best of a few each time.

    The number tried is 2 + floor(ln K). Where fewer than K different vectors exist, some are chosen twice.
    """
    tries = 2 + int(math.log(clusters))
    first = int(torch.randint(len(x), (1,), generator=generator))
    chosen, norm = [first], x.square().sum(1)

    def distances(index: Tensor) -> Tensor:
        picked = x[index]
        return (norm + picked.square().sum(1, keepdim=True) - 2 * picked @ x.T).clamp(min=0)

    best = distances(torch.tensor([first], device=x.device))[0]
    for _ in range(1, clusters):
        weight = best.double().cpu().cumsum(0)
        draws = torch.rand(tries, dtype=torch.float64, generator=generator) * weight[-1]
        candidates = torch.searchsorted(weight, draws, right=True).clamp(max=len(x) - 1).to(x.device)
        closer = torch.minimum(distances(candidates), best)
        winner = int(closer.sum(1).argmin())
        chosen.append(int(candidates[winner]))
        best = closer[winner]
    return x[torch.tensor(chosen, device=x.device)].clone()


def cluster_sums(x: Tensor, codes: Tensor, clusters: int) -> tuple[Tensor, Tensor]:
    """Return the sum `(K, D)` and the number `(K,)` of each cluster's vectors, the same at every call."""
    # On a GPU a product with the one-hot codes, because index_add adds in an order that changes.
    total = x.new_zeros(clusters, x.shape[1])
    if x.device.type == "cpu":
        total.index_add_(0, codes, x)
    else:
        for part, code in zip(x.split(8192), codes.split(8192), strict=True):
            total += torch.nn.functional.one_hot(code, clusters).to(x.dtype).T @ part
    return total, torch.bincount(codes, minlength=clusters).to(x.dtype)
