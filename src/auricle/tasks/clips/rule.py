"""Classification of clips: settings of the task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from auricle.tasks.rule import TaskRule


@dataclass(frozen=True)
class ClipsRule(TaskRule):
    """Clips with one label or any number of them; card and corpus define everything else."""

    type_name: ClassVar[str] = "clips"
