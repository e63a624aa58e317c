"""Anomaly detection: settings of the task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from auricle.config import ShareAboveZero
from auricle.tasks.rule import TaskRule


@dataclass(frozen=True)
class AnomalyRule(TaskRule):
    """Which clips are normal.

    Attributes:
        normal: labels of normal clips; all others are anomalous. Empty: each class is normal in turn, and the scores
            are means over the classes (one against the rest).
        domain: column whose values (machine, section) are scored separately; "": none.
        max_false_positives: limit of the partial area under the ROC curve (DCASE: 0.1).
    """

    type_name: ClassVar[str] = "anomaly"
    normal: tuple[str, ...] = ()
    domain: str = ""
    max_false_positives: ShareAboveZero = 0.1
