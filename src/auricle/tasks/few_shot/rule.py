"""Few-shot episodes: settings of the task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge

from auricle.config import Count
from auricle.tasks.rule import TaskRule


@dataclass(frozen=True)
class FewShotRule(TaskRule):
    """Few-shot classification of clips with one label each.

    Attributes:
        ways: N, classes of an episode.
        shots: K, labelled clips of each class.
        queries: test clips of each class.
        episodes: number of episodes.
        part: which clips take part: those of the corpus's `test` split, `all`, or `auto`: test clips where the corpus
            names them, else all. No probe is trained outside an episode, so all clips may be queries.
    """

    type_name: ClassVar[str] = "few_shot"
    ways: Annotated[int, Ge(2)] = 5
    shots: Count = 5
    queries: Count = 10
    episodes: Count = 600
    part: Literal["auto", "test", "all"] = "auto"
