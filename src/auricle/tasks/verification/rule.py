"""Verification: settings of the task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge

from auricle.config import InnerShare, Natural
from auricle.errors import ConfigError
from auricle.tasks.rule import TaskRule


@dataclass(frozen=True)
class VerificationRule(TaskRule):
    """Pairs of clips, of the same identity (speaker, animal, machine) or of two.

    Attributes:
        trials: table of the trials (`enroll,test,target`), relative to the corpus; "": pairs are drawn from the test
            clips by `identity`.
        identity: column with the identity of each clip. Drawn trials pair equal and unequal values; probes that are
            trained learn the identities of clips outside the trials.
        made: number of trials to draw where no table is named, half of them of the same identity.
        made_of: number of identities, drawn by the seed, that take part in drawn trials; the others are training data
            of the probes. 0: all.
        target_prior: prior of the detection cost.
    """

    type_name: ClassVar[str] = "verification"
    trials: str = "trials.csv"
    identity: str = "source"
    made: Annotated[int, Ge(2)] = 2000
    made_of: Natural = 0
    target_prior: InnerShare = 0.05

    def __post_init__(self) -> None:
        if self.made_of == 1:
            raise ConfigError("made_of is 1; expected 0 (all identities) or at least 2")
