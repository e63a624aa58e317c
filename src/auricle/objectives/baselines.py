"""Baselines of predictions: constants, positions, unigrams.

A falling loss proves nothing: a latent target may have collapsed to one direction, or be known from its position alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from auricle.objectives.contrastive.embedding_statistics import effective_rank
from auricle.objectives.distributed import masked_mean


@torch.no_grad()
def constant_prediction(target: Tensor, chosen: Tensor) -> Tensor:
    """Return the mean of the chosen targets at every position: `(R, N, D)` from `target` and `chosen (R, N)`."""
    weight = chosen.unsqueeze(-1).to(target.dtype)
    mean = (target * weight).sum((0, 1)) / weight.sum().clamp(min=1)
    return mean.expand_as(target)


@torch.no_grad()
def position_prediction(target: Tensor, chosen: Tensor, clones: int = 1) -> Tensor:
    """Return, at every position, the mean of the other clips' chosen targets at that position.

    The clip itself is excluded (its clones too), so that the baseline is not too strong; a position that no other clip
    has chosen gets the mean of all.

    Args:
        target: `(R, N, D)`.
        chosen: `(R, N)` bool.
        clones: rows of each clip.
    """
    weight = chosen.unsqueeze(-1).to(target.dtype)
    by_clip = (target * weight).unflatten(0, (-1, clones)).sum(1)
    counts = weight.unflatten(0, (-1, clones)).sum(1)
    total, count = by_clip.sum(0, keepdim=True) - by_clip, counts.sum(0, keepdim=True) - counts
    mean = constant_prediction(target, chosen)[:1, :1]
    others = torch.where(count > 0, total / count.clamp(min=1), mean)
    return others.repeat_interleave(clones, 0)


@torch.no_grad()
def spread(x: Tensor, chosen: Tensor) -> Tensor:
    """Return the standard deviation over the chosen positions, averaged over dimensions: 0 where all are equal."""
    weight = chosen.unsqueeze(-1).to(x.dtype)
    count = weight.sum().clamp(min=1)
    mean = (x * weight).sum((0, 1)) / count
    return (((x - mean) * weight).square().sum((0, 1)) / count).sqrt().mean()


@torch.no_grad()
def unigram_entropy(codes: Tensor, chosen: Tensor, size: int) -> Tensor:
    """Return the entropy (nats) of the chosen codes' distribution: the loss of predicting their frequencies.

    Args:
        codes: `(R, N)` int64.
        chosen: `(R, N)` bool.
        size: number of codes.
    """
    counts = torch.bincount(codes[chosen], minlength=size).float()
    share = counts / counts.sum().clamp(min=1)
    return torch.special.entr(share).sum()


@torch.no_grad()
def majority(codes: Tensor, chosen: Tensor, size: int) -> Tensor:
    """Return the share of the most frequent of the chosen codes: the accuracy of always predicting it."""
    counts = torch.bincount(codes[chosen], minlength=size).float()
    return counts.max() / counts.sum().clamp(min=1)


@torch.no_grad()
def position_accuracy(codes: Tensor, chosen: Tensor, size: int, clones: int = 1) -> Tensor:
    """Return the accuracy of predicting, at each position, the most frequent code of the other clips there.

    At positions that no other clip has chosen the prediction counts as wrong.
    """
    rows, places = codes.shape
    table = torch.zeros(places, size, device=codes.device)
    place = torch.arange(places, device=codes.device).expand(rows, -1)
    table.index_put_((place[chosen], codes[chosen]), torch.ones((), device=codes.device), accumulate=True)
    hits, total = torch.zeros((), device=codes.device), chosen.sum().clamp(min=1)
    for clip in range(0, rows, clones):
        own, mine = codes[clip : clip + clones], chosen[clip : clip + clones]
        without = table.clone()
        without.index_put_(
            (place[clip : clip + clones][mine], own[mine]), -torch.ones((), device=codes.device), accumulate=True
        )
        best, guess = without.max(1)
        hits += ((own == guess) & mine & (best > 0)).sum()
    return hits / total


def regression_watch(
    loss: Callable[[Tensor, Tensor], Tensor], prediction: Tensor, target: Tensor, chosen: Tensor, clones: int
) -> dict[str, Callable[[], Tensor]]:
    """Return makers of monitored scalars of a regression on chosen positions.

    They are `constant` and `position` (the losses of those baselines), `position_ratio` (this loss over the position's:
    below 1 more than the position was learned), `std_target` and `std_prediction`, and `rank_prediction`.
    """
    prediction, target = prediction.detach().float(), target.detach().float()

    def of(guess: Tensor) -> Tensor:
        return masked_mean(loss(guess, target), chosen)

    def ratio() -> Tensor:
        return of(prediction) / of(position_prediction(target, chosen, clones)).clamp(min=1e-12)

    return {
        "constant": lambda: of(constant_prediction(target, chosen)),
        "position": lambda: of(position_prediction(target, chosen, clones)),
        "position_ratio": ratio,
        "std_target": lambda: spread(target, chosen),
        "std_prediction": lambda: spread(prediction, chosen),
        "rank_prediction": lambda: effective_rank(prediction[chosen][:2048]),
    }


def code_watch(
    logits: Tensor, codes: Tensor, chosen: Tensor, size: int, clones: int
) -> dict[str, Callable[[], Tensor]]:
    """Return makers of monitored scalars of a prediction of codes.

    Args:
        logits: `(P, size)` at the chosen positions, row by row.
        codes: `(R, N)` int64.
        chosen: `(R, N)` bool.
        size: number of codes.
        clones: rows of each clip.
    """
    logits = logits.detach()

    def accuracy() -> Tensor:
        return (logits.argmax(-1) == codes[chosen]).float().mean()

    return {
        "code_accuracy": accuracy,
        "unigram": lambda: unigram_entropy(codes, chosen, size),
        "majority": lambda: majority(codes, chosen, size),
        "perplexity": lambda: unigram_entropy(codes, chosen, size).exp(),
        "position_accuracy": lambda: position_accuracy(codes, chosen, size, clones),
    }
