"""Retrieval: are the relevant items ranked first? Recall@K, Precision@K, MRR, nDCG and mean average precision.

Every metric is a mean over queries; the functions that end in `_of_queries` return the value of each, so that
`resampled_units.weighted_mean` gives the metric of any weighting of the queries. Average precision and nDCG come from
scikit-learn.

Letters in shapes: q queries, m items.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, ndcg_score

from auricle.errors import ConfigError
from auricle.metrics.classification import Floats

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


def first_ranks(scores: np.ndarray, relevant: np.ndarray, excluded: np.ndarray | None = None) -> Floats:
    """Return the rank of the best relevant item of each query `(q,)`, from 1; NaN for a query without relevant items.

    Irrelevant items of the same score stand before it, so that an encoder which gives all clips one vector earns
    nothing.
    """
    scores, good, skipped = validate_retrieval(scores, relevant, excluded)
    some = good.any(1)
    best = np.where(good, scores, -np.inf).max(1, initial=-np.inf)
    before = ((scores >= best[:, None]) & ~good & ~skipped).sum(1)
    return np.where(some, before + 1.0, math.nan)


def recall_at_k_of_queries(
    scores: np.ndarray, relevant: np.ndarray, k: int, excluded: np.ndarray | None = None
) -> Floats:
    """Return 1 for each query with a relevant item among its first k, else 0 `(q,)`; NaN without relevant items.

    This is the R@K of audio-text retrieval and of metric learning; where a query has several relevant items it is not
    their share.

    Raises:
        ConfigError: k below 1, or as `validate_retrieval`.
    """
    _check_k(k)
    ranks = first_ranks(scores, relevant, excluded)
    return np.where(np.isnan(ranks), math.nan, (ranks <= k).astype(np.float64))


def precision_at_k_of_queries(
    scores: np.ndarray, relevant: np.ndarray, k: int, excluded: np.ndarray | None = None
) -> Floats:
    """Return the share of relevant items among the first k of each query `(q,)`; NaN without relevant items.

    Where fewer than k items can be ranked the share is of those. Among equal scores irrelevant items stand first.

    Raises:
        ConfigError: k below 1, or as `validate_retrieval`.
    """
    _check_k(k)
    scores, good, skipped = validate_retrieval(scores, relevant, excluded)
    result = np.full(len(scores), math.nan)
    for i in np.flatnonzero(good.any(1)):
        items = np.flatnonzero(~skipped[i])
        order = np.lexsort((good[i, items], -scores[i, items]))[:k]
        result[i] = good[i, items[order]].mean()
    return result


def reciprocal_rank_of_queries(scores: np.ndarray, relevant: np.ndarray, excluded: np.ndarray | None = None) -> Floats:
    """Return 1 / rank of the best relevant item of each query `(q,)`; NaN without relevant items."""
    return 1.0 / first_ranks(scores, relevant, excluded)


def ndcg_of_queries(
    scores: np.ndarray, relevant: np.ndarray, k: int | None = None, excluded: np.ndarray | None = None
) -> Floats:
    """Return the normalised discounted cumulative gain of each query `(q,)`; NaN without relevant items.

    Gains are 0 and 1, discounts 1 / log2(rank + 1), equal scores share their gains (scikit-learn).

    Args:
        scores: `(q, m)`.
        relevant: `(q, m)`.
        k: ranks that count; None: all.
        excluded: `(q, m)`.

    Raises:
        ConfigError: k below 1, or as `validate_retrieval`.
    """
    if k is not None:
        _check_k(k)
    scores, good, skipped = validate_retrieval(scores, relevant, excluded)
    result = np.full(len(scores), math.nan)
    for i in np.flatnonzero(good.any(1)):
        kept = ~skipped[i]
        # One item alone can only be ranked first; scikit-learn refuses to say so.
        alone = int(kept.sum()) == 1
        result[i] = 1.0 if alone else ndcg_score(good[i : i + 1, kept].astype(float), scores[i : i + 1, kept], k=k)
    return result


def average_precision_of_queries(
    scores: np.ndarray, relevant: np.ndarray, excluded: np.ndarray | None = None
) -> Floats:
    """Return the average precision of each query `(q,)`, tied scores taken together; NaN without relevant items."""
    scores, good, skipped = validate_retrieval(scores, relevant, excluded)
    result = np.full(len(scores), math.nan)
    for i in np.flatnonzero(good.any(1)):
        kept = ~skipped[i]
        result[i] = average_precision_score(good[i, kept], scores[i, kept])
    return result


def retrieval_of_queries(
    scores: np.ndarray, relevant: np.ndarray, excluded: np.ndarray | None = None
) -> dict[str, Floats]:
    """Return every retrieval metric of the catalogue for each query: name -> `(q,)`."""
    found: dict[str, Floats] = {}
    for k in (1, 5, 10):
        found[f"recall_at_{k}"] = recall_at_k_of_queries(scores, relevant, k, excluded)
        found[f"precision_at_{k}"] = precision_at_k_of_queries(scores, relevant, k, excluded)
    found["mrr"] = reciprocal_rank_of_queries(scores, relevant, excluded)
    found["ndcg"] = ndcg_of_queries(scores, relevant, None, excluded)
    found["map_retrieval"] = average_precision_of_queries(scores, relevant, excluded)
    return found


def retrieval_scores(scores: np.ndarray, relevant: np.ndarray, excluded: np.ndarray | None = None) -> dict[str, float]:
    """Return every retrieval metric of the catalogue: the mean over queries that have relevant items, else NaN."""
    return {name: _mean(values) for name, values in retrieval_of_queries(scores, relevant, excluded).items()}


def _mean(values: Floats) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else math.nan


def _check_k(k: int) -> None:
    if k < 1:
        raise ConfigError(f"the first {k} items; expected at least 1")
