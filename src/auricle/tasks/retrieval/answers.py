"""Retrieval by example: do the nearest clips carry the query's label?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from auricle.metrics.weights import Floats, unit_mean
from auricle.results.predictions import TaskPredictions

MEASURED = ("map_retrieval", "recall_at_1", "recall_at_5", "recall_at_10", "mrr", "ndcg")


@dataclass(frozen=True)
class RetrievalPredictions(TaskPredictions):
    """Metrics of each query.

    Attributes:
        measured: names of the metrics (class attribute).
        relevant: `(n,)` int64, clips in the gallery that share the query's label.
        values: `(S, n, M)` float64 of the metrics in `measured`, query by query.
    """

    type_name: ClassVar[str] = "retrieval"
    unit_axes: ClassVar[dict[str, int]] = {"relevant": 0, "values": 1}
    truth_fields: ClassVar[tuple[str, ...]] = ("relevant",)
    measured: ClassVar[tuple[str, ...]] = MEASURED
    relevant: NDArray[np.int64]
    values: NDArray[np.float64]

    @property
    def metrics(self) -> tuple[str, ...]:
        return self.measured

    @property
    def title(self) -> str:
        return "queries"

    def measure(self, metric: str, weights: np.ndarray) -> Floats:
        return unit_mean(self.values[:, :, self.measured.index(metric)], weights)
