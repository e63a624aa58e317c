"""Label budgets: settings of the task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from auricle.config import Count
from auricle.errors import ConfigError
from auricle.tasks.rule import TaskRule


@dataclass(frozen=True)
class LabelBudgetRule(TaskRule):
    """A curve of scores over label budgets.

    Attributes:
        budgets: labelled training clips of each class, in ascending order. A class with fewer gives all it has.
        draws: number of independent draws of clips.
        validation: clips that choose the settings of the probes. `budget`: as many validation clips of each class as
            the budget has training clips, so that a budget of b costs at most 2 b labels a class; `all`: all validation
            clips, which flatters small budgets (the result carries a note).
    """

    type_name: ClassVar[str] = "label_budget"
    budgets: tuple[Count, ...] = (1, 2, 5, 10, 20)
    draws: Count = 5
    validation: Literal["budget", "all"] = "budget"

    def __post_init__(self) -> None:
        if not self.budgets or list(self.budgets) != sorted(set(self.budgets)):
            raise ConfigError(f"budgets are {list(self.budgets)}; expected at least one, in ascending order")
