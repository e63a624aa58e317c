"""Clusters against labels: adjusted Rand index, normalised mutual information, purity. Through scikit-learn.

Cluster and class numbers need not correspond, nor be equally many. Letters in shapes: n clips.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

from auricle.errors import ConfigError


def validate_clusters(truth: np.ndarray, clusters: np.ndarray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Check class and cluster numbers and return them renumbered from 0.

    Args:
        truth: `(n,)` classes: numbers or names.
        clusters: `(n,)` clusters: numbers or names; a negative number (noise, as density clusterings give it) is
            refused, since it is a choice whether noise is one cluster, many, or left out.

    Raises:
        ConfigError: shapes differ, a value is not finite, or a cluster number is negative.
    """
    found = [np.asarray(values) for values in (truth, clusters)]
    if found[0].ndim != 1 or found[0].shape != found[1].shape:
        raise ConfigError(f"truth has shape {found[0].shape}, clusters {found[1].shape}; expected (n,) and (n,)")
    for name, values in zip(("truth", "clusters"), found, strict=True):
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            raise ConfigError(f"{name} hold values that are not finite")
    said = found[1]
    if said.size and np.issubdtype(said.dtype, np.number) and said.min() < 0:
        raise ConfigError(f"{int((said < 0).sum())} clips have a negative cluster (noise?); give each clip a cluster")
    numbers = [np.unique(values, return_inverse=True)[1].astype(np.int64) for values in found]
    return numbers[0], numbers[1]


def adjusted_rand_index(truth: np.ndarray, clusters: np.ndarray) -> float:
    """Return how far pairs of clips are together or apart in both, 0 for chance, 1 for agreement; NaN without clips."""
    true, said = validate_clusters(truth, clusters)
    return float(adjusted_rand_score(true, said)) if true.size else math.nan


def normalised_mutual_information(truth: np.ndarray, clusters: np.ndarray) -> float:
    """Return the mutual information over the mean of both entropies, 0 ... 1; NaN without clips.

    Not corrected for chance: it rises with the number of clusters. 1 if there is one class and one cluster.
    """
    true, said = validate_clusters(truth, clusters)
    return float(normalized_mutual_info_score(true, said)) if true.size else math.nan


def cluster_purity(truth: np.ndarray, clusters: np.ndarray) -> float:
    """Return the share of clips that belong to their cluster's most frequent class; NaN without clips.

    1 when every clip is its own cluster: compare it only at equal numbers of clusters.
    """
    true, said = validate_clusters(truth, clusters)
    return float(contingency_matrix(true, said).max(0).sum() / true.size) if true.size else math.nan


def adjusted_rand_index_resampled(truth: np.ndarray, clusters: np.ndarray, weights: np.ndarray) -> NDArray[np.float64]:
    """Return the adjusted Rand index `(R,)` if clip i occurred `weights[r, i]` times.

    Raises:
        ConfigError: weights of another number of clips, or negative ones.
    """
    tables = _tables(truth, clusters, weights)
    result = np.full(len(tables), math.nan)
    for r, table in enumerate(tables):
        total = table.sum()
        if total <= 0:
            continue
        both, true, said = ((t * (t - 1) / 2).sum() for t in (table, table.sum(1), table.sum(0)))
        pairs = total * (total - 1) / 2
        expected = true * said / pairs if pairs else 0.0
        most = (true + said) / 2
        result[r] = 1.0 if most == expected else (both - expected) / (most - expected)
    return result


def normalised_mutual_information_resampled(
    truth: np.ndarray, clusters: np.ndarray, weights: np.ndarray
) -> NDArray[np.float64]:
    """Return the normalised mutual information `(R,)` if clip i occurred `weights[r, i]` times.

    Raises:
        ConfigError: weights of another number of clips, or negative ones.
    """
    tables = _tables(truth, clusters, weights)
    result = np.full(len(tables), math.nan)
    for r, table in enumerate(tables):
        total = table.sum()
        if total <= 0:
            continue
        share = table / total
        true, said = share.sum(1), share.sum(0)
        both, entropies = (_entropy(share.ravel()), (_entropy(true) + _entropy(said)))
        # Without any entropy both sides are one group, and agree.
        result[r] = 1.0 if entropies <= 0 else max(0.0, 2 * (entropies - both) / entropies)
    return result


def cluster_purity_resampled(truth: np.ndarray, clusters: np.ndarray, weights: np.ndarray) -> NDArray[np.float64]:
    """Return the purity `(R,)` if clip i occurred `weights[r, i]` times.

    Raises:
        ConfigError: weights of another number of clips, or negative ones.
    """
    tables = _tables(truth, clusters, weights)
    total = tables.sum((1, 2))
    right = tables.max(1, initial=0.0).sum(1)
    return np.divide(right, total, out=np.full(total.shape, math.nan), where=total > 0)


def _entropy(share: NDArray[np.float64]) -> float:
    some = share[share > 0]
    return float(-(some * np.log(some)).sum())


def _tables(truth: np.ndarray, clusters: np.ndarray, weights: np.ndarray) -> NDArray[np.float64]:
    """Number of clips of each class in each cluster under each weighting `(R, classes, clusters)`."""
    true, said = validate_clusters(truth, clusters)
    weights = np.asarray(weights, dtype=np.float64)
    if weights.ndim != 2 or weights.shape[1] != true.size or (weights < 0).any():
        raise ConfigError(f"weights of shape {weights.shape}; expected (R, {true.size}) numbers >= 0: one per clip")
    rows, columns = (int(n.max()) + 1 if n.size else 0 for n in (true, said))
    cell = np.zeros((true.size, rows * columns))
    cell[np.arange(true.size), true * columns + said] = 1.0
    return (weights @ cell).reshape(len(weights), rows, columns)
