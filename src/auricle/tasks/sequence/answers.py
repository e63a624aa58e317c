"""Sequence recognition: the characters or phones said in a clip.

Texts are compared after `normalise`, so that error rates count what was said and not how it was printed.

Letters in shapes: n utterances, S seeds, R weightings.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from auricle.config import Config
from auricle.errors import ConfigError
from auricle.metrics.transcription import ErrorCounts, character_errors, word_errors
from auricle.metrics.weights import Floats
from auricle.results.predictions import TaskPredictions

_SHOWN = 20  # utterances that a record quotes


@dataclass(frozen=True)
class SequenceRule(Config):
    """Sequence recognition; the card's `label` names the column of transcripts.

    Attributes:
        unit: symbols to recognise: `characters` (a space between words is one), or `phones`: symbols that white space
            separates, of any kind.
        casefold: take upper and lower case as the same; characters only.
        punctuation: keep what is neither letter, mark, digit nor apostrophe; characters only.
    """

    unit: Literal["characters", "phones"] = "characters"
    casefold: bool = True
    punctuation: bool = False

    def normalise(self, text: object) -> str:
        """Return a transcript as it is compared: composed characters (NFC), single spaces, case and signs as set."""
        words = unicodedata.normalize("NFC", "" if text is None else str(text))
        if self.unit == "characters":
            if self.casefold:
                words = unicodedata.normalize("NFC", words.casefold())
            words = words.replace("\u2019", "'")
            if not self.punctuation:
                words = "".join(c if unicodedata.category(c)[0] in "LMN" or c == "'" else " " for c in words)
        return " ".join(words.split())

    def symbols(self, text: str) -> list[str]:
        """Return the symbols of a normalised text."""
        return text.split() if self.unit == "phones" else list(text)

    def text(self, symbols: Iterable[str]) -> str:
        """Return symbols as a text with single spaces."""
        return " ".join(("" if self.unit == "characters" else " ").join(symbols).split())


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
