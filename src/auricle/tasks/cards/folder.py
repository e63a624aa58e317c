"""Cards for a user's own folder or table, one for each type of task; `--label` and `--rule.*` fit them to it."""

from __future__ import annotations

from auricle.tasks.anomaly.rule import AnomalyRule
from auricle.tasks.card import TaskCard
from auricle.tasks.clustering.rule import ClusteringRule
from auricle.tasks.events.rule import EventsRule
from auricle.tasks.few_shot.rule import FewShotRule
from auricle.tasks.label_budget.rule import LabelBudgetRule
from auricle.tasks.regression.rule import RegressionRule
from auricle.tasks.retrieval.rule import RetrievalRule
from auricle.tasks.rule import TaskRule
from auricle.tasks.sequence.rule import SequenceRule
from auricle.tasks.verification.rule import VerificationRule

_OWN: tuple[tuple[str, str, str, TaskRule], ...] = (
    ("folder_events", "onset, offset and class of sounds (events.csv: file,onset,offset,label)", "label", EventsRule()),
    ("folder_regression", "a number for each clip (--label names its column)", "value", RegressionRule()),
    ("folder_verification", "same individual or not (trials.csv: enroll,test,target)", "label", VerificationRule()),
    ("folder_retrieval", "find clips with the same label by example", "label", RetrievalRule()),
    ("folder_few_shot", "learn new classes from a few clips", "label", FewShotRule()),
    ("folder_budget", "scores over the number of labels", "label", LabelBudgetRule()),
    ("folder_anomaly", "clips unlike the normal ones (--rule.normal LABEL)", "label", AnomalyRule()),
    ("folder_sequence", "transcription (--label names the column of transcripts)", "transcript", SequenceRule()),
    ("folder_clustering", "agreement of clusters and labels", "label", ClusteringRule()),
)

CARDS_FOLDER: tuple[TaskCard, ...] = tuple(
    TaskCard(name=name, title=f"Your own folder: {title}", label=label, rule=rule) for name, title, label, rule in _OWN
)
