"""Answers to questions about sound: right or wrong after the usual normalisation of free text.

Letters in shapes: n questions.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

import numpy as np

from auricle.errors import ConfigError
from auricle.metrics.weights import Floats, unit_mean, weighable

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_SIGNS = str.maketrans({sign: " " for sign in string.punctuation})


def normalise_answer(text: str) -> str:
    """Return a text in small letters, without punctuation, English articles and surplus white space.

    The normalisation of SQuAD's exact match (Rajpurkar et al., 2016), except that a sign separates words: "dog/cat" is
    two.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_SIGNS)).split())


def answer_hits(reference: Sequence[str | Sequence[str]], answers: Sequence[str]) -> Floats:
    """Return 1 for each answer that equals (one of) its reference(s) after normalisation, else 0 `(n,)`.

    Args:
        reference: n right answers, or for each question all that are right.
        answers: n answers; an empty one is wrong unless the reference is empty.

    Raises:
        ConfigError: not one answer per question, something that is no text, or a question without a right answer.
    """
    if isinstance(reference, str) or isinstance(answers, str) or len(reference) != len(answers):
        raise ConfigError(f"{len(reference)} questions, {len(answers)} answers; expected one answer per question")
    hits = np.zeros(len(answers))
    for i, (right, said) in enumerate(zip(reference, answers, strict=True)):
        choices = [right] if isinstance(right, str) else list(right)
        if not choices or not all(isinstance(text, str) for text in (*choices, said)):
            raise ConfigError(f"question {i} has right answers {right!r} and answer {said!r}; expected texts")
        hits[i] = normalise_answer(said) in {normalise_answer(text) for text in choices}
    return hits


@weighable
def answer_accuracy(reference: Sequence[str | Sequence[str]], answers: Sequence[str], weights: Floats) -> Floats:
    """Return the share of right answers. See `answer_hits`."""
    return unit_mean(answer_hits(reference, answers), weights)
