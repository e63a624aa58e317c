"""Clusters against labels: adjusted Rand index, normalised mutual information, purity.

Cluster and class numbers need not correspond, nor be equally many. Letters in shapes: n clips, R weightings.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from auricle.errors import ConfigError
from auricle.metrics.weights import Floats, check_weights, divide, weighable


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
        raise ConfigError(
            f"{int((said < 0).sum())} clips have a negative cluster (noise?); expected 0 or more for each clip"
        )
    numbers = [np.unique(values, return_inverse=True)[1].astype(np.int64) for values in found]
    return numbers[0], numbers[1]


@weighable
def adjusted_rand_index(truth: np.ndarray, clusters: np.ndarray, weights: Floats) -> Floats:
    """Return how far pairs of clips are together or apart in both, 0 for chance, 1 for agreement.

    Hubert and Arabie, 1985. A clip that counts twice is a pair by itself.
    """
    tables = contingency(truth, clusters, weights)
    total = tables.sum((1, 2))
    both, true, said, pairs = (
        (counts * (counts - 1) / 2).reshape(len(tables), -1).sum(1)
        for counts in (tables, tables.sum(2), tables.sum(1), total)
    )
    expected = np.divide(true * said, pairs, out=np.zeros_like(pairs), where=pairs > 0)
    top, bottom = both - expected, (true + said) / 2 - expected
    # Where nothing can differ (all clips together, or all apart, on both sides) the two agree.
    index = np.divide(top, bottom, out=np.ones_like(top), where=bottom != 0)
    return np.where(total > 0, index, np.nan)


@weighable
def normalised_mutual_information(truth: np.ndarray, clusters: np.ndarray, weights: Floats) -> Floats:
    """Return the mutual information over the mean of both entropies, 0 ... 1.

    Not corrected for chance: it rises with the number of clusters. 1 if there is one class and one cluster.
    """
    tables = contingency(truth, clusters, weights)
    total = tables.sum((1, 2))
    share = tables / np.maximum(total, 1e-300)[:, None, None]
    both, true, said = (_entropy(p) for p in (share, share.sum(2), share.sum(1)))
    mean = (true + said) / 2
    information = np.divide(np.maximum(true + said - both, 0), mean, out=np.ones_like(mean), where=mean > 1e-12)
    return np.where(total > 0, information, np.nan)


@weighable
def cluster_purity(truth: np.ndarray, clusters: np.ndarray, weights: Floats) -> Floats:
    """Return the share of clips that belong to their cluster's most frequent class.

    1 when every clip is its own cluster: compare it only at equal numbers of clusters.
    """
    tables = contingency(truth, clusters, weights)
    return divide(tables.max(1, initial=0.0).sum(1), tables.sum((1, 2)))


def contingency(truth: np.ndarray, clusters: np.ndarray, weights: np.ndarray | None = None) -> Floats:
    """Return how many clips of each class lie in each cluster `(R, classes, clusters)`.

    Classes and clusters are those that occur, in ascending order.

    Raises:
        ConfigError: as `validate_clusters`; weights of another number of clips, or negative ones.
    """
    true, said = validate_clusters(truth, clusters)
    weights = check_weights(weights, true.size)
    rows, columns = (int(n.max()) + 1 if n.size else 0 for n in (true, said))
    counts = [np.bincount(true * columns + said, row, minlength=rows * columns) for row in weights]
    return np.reshape(counts, (len(weights), rows, columns)).astype(np.float64)


def _entropy(share: Floats) -> Floats:
    """Entropy of each distribution `(R, ...)`."""
    terms = -np.where(share > 0, share * np.log(np.maximum(share, 1e-300)), 0.0)
    return terms.reshape(len(share), -1).sum(1)
