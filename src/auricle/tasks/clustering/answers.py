"""Clustering: do the groups that fall out of the vectors agree with the labels?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from auricle.metrics.classification import Floats
from auricle.results.unit_answers import UnitPredictions


@dataclass(frozen=True)
class ClusteringAnswers(UnitPredictions):
    """Which cluster each clip went to.

    Attributes:
        truth: `(n,)` int64 class.
        clusters: `(S, n)` int64 cluster, one clustering a seed.
        classes: C names.
    """

    type_name: ClassVar[str] = "clustering"
    unit_axes: ClassVar[dict[str, int]] = {"truth": 0, "clusters": 1}
    truth_fields: ClassVar[tuple[str, ...]] = ("truth", "classes")
    truth: NDArray[np.int64]
    clusters: NDArray[np.int64]
    classes: tuple[str, ...]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Adjusted Rand index, normalised mutual information, purity."""
        return ("ari", "nmi", "purity")

    @property
    def title(self) -> str:
        """What the units are."""
        return "clustered clips"

    def measure(self, metric: str, weights: np.ndarray) -> Floats:
        """Return `(S, R)` from the weighted tables of class against cluster."""
        return np.stack([MEASURES[metric](self._tables(row, weights)) for row in self.clusters])

    def _tables(self, clusters: NDArray[np.int64], weights: np.ndarray) -> Floats:
        """Weighted numbers of clips of each class in each cluster, `(R, C, K)`."""
        C, K = len(self.classes), int(clusters.max()) + 1
        place = np.zeros((len(clusters), C * K))
        place[np.arange(len(clusters)), self.truth * K + clusters] = 1
        tables: Floats = (np.asarray(weights, dtype=np.float64) @ place).reshape(-1, C, K)
        return tables

    def detail(self) -> dict[str, Any]:
        """Return the table of class against cluster of the first seed."""
        table = self._tables(self.clusters[0], np.ones((1, len(self.truth))))[0]
        return {"classes": list(self.classes), "details": {"contingency": table.tolist()}}


def _ari(tables: Floats) -> Floats:
    """Adjusted Rand index (Hubert and Arabie, 1985) of each table; a clip drawn twice counts as two."""

    def pairs(x: Floats) -> Floats:
        result: Floats = x * (x - 1) / 2
        return result

    both = pairs(tables).sum((1, 2))
    one, two = pairs(tables.sum(2)).sum(1), pairs(tables.sum(1)).sum(1)
    everything = pairs(tables.sum((1, 2)))
    expected = np.divide(one * two, everything, out=np.zeros_like(one), where=everything > 0)
    top, bottom = both - expected, (one + two) / 2 - expected
    # Where nothing can differ (all in one group, on both sides) the two groupings are equal.
    return np.divide(top, bottom, out=np.ones_like(top), where=bottom != 0)


def _nmi(tables: Floats) -> Floats:
    """Mutual information over the mean of the two entropies."""
    p = tables / np.maximum(tables.sum((1, 2), keepdims=True), 1e-300)

    def entropy(q: Floats) -> Floats:
        result: Floats = -np.where(q > 0, q * np.log(np.maximum(q, 1e-300)), 0).reshape(len(q), -1).sum(1)
        return result

    truth, found, joint = entropy(p.sum(2)), entropy(p.sum(1)), entropy(p)
    mutual = np.maximum(truth + found - joint, 0)
    mean = (truth + found) / 2
    return np.divide(mutual, mean, out=np.ones_like(mutual), where=mean > 1e-12)


def _purity(tables: Floats) -> Floats:
    total = tables.sum((1, 2))
    return np.divide(tables.max(1).sum(1), total, out=np.full(len(total), np.nan), where=total > 0)


MEASURES: dict[str, Callable[[Floats], Floats]] = {"ari": _ari, "nmi": _nmi, "purity": _purity}
