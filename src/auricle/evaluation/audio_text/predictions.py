"""Predictions of text tasks: the class of each clip, and the ranking of each query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from auricle.metrics.weights import Floats, unit_mean
from auricle.results.predictions import TaskPredictions
from auricle.tasks.clips.answers import ClipPredictions

MEASURES = ("map_retrieval", "recall_at_1", "recall_at_5", "recall_at_10", "mrr")


@dataclass(frozen=True)
class ZeroShotPredictions(ClipPredictions):
    """Cosine of each clip and each class; see `ClipPredictions`."""

    type_name: ClassVar[str] = "zero_shot"
    scores: NDArray[Any]  # float64: rounded ones would have ties


@dataclass(frozen=True)
class TextRetrievalPredictions(TaskPredictions):
    """Rankings of captions for clips, or of clips for captions.

    Attributes:
        relevant: `(n,)` int64, relevant items of each query.
        values: `(1, n, M)` float64 of `MEASURES`, query by query.
    """

    type_name: ClassVar[str] = "text_retrieval"
    unit_axes: ClassVar[dict[str, int]] = {"relevant": 0, "values": 1}
    truth_fields: ClassVar[tuple[str, ...]] = ("relevant",)
    relevant: NDArray[np.int64]
    values: NDArray[np.float64]

    @property
    def metrics(self) -> tuple[str, ...]:
        return MEASURES

    @property
    def title(self) -> str:
        return "queries"

    def measure(self, metric: str, weights: np.ndarray) -> Floats:
        return unit_mean(self.values[:, :, MEASURES.index(metric)], weights)
