"""Predictions of few-shot episodes.

Letters in shapes: E episodes, N ways, K shots, Q queries of all classes together, S seeds, R weightings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from auricle.errors import ConfigError
from auricle.metrics.classification import confusion_matrix
from auricle.metrics.weights import Floats, unit_mean
from auricle.results.predictions import TaskPredictions


@dataclass(frozen=True)
class EpisodePredictions(TaskPredictions):
    """Predicted classes of the queries of each episode.

    The units are episodes. They draw on the same clips, so an interval over them covers other episodes of these clips,
    not other clips.

    Attributes:
        classes: names of all C classes.
        truth: `(E, Q)` class of each query.
        said: `(S, E, Q)` class given to it, one of the episode's.
        ways: N.
        shots: K.
    """

    type_name: ClassVar[str] = "few_shot"
    unit_axes: ClassVar[dict[str, int]] = {"truth": 0, "said": 1}
    truth_fields: ClassVar[tuple[str, ...]] = ("classes", "truth", "ways", "shots")
    classes: tuple[str, ...]
    truth: NDArray[np.int32]
    said: NDArray[np.int32]
    ways: int
    shots: int

    @property
    def metrics(self) -> tuple[str, ...]:
        return ("accuracy",)

    @property
    def title(self) -> str:
        return f"{self.ways}-way {self.shots}-shot episodes"

    @property
    def accuracies(self) -> Floats:
        """`(S, E)` share of the queries that were right."""
        shares: Floats = (self.said == self.truth).mean(2)
        return shares

    def constant(self) -> tuple[str, TaskPredictions]:
        return "one class", replace(self, said=np.broadcast_to(self.truth[:, :1], self.truth.shape)[None], seeds=(0,))

    def measure(self, metric: str, weights: np.ndarray) -> Floats:
        if metric not in self.metrics:
            raise ConfigError(f"{self.title} have no metric {metric!r}; expected 'accuracy'")
        return unit_mean(self.accuracies, weights)

    def detail(self) -> dict[str, Any]:
        truth = self.truth.ravel().astype(np.int64)
        each = [confusion_matrix(truth, said.ravel().astype(np.int64), len(self.classes)) for said in self.said]
        matrix = np.mean(each, axis=0)
        asked = matrix.sum(1)
        accuracies = self.accuracies.mean(0)
        return {
            "classes": list(self.classes),
            "per_class": {
                name: {"recall": float(matrix[c, c] / asked[c]) if asked[c] else None, "queries": float(asked[c])}
                for c, name in enumerate(self.classes)
            },
            "confusion": matrix.tolist(),
            "details": {
                "few_shot": {
                    "ways": self.ways,
                    "shots": self.shots,
                    "queries": self.truth.shape[1] // self.ways,
                    "episodes": len(self.names),
                    "chance": 1 / self.ways,
                    "deviation": float(accuracies.std(ddof=1)) if len(accuracies) > 1 else None,
                    "percentiles": {str(p): float(np.percentile(accuracies, p)) for p in (5, 25, 50, 75, 95)},
                }
            },
        }
