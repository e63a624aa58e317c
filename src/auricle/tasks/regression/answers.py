"""Regression: a number for each clip (pitch, level, any column of numbers)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from auricle.metrics.classification import Floats
from auricle.metrics.regression import pitch_hits
from auricle.metrics.resampled_regression import (
    weighted_mean_error,
    weighted_pearson,
    weighted_r2,
    weighted_spearman,
)
from auricle.metrics.resampled_units import weighted_mean
from auricle.results.unit_answers import UnitPredictions

POINTS = 400


@dataclass(frozen=True)
class RegressionAnswers(UnitPredictions):
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
        """Explained variance first; errors in the unit; correlations; pitch accuracy for semitones."""
        error = {"semitones": "mae_semitones", "dB": "mae_db"}.get(self.unit, "mae")
        pitch = ("pitch_accuracy", "chroma_accuracy") if self.unit == "semitones" else ()
        return ("r2", error, "pearson", "spearman", *pitch)

    @property
    def title(self) -> str:
        """What the units are."""
        return "clips with a number each"

    def measure(self, metric: str, weights: np.ndarray) -> Floats:
        """Return `(S, R)`."""
        if metric in ("pitch_accuracy", "chroma_accuracy"):
            octaves = metric == "chroma_accuracy"
            hits = [pitch_hits(self.truth, p, chroma=octaves) for p in self.predicted]
            return np.stack([weighted_mean(h, weights) for h in hits])
        measured: Callable[..., Floats] = {
            "r2": weighted_r2,
            "pearson": weighted_pearson,
            "spearman": weighted_spearman,
        }.get(metric, weighted_mean_error)
        return np.stack([measured(self.truth, p, weights) for p in self.predicted])

    def detail(self) -> dict[str, Any]:
        """Return truth against prediction (mean over seeds) of some clips, for a picture."""
        kept = np.unique(np.linspace(0, len(self.truth) - 1, min(POINTS, len(self.truth))).round().astype(int))
        said = self.predicted.mean(0)
        points = [{"truth": float(self.truth[i]), "predicted": float(said[i])} for i in kept]
        return {"details": {"scatter": points, "unit": self.unit}}
