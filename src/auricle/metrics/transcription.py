"""Sequences: word and character error rates, with the counts of each utterance.

Through `jiwer`. An error rate is (substitutions + deletions + insertions) / reference length over all utterances
together; it can exceed 1. Phone error rates are word error rates of texts whose words are phones. Texts are compared as
they are, up to runs of white space: casing and punctuation are the task's business.

Letters in shapes: n utterances, R weightings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from auricle.errors import ConfigError
from auricle.extras import require
from auricle.metrics.weights import Floats, check_weights, divide


@dataclass(frozen=True)
class ErrorCounts:
    """Edits that turn each reference into its estimate, the fewest possible.

    Attributes:
        substitutions: `(n,)`.
        deletions: `(n,)` units of the reference that are missing.
        insertions: `(n,)` units that are too many.
        length: `(n,)` units of the reference.
    """

    substitutions: Floats
    deletions: Floats
    insertions: Floats
    length: Floats

    @property
    def errors(self) -> Floats:
        """All edits of each utterance `(n,)`."""
        return self.substitutions + self.deletions + self.insertions

    def rate(self, weights: np.ndarray | None = None) -> Floats:
        """Return the error rate `(R,)` over all utterances together; NaN where the references are empty.

        Args:
            weights: `(R, n)` how often each utterance counts; None: each once, R = 1.

        Raises:
            ConfigError: weights of another number of utterances, or negative ones.
        """
        weights = check_weights(weights, self.length.size)
        return divide(weights @ self.errors, weights @ self.length)


def validate_texts(reference: Sequence[str], estimated: Sequence[str]) -> tuple[list[str], list[str]]:
    """Check texts and return them with single spaces.

    Raises:
        ConfigError: not as many estimates as references, or something that is no text.
    """
    if isinstance(reference, str) or isinstance(estimated, str) or len(reference) != len(estimated):
        raise ConfigError(
            f"{_count(reference)} and {_count(estimated)}; expected two sequences of texts, one estimate per reference"
        )
    for name, texts in (("reference", reference), ("estimate", estimated)):
        wrong = [t for t in texts if not isinstance(t, str)]
        if wrong:
            raise ConfigError(f"a {name} is {wrong[0]!r}; expected a text (an empty one where nothing was said)")
    return [" ".join(t.split()) for t in reference], [" ".join(t.split()) for t in estimated]


def word_errors(reference: Sequence[str], estimated: Sequence[str]) -> ErrorCounts:
    """Return the edits between words of each utterance.

    Against an empty reference every word is an insertion.

    Args:
        reference: n texts, words separated by white space.
        estimated: n texts.

    Raises:
        ConfigError: not as many estimates as references, or something that is no text.
        MissingExtraError: `jiwer` is not installed.
    """
    reference, estimated = validate_texts(reference, estimated)
    library = require("jiwer", extra="speech")
    return _counts([t.split() for t in reference], [t.split() for t in estimated], library.process_words, " ")


def character_errors(reference: Sequence[str], estimated: Sequence[str]) -> ErrorCounts:
    """Return the edits between characters of each utterance; a space between words is a character.

    Args:
        reference: n texts.
        estimated: n texts.

    Raises:
        ConfigError: not as many estimates as references, or something that is no text.
        MissingExtraError: `jiwer` is not installed.
    """
    reference, estimated = validate_texts(reference, estimated)
    library = require("jiwer", extra="speech")
    return _counts([list(t) for t in reference], [list(t) for t in estimated], library.process_characters, "")


def _counts(reference: list[list[str]], estimated: list[list[str]], process: Any, glue: str) -> ErrorCounts:
    counts = np.zeros((4, len(reference)))
    counts[3] = [len(units) for units in reference]
    # The library refuses empty references; against one, everything said is an insertion.
    counts[2] = [len(said) if not units else 0 for units, said in zip(reference, estimated, strict=True)]
    rows = [i for i, units in enumerate(reference) if units]
    if rows:
        out = process([glue.join(reference[i]) for i in rows], [glue.join(estimated[i]) for i in rows])
        for i, chunks in zip(rows, out.alignments, strict=True):
            for chunk in chunks:
                if chunk.type == "substitute":
                    counts[0, i] += chunk.ref_end_idx - chunk.ref_start_idx
                elif chunk.type == "delete":
                    counts[1, i] += chunk.ref_end_idx - chunk.ref_start_idx
                elif chunk.type == "insert":
                    counts[2, i] += chunk.hyp_end_idx - chunk.hyp_start_idx
    return ErrorCounts(*counts)


def _count(texts: Any) -> str:
    return f"the text {texts!r}" if isinstance(texts, str) else f"{len(texts)} texts"
