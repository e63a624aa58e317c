"""Regression: a number for each clip (pitch, level, any column of numbers)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from auricle.metrics.regression import (
    chroma_accuracy,
    concordance,
    mean_error,
    pearson,
    pitch_accuracy,
    r2,
    root_mean_square_error,
    spearman,
)
from auricle.metrics.weights import Floats, Metric
from auricle.results.predictions import TaskPredictions

POINTS = 400
MEASURES: dict[str, Metric] = {
    "r2": r2,
    "pearson": pearson,
    "spearman": spearman,
    "concordance": concordance,
    "rmse": root_mean_square_error,
    "pitch_accuracy": pitch_accuracy,
    "chroma_accuracy": chroma_accuracy,
}


@dataclass(frozen=True)
class RegressionPredictions(TaskPredictions):
    """Numbers predicted for the test clips.

    Attributes:
        truth: `(n,)` float64.
        predicted: `(S, n)` float64.
        unit: `semitones`, `dB` or "".
    """

    type_name: ClassVar[str] = "regression"
    unit_axes: ClassVar[dict[str, int]] = {"truth": 0, "predicted": 1}
    truth_fields: ClassVar[tuple[str, ...]] = ("truth",)
    truth: NDArray[np.float64]
    predicted: NDArray[np.float64]
    unit: str

    @property
    def metrics(self) -> tuple[str, ...]:
        error = {"semitones": "mae_semitones", "dB": "mae_db"}.get(self.unit, "mae")
        pitch = ("pitch_accuracy", "chroma_accuracy") if self.unit == "semitones" else ()
        return ("r2", error, "pearson", "spearman", "concordance", "rmse", *pitch)

    @property
    def title(self) -> str:
        return "clips with a number each"

    def constant(self, known: Floats | None = None) -> tuple[str, RegressionPredictions]:
        """Return predictions that are one number.

        Args:
            known: `(n,)` mean of the training clips of each unit's fold; None: the mean of the test clips.
        """
        means = np.full(len(self.truth), self.truth.mean()) if known is None else known
        return "mean of the training clips", replace(self, predicted=means[None], seeds=(0,))

    def measure(self, metric: str, weights: np.ndarray) -> Floats:
        measured = MEASURES.get(metric, mean_error)
        return np.stack([measured(self.truth, p, weights) for p in self.predicted])

    def detail(self) -> dict[str, Any]:
        # Truth against prediction (mean over seeds) of some clips, for a figure.
        kept = np.unique(np.linspace(0, len(self.truth) - 1, min(POINTS, len(self.truth))).round().astype(int))
        said = self.predicted.mean(0)
        points = [{"truth": float(self.truth[i]), "predicted": float(said[i])} for i in kept]
        return {"details": {"scatter": points, "unit": self.unit}}
