"""Retrieval by example: settings of the task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from auricle.config import Natural
from auricle.tasks.rule import TaskRule


@dataclass(frozen=True)
class RetrievalRule(TaskRule):
    """Each test clip is a query; all other test clips of other sources are ranked.

    Attributes:
        depth: number of ranks that count in nDCG; 0: all.
    """

    type_name: ClassVar[str] = "retrieval"
    depth: Natural = 0
