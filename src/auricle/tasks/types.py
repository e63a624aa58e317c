"""The types of tasks: which code judges a card."""

from __future__ import annotations

from auricle.config import Config
from auricle.errors import ConfigError
from auricle.tasks.anomaly.rule import AnomalyRule
from auricle.tasks.anomaly.run import AnomalyTask
from auricle.tasks.card import TaskCard
from auricle.tasks.clips.rule import ClipsRule
from auricle.tasks.clips.run import ClipsTask
from auricle.tasks.clustering.rule import ClusteringRule
from auricle.tasks.clustering.run import ClusteringTask
from auricle.tasks.events.rule import EventsRule
from auricle.tasks.events.run import EventsTask
from auricle.tasks.few_shot.rule import FewShotRule
from auricle.tasks.few_shot.run import FewShotTask
from auricle.tasks.label_budget.rule import LabelBudgetRule
from auricle.tasks.label_budget.run import BudgetTask
from auricle.tasks.regression.rule import RegressionRule
from auricle.tasks.regression.run import RegressionTask
from auricle.tasks.retrieval.rule import RetrievalRule
from auricle.tasks.retrieval.run import RetrievalTask
from auricle.tasks.sequence.rule import SequenceRule
from auricle.tasks.sequence.run import SequenceTask
from auricle.tasks.task_type import TaskType
from auricle.tasks.verification.rule import VerificationRule
from auricle.tasks.verification.run import VerificationTask

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
