"""The settings of each type of task refuse values that mean nothing."""

from __future__ import annotations

import pytest

from auricle.errors import ConfigError
from auricle.tasks.anomaly.rule import AnomalyRule
from auricle.tasks.clustering.rule import ClusteringRule
from auricle.tasks.events.rule import EventsRule
from auricle.tasks.few_shot.rule import FewShotRule
from auricle.tasks.label_budget.rule import LabelBudgetRule
from auricle.tasks.regression.rule import RegressionRule
from auricle.tasks.retrieval.rule import RetrievalRule
from auricle.tasks.rule import TaskRule
from auricle.tasks.sequence.rule import SequenceRule
from auricle.tasks.verification.rule import VerificationRule


@pytest.mark.parametrize(
    ("rule", "field", "value"),
    [
        (AnomalyRule, "max_false_positives", 0.0),
        (AnomalyRule, "max_false_positives", 1.1),
        (ClusteringRule, "clusters", 1),
        (ClusteringRule, "clusters", -1),
        (EventsRule, "sounds", "long"),
        (EventsRule, "thresholds", "clip"),
        (EventsRule, "frame", -0.1),
        (EventsRule, "frame", float("inf")),
        (EventsRule, "resolution", 0.0),
        (EventsRule, "collar", 0.0),
        (EventsRule, "smooth", ()),
        (EventsRule, "shortest", (0.0, -1.0)),
        (EventsRule, "least", -1),
        (FewShotRule, "ways", 1),
        (FewShotRule, "shots", 0),
        (FewShotRule, "queries", 0),
        (FewShotRule, "episodes", 0),
        (FewShotRule, "part", "train"),
        (LabelBudgetRule, "budgets", (0, 1)),
        (LabelBudgetRule, "draws", 0),
        (LabelBudgetRule, "validation", "none"),
        (RegressionRule, "measured", "pitch"),
        (RegressionRule, "unit", "Hz"),
        (RetrievalRule, "depth", -1),
        (SequenceRule, "unit", "words"),
        (VerificationRule, "made", 1),
        (VerificationRule, "made_of", 1),
        (VerificationRule, "made_of", -1),
        (VerificationRule, "target_prior", 0.0),
        (VerificationRule, "target_prior", 1.0),
    ],
)
def test_a_bad_value_is_named(rule: type[TaskRule], field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"{field}\b.*expected"):
        rule(**{field: value})


def test_a_measured_level_is_in_decibels() -> None:
    RegressionRule(measured="level", unit="dB")
    with pytest.raises(ConfigError, match="set unit to dB"):
        RegressionRule(measured="level")
