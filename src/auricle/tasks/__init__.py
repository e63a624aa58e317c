"""What a downstream task is, and the cards of known ones."""

from __future__ import annotations

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
    "append_result",
    "get_task",
    "make_targets",
    "plan_folds",
    "read_results",
    "tasks",
    "write_results",
]
