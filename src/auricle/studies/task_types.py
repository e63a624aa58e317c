"""The types of tasks: which code judges a card."""

from __future__ import annotations

from auricle.config import Config
from auricle.errors import ConfigError
from auricle.studies.clips_task import ClipsTask
from auricle.studies.task_type import TaskType
from auricle.tasks.card import TaskCard
from auricle.tasks.clips import ClipsRule

TASK_TYPES: dict[type[Config], TaskType] = {
    ClipsRule: ClipsTask(),
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
