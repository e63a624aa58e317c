"""Verification: are two clips of the same speaker, animal, machine? Scored pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from auricle.metrics.ranking import auc
from auricle.metrics.verification import DetectionCost, equal_error_rate, min_detection_cost
from auricle.metrics.weights import Floats, class_evidence
from auricle.results.predictions import TaskPredictions

CURVE_POINTS = 200


@dataclass(frozen=True)
class VerificationPredictions(TaskPredictions):
    """Scores of the trials.

    The units of inference are the identities on the enrolment side: trials of one speaker are no independent evidence.
    (Trials share speakers on the test side too, which no grouping can respect; intervals are a little too narrow.)

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
        return ("eer", "min_dcf", "auc")

    @property
    def title(self) -> str:
        return "verification trials"

    def constant(self) -> tuple[str, TaskPredictions]:
        return "equal scores", replace(self, scores=np.zeros((1, len(self.names))), seeds=(0,))

    def evidence(self, metric: str) -> Floats:
        return class_evidence(self.target)

    def measure(self, metric: str, weights: np.ndarray) -> Floats:
        measured = {"eer": equal_error_rate, "min_dcf": min_detection_cost, "auc": auc}[metric]
        settings = {"cost": DetectionCost(self.target_prior)} if metric == "min_dcf" else {}
        return np.stack([measured(self.target, s, weights, **settings) for s in self.scores])

    def detail(self) -> dict[str, Any]:
        # Missed targets against accepted non-targets (first seed), for a DET plot.
        accepted, found, _ = roc_curve(self.target, self.scores[0])
        kept = np.unique(np.linspace(0, len(accepted) - 1, min(CURVE_POINTS, len(accepted))).round().astype(int))
        curve = [{"false_alarm": float(accepted[i]), "miss": float(1 - found[i])} for i in kept]
        count = {"target": int(self.target.sum()), "nontarget": int((~self.target).sum())}
        return {"details": {"det_curve": curve, "trials": count}}
