"""Registry of the types of tasks. The code of a type is imported when a card of that type is evaluated."""

from __future__ import annotations

from importlib import import_module

from auricle.config import nearest
from auricle.errors import ConfigError
from auricle.tasks.card import TaskCard
from auricle.tasks.rule import TaskRule
from auricle.tasks.task_type import TaskType

# Name of each built-in type -> its class in `auricle.tasks.NAME.run`.
_BUILT_IN: dict[str, str] = {
    "anomaly": "AnomalyTask",
    "clips": "ClipsTask",
    "clustering": "ClusteringTask",
    "events": "EventsTask",
    "few_shot": "FewShotTask",
    "label_budget": "LabelBudgetTask",
    "regression": "RegressionTask",
    "retrieval": "RetrievalTask",
    "sequence": "SequenceTask",
    "verification": "VerificationTask",
}
_LOADED: dict[str, TaskType] = {}


def task_type(card: TaskCard) -> TaskType:
    """Return the code that evaluates a card.

    Raises:
        ConfigError: no type of task has the card's rule.

    Examples:
        >>> from auricle.tasks.cards.registry import get_task
        >>> task_type(get_task("esc10_retrieval")).default_probes
        ('cosine', 'cosine_centred', 'cosine_whitened')
    """
    name = getattr(card.rule, "type_name", "")
    if name not in _LOADED:
        if name not in _BUILT_IN:
            raise ConfigError(
                f"task {card.name!r} has the rule {type(card.rule).__name__}, which belongs to no type of task"
                f"{nearest(name, {*_BUILT_IN, *_LOADED})}; call register_task_type first"
            )
        _LOADED[name] = getattr(import_module(f"auricle.tasks.{name}.run"), _BUILT_IN[name])()
    return _LOADED[name]


def register_task_type(rule: type[TaskRule], kind: TaskType) -> None:
    """Add a type of task from another package: cards with this rule are evaluated by `kind`.

    Args:
        rule: settings of the type; its `type_name` is the name of the type.
        kind: the code that evaluates such cards.

    Raises:
        ConfigError: the name belongs to another type.
    """
    name = getattr(rule, "type_name", "")
    taken = name in _BUILT_IN or (name in _LOADED and type(_LOADED[name]) is not type(kind))
    if not name or taken:
        raise ConfigError(
            f"{rule.__name__}.type_name is {name!r}; expected a name that no other type of task has: "
            f"{', '.join(sorted({*_BUILT_IN, *_LOADED}))} are in use"
        )
    _LOADED[name] = kind
