"""Base of the settings of each type of task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from auricle.config import Config


@dataclass(frozen=True)
class TaskRule(Config, section="rule"):
    """Settings of a task. The class of a card's rule decides the type of the task and so the code that evaluates it.

    Attributes:
        type_name: name of the type of task, as in lists and records.
    """

    type_name: ClassVar[str]
