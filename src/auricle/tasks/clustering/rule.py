"""Clustering: settings of the task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from auricle.config import Natural
from auricle.errors import ConfigError
from auricle.tasks.rule import TaskRule


@dataclass(frozen=True)
class ClusteringRule(TaskRule):
    """All clips are clustered without labels; the clusters are compared with the labels.

    Attributes:
        clusters: number of clusters; 0: the number of classes.
    """

    type_name: ClassVar[str] = "clustering"
    clusters: Natural = 0

    def __post_init__(self) -> None:
        if self.clusters == 1:
            raise ConfigError("clusters is 1; expected 0 (the number of classes) or at least 2")
