"""Losses between scores and an order: differentiable ranking.

Scores rise with the place: the slice in place 0 should get the smallest score, the one in place n - 1 the largest.

Letters in shapes: B rows, n items, M samples of noise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def hard_ranks(scores: Tensor) -> Tensor:
    """Return the place of each score among its row's, from 0, `(..., n)` int64; of equal ones the first is lower."""
    return scores.argsort(dim=-1, stable=True).argsort(dim=-1)


def spearman(scores: Tensor, places: Tensor) -> Tensor:
    """Return Spearman's rank correlation of each row `(B,)` of scores `(B, n)` with the true places `(B, n)`."""
    n = scores.shape[-1]
    gap = (hard_ranks(scores) - places).to(torch.float64)
    return 1 - 6 * gap.square().sum(-1) / (n * (n * n - 1))


def plackett_luce(scores: Tensor, places: Tensor) -> Tensor:
    """Return the negative log-likelihood `(B,)` of the true order, drawn item by item from the end (ListMLE).

    The last place is drawn first, in proportion to exp(score), then the last but one among the others, and so on. It is
    ln n! for equal scores. Source: ListMLE (Xia et al., ICML 2008), with the order of places.

    Args:
        scores: `(B, n)`.
        places: `(B, n)` int64, a permutation of 0 ... n - 1 in each row.
    """
    # Items in the order of their places; those that are not drawn yet are the ones up to each.
    ordered = scores.gather(-1, places.argsort(-1))
    return (ordered.logcumsumexp(-1) - ordered).sum(-1)


def fenchel_young(scores: Tensor, places: Tensor, noise: Tensor) -> Tensor:
    """Return the perturbed Fenchel-Young loss `(B,)` of ranking.

    Its gradient is the mean of the disturbed scores' ranks minus the places.
    The value is `mean over m of max over permutations y of <y, s + z_m>, minus <places, s>`, without its constant, the
    entropy of the true places. Source: perturbed optimisers, arXiv 2002.08676, sections 3 and 4.

    Args:
        scores: `(B, n)`.
        places: `(B, n)`.
        noise: `(B, M, n)` standard normal, times sigma.
    """
    disturbed = scores.unsqueeze(1) + noise
    # The best permutation is that of the ranks, and by the envelope theorem it counts as constant.
    best = (hard_ranks(disturbed.detach()).to(scores.dtype) * disturbed).sum(-1).mean(1)
    return best - (places.to(scores.dtype) * scores).sum(-1)


def soft_ranks(scores: Tensor, strength: float = 1.0) -> Tensor:
    """Return soft ranks from 0 to n - 1, `(B, n)`: scores / strength projected on the permutahedron of the ranks.

    As the strength goes to 0 they become the hard ranks; as it grows, all become the mean rank. The Euclidean
    projection is an isotonic regression of the sorted values; here by its closed form of means over all stretches,
    which costs n * n for each row and is differentiable as it is: for lists of tens of items. Source: fast
    differentiable sorting and ranking, arXiv 2002.08871, section 3.

    Args:
        scores: `(B, n)`.
        strength: of the regularisation, above 0.
    """
    n = scores.shape[-1]
    z = scores / strength
    order = z.argsort(dim=-1, descending=True, stable=True)
    ordered = z.gather(-1, order)
    falling = torch.arange(n - 1, -1, -1, device=z.device, dtype=z.dtype)
    moved = ordered - isotonic_falling(ordered - falling)
    return torch.empty_like(z).scatter(-1, order, moved)


def isotonic_falling(x: Tensor) -> Tensor:
    """Return the non-increasing sequences `(B, n)` nearest to `x (B, n)` in squared distance.

    v_i is the smallest, over starts j up to i, of the largest, over ends k from i on, of the mean of x_j ... x_k.
    """
    n = x.shape[-1]
    total = torch.cat([x.new_zeros(*x.shape[:-1], 1), x.cumsum(-1)], -1)
    start = torch.arange(n, device=x.device)
    length = start[None, :] - start[:, None] + 1
    means = (total[..., None, 1:] - total[..., :-1, None]) / length.clamp(min=1)
    # [j, k]; stretches that end before they start do not exist.
    means = means.masked_fill(length < 1, -math.inf)
    # Largest over ends k >= i, for each start j and place i.
    best = means.flip(-1).cummax(-1).values.flip(-1)
    best = best.masked_fill(length < 1, math.inf)
    # Place i is the last axis; starts j <= i are where length is positive.
    return best.amin(-2)
