"""Anomaly detection: only normal clips are known; which of the others are not like them?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from auricle.metrics.classification import Floats
from auricle.metrics.resampled_ranking import weighted_auc, weighted_partial_auc
from auricle.results.unit_answers import UnitPredictions


@dataclass(frozen=True)
class AnomalyAnswers(UnitPredictions):
    """Anomaly scores of test clips, each beside what was taken for normal.

    Scores of different models (another fold, class or machine) can't be ranked against each other: the areas are
    those of each model, and their mean is the metric.

    Attributes:
        anomalous: `(n,)` bool.
        scores: `(S, n)` float64; higher is stranger.
        model: `(n,)` int64: place in `models`.
        models: names: what was taken for normal (and the machine).
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
        """Area under the ROC curve, and its part at few false alarms."""
        return ("auc", "pauc")

    @property
    def title(self) -> str:
        """What the units are."""
        return "clips to be told normal or not"

    def measure(self, metric: str, weights: np.ndarray) -> Floats:
        """Return `(S, R)`: means over the models where the area is defined."""
        found = np.stack([self._areas(metric, weights, here) for here in self._parts()])
        defined = ~np.isnan(found)
        total, count = np.where(defined, found, 0).sum(0), defined.sum(0)
        mean: Floats = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
        return mean

    def _parts(self) -> list[NDArray[np.int64]]:
        key = self.model * (int(self.fold.max()) + 1) + self.fold
        return [np.flatnonzero(key == k) for k in np.unique(key)]

    def _areas(self, metric: str, weights: np.ndarray, here: NDArray[np.int64]) -> Floats:
        truth, part = self.anomalous[here], np.asarray(weights)[:, here]
        if metric == "auc":
            return np.stack([weighted_auc(truth, s[here], part) for s in self.scores])
        limit = self.max_false_positives
        return np.stack([weighted_partial_auc(truth, s[here], part, limit) for s in self.scores])

    def detail(self) -> dict[str, Any]:
        """Return the areas of each model, mean over its folds and seeds."""
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
