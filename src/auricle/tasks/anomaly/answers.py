"""Anomaly detection: which test clips differ from the normal clips of the training?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from auricle.metrics.ranking import auc, partial_auc
from auricle.metrics.weights import Floats, class_evidence, nan_mean
from auricle.results.predictions import TaskPredictions


@dataclass(frozen=True)
class AnomalyPredictions(TaskPredictions):
    """Anomaly scores of test clips, each with the model of what is normal.

    Scores of different models (another fold, class or machine) can't be ranked against each other: the areas are
    those of each model, and their mean is the metric.

    Attributes:
        anomalous: `(n,)` bool.
        scores: `(S, n)` float64; higher is more anomalous.
        model: `(n,)` int64: place in `models`.
        models: their names: what was normal (and the machine).
        max_false_positives: of the partial area.
    """

    type_name: ClassVar[str] = "anomaly"
    unit_axes: ClassVar[dict[str, int]] = {"anomalous": 0, "scores": 1, "model": 0}
    truth_fields: ClassVar[tuple[str, ...]] = ("anomalous", "model", "models")
    anomalous: NDArray[np.bool_]
    scores: NDArray[np.float64]
    model: NDArray[np.int64]
    models: tuple[str, ...]
    max_false_positives: float

    @property
    def metrics(self) -> tuple[str, ...]:
        return ("auc", "pauc")

    @property
    def title(self) -> str:
        return "normal and anomalous clips"

    def constant(self) -> tuple[str, TaskPredictions]:
        return "equal scores", replace(self, scores=np.zeros((1, len(self.names))), seeds=(0,))

    def evidence(self, metric: str) -> Floats:
        return class_evidence(self.anomalous)

    def measure(self, metric: str, weights: np.ndarray) -> Floats:
        return nan_mean(np.stack([self._areas(metric, weights, here) for here in self._parts()]))

    def _parts(self) -> list[NDArray[np.int64]]:
        key = self.model * (int(self.fold.max()) + 1) + self.fold
        return [np.flatnonzero(key == k) for k in np.unique(key)]

    def _areas(self, metric: str, weights: np.ndarray, here: NDArray[np.int64]) -> Floats:
        truth, part = self.anomalous[here], np.asarray(weights)[:, here]
        limit = {} if metric == "auc" else {"max_false_positives": self.max_false_positives}
        area = auc if metric == "auc" else partial_auc
        return np.stack([area(truth, s[here], part, **limit) for s in self.scores])

    def detail(self) -> dict[str, Any]:
        # The areas of each model, mean over its folds and seeds.
        ones = np.ones((1, len(self.names)))
        per_class: dict[str, dict[str, float | None]] = {}
        for m, name in enumerate(self.models):
            parts = [here for here in self._parts() if self.model[here[0]] == m]
            numbers: dict[str, float | None] = {}
            for metric in self.metrics:
                each = [float(v) for here in parts for v in self._areas(metric, ones, here).ravel()]
                defined = [v for v in each if not np.isnan(v)]
                numbers[metric] = sum(defined) / len(defined) if defined else None
            per_class[name] = {**numbers, "clips": float(sum(len(here) for here in parts))}
        return {"classes": list(self.models), "per_class": per_class}
