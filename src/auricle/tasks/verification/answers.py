"""Verification: are two clips of the same speaker, animal, machine? Scored pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from auricle.config import Config, InnerShare, Natural
from auricle.errors import ConfigError
from auricle.metrics.ranking import auc
from auricle.metrics.verification import DetectionCost, equal_error_rate, min_detection_cost
from auricle.metrics.weights import Floats
from auricle.results.predictions import TaskPredictions

CURVE_POINTS = 200


@dataclass(frozen=True)
class VerificationRule(Config):
    """Pairs of clips of the same or of different identities.

    Attributes:
        trials: table of the trials (`enroll,test,target`), relative to the corpus; "": pairs are made from the test
            clips by `identity`.
        identity: column of the clip's identity; made trials pair equal and unequal values, and probes that learn from
            known identities use clips outside the trials.
        made: number of trials to make where no table is named, half of them of the same identity.
        made_of: number of identities, drawn by the seed, that made trials are between; the others are left for
            probes that learn. 0: all.
        target_prior: prior of the detection cost.
    """

    trials: str = "trials.csv"
    identity: str = "source"
    made: Annotated[int, Ge(2)] = 2000
    made_of: Natural = 0
    target_prior: InnerShare = 0.05

    def __post_init__(self) -> None:
        if self.made_of == 1:
            raise ConfigError("made_of is 1 identity; expected at least 2, or 0 (all)")


@dataclass(frozen=True)
class VerificationPredictions(TaskPredictions):
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
        return ("eer", "min_dcf", "auc")

    @property
    def title(self) -> str:
        return "verification trials"

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
