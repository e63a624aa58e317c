"""Retrieval: are the relevant items ranked first? Recall@K, Precision@K, MRR, nDCG and mean average precision.

Every metric is a mean over queries; `retrieval_of_queries` returns the value of each query, so that
`auricle.metrics.weights.unit_mean` gives the metric under any weighting of the queries.

Letters in shapes: q queries, m items.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from auricle.errors import ConfigError
from auricle.metrics.classification import tie_ends
from auricle.metrics.weights import Floats

Mask = NDArray[np.bool_]


def validate_retrieval(
    scores: np.ndarray, relevant: np.ndarray, excluded: np.ndarray | None = None
) -> tuple[Floats, Mask, Mask]:
    """Check scores and relevance of items.

    Args:
        scores: `(q, m)` finite similarity of each item to each query; higher ranks first.
        relevant: `(q, m)` zeros and ones (or bool).
        excluded: `(q, m)` items that are not ranked for a query, such as itself; None: none.

    Returns:
        Scores, relevance without excluded items, and the excluded ones.

    Raises:
        ConfigError: shapes differ, relevance is not 0 / 1, a score of a ranked item is not finite.
    """
    scores, relevant = np.asarray(scores, dtype=np.float64), np.asarray(relevant)
    skipped = np.zeros(scores.shape, dtype=bool) if excluded is None else np.asarray(excluded)
    if scores.ndim != 2 or relevant.shape != scores.shape or skipped.shape != scores.shape:
        raise ConfigError(
            f"scores have shape {scores.shape}, relevance {relevant.shape}, exclusions {skipped.shape}; expected (q, m)"
        )
    if not np.isin(relevant, (0, 1)).all() or not np.isin(skipped, (0, 1)).all():
        raise ConfigError("relevance or exclusions hold values other than 0 and 1")
    skipped = skipped.astype(bool)
    wrong = ~np.isfinite(scores) & ~skipped
    if wrong.any():
        raise ConfigError(f"{int(wrong.sum())} of {scores.size} scores are not finite")
    return scores, relevant.astype(bool) & ~skipped, skipped


def retrieval_of_queries(
    scores: np.ndarray,
    relevant: np.ndarray,
    excluded: np.ndarray | None = None,
    *,
    cuts: Sequence[int] = (1, 5, 10),
    depth: int = 0,
) -> dict[str, Floats]:
    """Return every retrieval metric for each query: name -> `(q,)`; NaN for a query without relevant items.

    - `recall_at_K`: 1 for a query with a relevant item among its first K, else 0 (the R@K of audio-text retrieval and
      of metric learning; where a query has several relevant items it is not their share);
    - `precision_at_K`: share of relevant items among the first K, or among all where fewer can be ranked;
    - `mrr`: 1 / rank of the best relevant item;
    - `ndcg`: normalised discounted cumulative gain, gains 0 and 1, discounts 1 / log2(rank + 1);
    - `map_retrieval`: average precision.

    Tied scores: in what counts ranks (recall, precision, MRR) irrelevant items stand before relevant ones, so that an
    encoder which gives all clips one vector earns nothing. nDCG and average precision are those of scikit-learn: tied
    items share their discounts, and pass a threshold together. No metric depends on the order of the items.

    Args:
        scores: `(q, m)` finite similarity of each item to each query; higher ranks first.
        relevant: `(q, m)` zeros and ones (or bool).
        excluded: `(q, m)` items that are not ranked for a query, such as itself; None: none.
        cuts: the values of K.
        depth: ranks that count for nDCG; 0: all.

    Raises:
        ConfigError: a cut below 1, a negative depth, or as `validate_retrieval`.
    """
    if min(cuts, default=1) < 1 or depth < 0:
        raise ConfigError(f"the first {min(cuts, default=1)} items, depth {depth}; expected at least 1, and 0 (all)")
    scores, good, skipped = validate_retrieval(scores, relevant, excluded)
    names = [f"{what}_at_{k}" for k in cuts for what in ("recall", "precision")]
    found = {name: np.full(len(scores), math.nan) for name in (*names, "mrr", "ndcg", "map_retrieval")}
    for i in np.flatnonzero(good.any(1)):
        kept = ~skipped[i]
        for name, value in _of_query(scores[i, kept], good[i, kept], cuts, depth).items():
            found[name][i] = value
    return found


def _of_query(scores: Floats, good: Mask, cuts: Sequence[int], depth: int) -> dict[str, float]:
    order = np.lexsort((good, -scores))
    hits = good[order]
    ranks = np.flatnonzero(hits) + 1
    last = tie_ends(scores[order])
    run = np.repeat(np.arange(len(last)), np.diff(last, prepend=-1))
    # Of each hit, the rank and the number of hits at the end of its run of equal scores.
    end = last[run[ranks - 1]]
    precision = np.cumsum(hits)[end] / (end + 1)
    gain = 1 / np.log2(np.arange(2, len(hits) + 2))
    gain[depth or len(gain) :] = 0.0
    shared = (np.add.reduceat(gain, np.append(0, last[:-1] + 1)) / np.diff(last, prepend=-1))[run]
    found = {f"recall_at_{k}": float(hits[:k].any()) for k in cuts}
    found |= {f"precision_at_{k}": float(hits[:k].mean()) for k in cuts}
    return {
        **found,
        "mrr": 1.0 / ranks[0],
        "ndcg": float(shared[hits].sum() / gain[: len(ranks)].sum()),
        "map_retrieval": float(precision.mean()),
    }
