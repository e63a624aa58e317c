"""Clustering: do clusters of clip vectors agree with the labels?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from auricle.metrics.clustering import adjusted_rand_index, cluster_purity, normalised_mutual_information
from auricle.metrics.weights import Floats, Metric
from auricle.results.predictions import TaskPredictions

MEASURES: dict[str, Metric] = {
    "ari": adjusted_rand_index,
    "nmi": normalised_mutual_information,
    "purity": cluster_purity,
}


@dataclass(frozen=True)
class ClusteringPredictions(TaskPredictions):
    """Which cluster each clip is in.

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
        return tuple(MEASURES)

    @property
    def title(self) -> str:
        return "clustered clips"

    def constant(self) -> tuple[str, TaskPredictions]:
        return "one cluster", replace(self, clusters=np.zeros((1, len(self.names)), dtype=np.int64), seeds=(0,))

    def measure(self, metric: str, weights: np.ndarray) -> Floats:
        return np.stack([MEASURES[metric](self.truth, row, weights) for row in self.clusters])

    def detail(self) -> dict[str, Any]:
        # Class against cluster of the first seed, with a row for each class and each cluster number.
        table = np.zeros((len(self.classes), int(self.clusters.max()) + 1))
        np.add.at(table, (self.truth, self.clusters[0]), 1)
        return {"classes": list(self.classes), "details": {"contingency": table.tolist()}}
