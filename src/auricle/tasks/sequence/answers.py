"""Sequence recognition: the characters or phones said in a clip.

Texts are compared after `normalise`, so that error rates count what was said and not how it was printed.

Letters in shapes: n utterances, S seeds, R weightings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from auricle.errors import ConfigError
from auricle.metrics.transcription import ErrorCounts, character_errors, word_errors
from auricle.metrics.weights import Floats
from auricle.results.predictions import TaskPredictions

_SHOWN = 20  # utterances that a record quotes


@dataclass(frozen=True)
class Transcripts(TaskPredictions):
    """What was recognised in each utterance.

    Attributes:
        truth: `(n,)` normalised transcripts.
        said: `(S, n)` what the probe of each seed recognised.
        unit: `characters` or `phones`.
    """

    type_name: ClassVar[str] = "sequence"
    unit_axes: ClassVar[dict[str, int]] = {"truth": 0, "said": 1}
    truth_fields: ClassVar[tuple[str, ...]] = ("truth", "unit")
    truth: NDArray[np.str_]
    said: NDArray[np.str_]
    unit: str

    @property
    def metrics(self) -> tuple[str, ...]:
        return ("wer", "cer") if self.unit == "characters" else ("per",)

    @property
    def title(self) -> str:
        return f"utterances, by {self.unit}"

    @cached_property
    def counts(self) -> dict[str, list[ErrorCounts]]:
        """For each metric the errors of each utterance, one entry a seed."""
        truth = self.truth.tolist()
        by = {"wer": word_errors, "cer": character_errors, "per": word_errors}
        return {metric: [by[metric](truth, said.tolist()) for said in self.said] for metric in self.metrics}

    def constant(self) -> tuple[str, TaskPredictions]:
        return "nothing recognised", replace(self, said=np.full((1, len(self.names)), ""), seeds=(0,))

    def measure(self, metric: str, weights: np.ndarray) -> Floats:
        if metric not in self.metrics:
            raise ConfigError(f"{self.title} have no metric {metric!r}; expected one of {', '.join(self.metrics)}")
        return np.stack([counts.rate(weights) for counts in self.counts[metric]])

    def detail(self) -> dict[str, Any]:
        # The kinds of errors, and some transcripts with those of the first seed.
        errors = {
            metric: {
                name: float(np.mean([getattr(one, name).sum() for one in counts]))
                for name in ("substitutions", "deletions", "insertions", "length")
            }
            for metric, counts in self.counts.items()
        }
        rows = range(0, len(self.names), max(1, len(self.names) // _SHOWN))
        shown = [{"unit": str(self.names[i]), "truth": str(self.truth[i]), "said": str(self.said[0, i])} for i in rows][
            :_SHOWN
        ]
        return {"details": {"errors": errors, "transcripts": shown}}
