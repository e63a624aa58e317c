"""The types of tasks: which code judges a card."""

from __future__ import annotations

from auricle.config import Config
from auricle.errors import ConfigError
from auricle.studies.anomaly_task import AnomalyTask
from auricle.studies.clips_task import ClipsTask
from auricle.studies.clustering_task import ClusteringTask
from auricle.studies.events_task import EventsTask
from auricle.studies.few_shot_task import FewShotTask
from auricle.studies.label_budget_task import BudgetTask
from auricle.studies.regression_task import RegressionTask
from auricle.studies.retrieval_task import RetrievalTask
from auricle.studies.sequence_task import SequenceTask
from auricle.studies.task_type import TaskType
from auricle.studies.verification_task import VerificationTask
from auricle.tasks.anomaly import AnomalyRule
from auricle.tasks.card import TaskCard
from auricle.tasks.clips import ClipsRule
from auricle.tasks.clustering import ClusteringRule
from auricle.tasks.event_rule import EventsRule
from auricle.tasks.few_shot import FewShotRule
from auricle.tasks.label_budget import LabelBudgetRule
from auricle.tasks.regression import RegressionRule
from auricle.tasks.retrieval import RetrievalRule
from auricle.tasks.sequence import SequenceRule
from auricle.tasks.verification import VerificationRule

TASK_TYPES: dict[type[Config], TaskType] = {
    ClipsRule: ClipsTask(),
    FewShotRule: FewShotTask(),
    LabelBudgetRule: BudgetTask(),
    SequenceRule: SequenceTask(),
    EventsRule: EventsTask(),
    VerificationRule: VerificationTask(),
    RegressionRule: RegressionTask(),
    RetrievalRule: RetrievalTask(),
    ClusteringRule: ClusteringTask(),
    AnomalyRule: AnomalyTask(),
}


def task_type(card: TaskCard) -> TaskType:
    """Return what judges a card.

    Raises:
        ConfigError: no type of task has this rule.
    """
    found = TASK_TYPES.get(type(card.rule))
    if found is None:
        known = ", ".join(sorted(rule.__name__ for rule in TASK_TYPES))
        raise ConfigError(f"task {card.name!r} has the rule {type(card.rule).__name__}; expected one of {known}")
    return found
