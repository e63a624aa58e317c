"""Verification: are two clips of the same speaker, animal, machine? Scored pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from auricle.metrics.classification import Floats
from auricle.metrics.resampled_ranking import weighted_auc, weighted_equal_error_rate, weighted_min_detection_cost
from auricle.metrics.verification import DetectionCost
from auricle.results.unit_answers import UnitPredictions

CURVE_POINTS = 200


@dataclass(frozen=True)
class VerificationAnswers(UnitPredictions):
    """Scores of the trials.

    A bootstrap draws the identities on the enrolment side: trials of one speaker are no independent evidence. (Trials
    share speakers on the test side too, which no draw of whole groups can respect; intervals are a little too narrow.)

    Attributes:
        target: `(n,)` bool: both clips are of the same identity.
        scores: `(S, n)` float64; higher is likelier the same.
        target_prior: of the detection cost.
    """

    type_name: ClassVar[str] = "verification"
    unit_axes: ClassVar[dict[str, int]] = {"target": 0, "scores": 1}
    truth_fields: ClassVar[tuple[str, ...]] = ("target",)
    target: NDArray[np.bool_]
    scores: NDArray[np.float64]
    target_prior: float

    @property
    def metrics(self) -> tuple[str, ...]:
        """Equal error rate, least detection cost, area under the ROC curve."""
        return ("eer", "min_dcf", "auc")

    @property
    def title(self) -> str:
        """What the units are."""
        return "verification trials"

    def measure(self, metric: str, weights: np.ndarray) -> Floats:
        """Return `(S, R)`; NaN where a weighting leaves trials of one kind only."""
        if metric == "min_dcf":
            cost = DetectionCost(self.target_prior)
            return np.stack([weighted_min_detection_cost(self.target, s, weights, cost) for s in self.scores])
        measured = weighted_equal_error_rate if metric == "eer" else weighted_auc
        return np.stack([measured(self.target, s, weights) for s in self.scores])

    def detail(self) -> dict[str, Any]:
        """Return the curve of missed targets against accepted non-targets (first seed), for a DET plot."""
        accepted, found, _ = roc_curve(self.target, self.scores[0])
        kept = np.unique(np.linspace(0, len(accepted) - 1, min(CURVE_POINTS, len(accepted))).round().astype(int))
        curve = [{"false_alarm": float(accepted[i]), "miss": float(1 - found[i])} for i in kept]
        count = {"target": int(self.target.sum()), "nontarget": int((~self.target).sum())}
        return {"details": {"det_curve": curve, "trials": count}}
