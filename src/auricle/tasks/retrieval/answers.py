"""Retrieval by example: do the nearest clips carry the query's label?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from auricle.metrics.classification import Floats
from auricle.results.unit_answers import UnitPredictions

MEASURED = ("map_retrieval", "recall_at_1", "recall_at_5", "recall_at_10", "mrr", "ndcg")


@dataclass(frozen=True)
class RetrievalAnswers(UnitPredictions):
    """What each query found.

    Attributes:
        relevant: `(n,)` int64, clips in the gallery that share the query's label.
        values: `(S, n, M)` float64 of the metrics in `MEASURED`, query by query.
    """

    type_name: ClassVar[str] = "retrieval"
    unit_axes: ClassVar[dict[str, int]] = {"relevant": 0, "values": 1}
    truth_fields: ClassVar[tuple[str, ...]] = ("relevant",)
    relevant: NDArray[np.int64]
    values: NDArray[np.float64]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Mean average precision first."""
        return MEASURED

    @property
    def title(self) -> str:
        """What the units are."""
        return "queries"

    def measure(self, metric: str, weights: np.ndarray) -> Floats:
        """Return the weighted means over queries, `(S, R)`."""
        values = self.values[:, :, MEASURED.index(metric)]
        total = weights.sum(1)
        found: Floats = np.divide(
            values @ weights.T, total, out=np.full((len(values), len(weights)), np.nan), where=total > 0
        )
        return found
