"""Scores of candidates for the future: their losses and baselines."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from auricle.objectives.baselines import spread
from auricle.objectives.contrastive.embedding_statistics import effective_rank
from auricle.objectives.distributed import masked_mean, mean_where

ContrastLoss = Literal["nce", "binary"]
# Number of clips and vectors that monitors use: enough for a share, and cheap.
_WATCHED_CLIPS, _WATCHED_VECTORS = 8, 2048


@dataclass(frozen=True)
class Scored:
    """Scored predictions of a batch. B clips, N positions, K steps, n negatives, C channels.

    Attributes:
        scores: `(B, N, K, 1 + n)` of the true candidate and the negatives of each position, by step.
        chosen: `(B, N, K)` bool, positions that are predicted from a context inside the clip.
        equal: `(B, N, n)` bool, negatives that count as the true one and are excluded.
        candidates: `(B, N, 1 + n, C)`.
        shifts: number of tokens between a context and each predicted step, K numbers.
    """

    scores: Tensor
    chosen: Tensor
    equal: Tensor
    candidates: Tensor
    shifts: tuple[int, ...]


def contrast_loss(scored: Scored, loss: ContrastLoss, negative_weight: float = 1.0) -> Tensor:
    """Return the mean over all predictions of all ranks.

    Args:
        scored: the scores.
        loss: `nce`: minus the log softmax of the true candidate (CPC, equation 4); `binary`: minus log sigmoid of the
            true one's score, minus the sum over negatives of log sigmoid of minus theirs (wav2vec, equation 1).
        negative_weight: of each negative in `binary`.
    """
    scores, excluded = scored.scores, scored.equal.unsqueeze(2)
    if loss == "nce":
        negatives = scores[..., 1:].masked_fill(excluded, -torch.inf)
        value = torch.cat([scores[..., :1], negatives], -1).logsumexp(-1) - scores[..., 0]
    else:
        wrong = F.softplus(scores[..., 1:]).masked_fill(excluded, 0.0).sum(-1)
        value = F.softplus(-scores[..., 0]) + negative_weight * wrong
    return mean_where(value, scored.chosen)


def contrast_watch(
    scored: Scored, loss: ContrastLoss, negative_weight: float, context: Tensor
) -> dict[str, Callable[[], Tensor]]:
    """Return makers of monitored scalars.

    They are `future/accuracy` (the true candidate scores highest, over all steps), `future/accuracy_1` ... by step
    (which must fall with distance), `future/copy_accuracy` (the same for a prediction that repeats the present, by
    cosine), `future/chance_accuracy`, `future/chance` (the loss of the best score that is the same for all candidates),
    `future/std_candidates`, `future/rank_candidates` and `rank_tokens`.

    Args:
        scored: the scores.
        loss: see `contrast_loss`.
        negative_weight: see `contrast_loss`.
        context: `(B, N, D)` input of the predictions.
    """
    scores, chosen, candidates = scored.scores.detach(), scored.chosen, scored.candidates.detach()
    true, n = candidates[:, :, 0], scores.shape[-1] - 1
    places = chosen.any(-1)

    def accuracy(step: int | None = None) -> Tensor:
        steps = slice(None) if step is None else slice(step, step + 1)
        return masked_mean(right(scores[:, :, steps], scored.equal).float(), chosen[:, :, steps])

    def copied() -> Tensor:
        unit = F.normalize(candidates[:_WATCHED_CLIPS].float(), dim=-1)
        hits = []
        for shift in scored.shifts:
            past = F.pad(unit[:, :-shift, 0], (0, 0, shift, 0))
            hits.append(right(torch.einsum("bnc,bnmc->bnm", past, unit).unsqueeze(2), scored.equal[:_WATCHED_CLIPS]))
        return masked_mean(torch.cat(hits, 2).float(), chosen[:_WATCHED_CLIPS])

    watch: dict[str, Callable[[], Tensor]] = {
        "future/accuracy": accuracy,
        "future/copy_accuracy": copied,
        "future/chance_accuracy": lambda: scores.new_tensor(1 / (1 + n)),
        "future/chance": lambda: scores.new_tensor(chance(n, loss, negative_weight)),
        "future/std_candidates": lambda: spread(true, places),
        "future/rank_candidates": lambda: effective_rank(true[places][:_WATCHED_VECTORS]),
        "rank_tokens": lambda: effective_rank(context.flatten(0, 1)[:_WATCHED_VECTORS]),
    }
    for step in range(scores.shape[2]):
        watch[f"future/accuracy_{step + 1}"] = lambda step=step: accuracy(step)  # type: ignore[misc]
    return watch


def chance(negatives: int, loss: ContrastLoss, negative_weight: float = 1.0) -> float:
    """Return the loss of one score for all candidates, the best there is.

    `nce`: ln(1 + n), whatever the score. `binary`: the entropy of knowing only the number of wrong ones, with n
    weighted negatives ln(1 + n) + n ln(1 + 1/n): 3.35 for ten, where a score of zero costs 11 ln 2 = 7.62.
    """
    if loss == "nce":
        return math.log(1 + negatives)
    wrong = negative_weight * negatives
    return math.log(1 + wrong) + (wrong * math.log(1 + 1 / wrong) if wrong else 0.0)


def right(scores: Tensor, equal: Tensor) -> Tensor:
    """Return `(B, N, K)` bool: the true candidate scores higher than every negative; a tie is not enough.

    False where all negatives are excluded.

    Args:
        scores: `(B, N, K, 1 + n)`.
        equal: `(B, N, n)` bool, negatives that are excluded.
    """
    best = scores[..., 1:].masked_fill(equal.unsqueeze(2), -torch.inf).amax(-1)
    return (scores[..., 0] > best) & ~equal.all(-1).unsqueeze(-1)
