"""What a downstream task is, and the cards of known ones."""

from __future__ import annotations

# Each type's answers, so that files of them can be read back.
from auricle.tasks import (
    anomaly,
    clustering,
    events,
    few_shot,
    label_budget,
    predictions,
    retrieval,
    sequence,
    verification,
)
from auricle.tasks.card import TaskCard
from auricle.tasks.cards import get_task, tasks
from auricle.tasks.folds import Fold, Plan, plan_folds
from auricle.tasks.results import Result, append_result, read_results, write_results
from auricle.tasks.targets import Targets, make_targets

__all__ = [
    "Fold",
    "Plan",
    "Result",
    "Targets",
    "TaskCard",
    "anomaly",
    "append_result",
    "clustering",
    "events",
    "few_shot",
    "get_task",
    "label_budget",
    "make_targets",
    "plan_folds",
    "predictions",
    "read_results",
    "regression",
    "retrieval",
    "sequence",
    "tasks",
    "verification",
    "write_results",
]
