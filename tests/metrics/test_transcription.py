from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auricle.errors import ConfigError
from auricle.metrics.transcription import (
    character_errors,
    word_errors,
)

pytest.importorskip("jiwer")


def edit_distance(a: list[str], b: list[str]) -> int:
    """Levenshtein's recurrence, cell by cell."""
    table = [[i + j if i * j == 0 else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            change = table[i - 1][j - 1] + (a[i - 1] != b[j - 1])
            table[i][j] = min(change, table[i - 1][j] + 1, table[i][j - 1] + 1)
    return table[-1][-1]


def test_by_hand() -> None:
    reference = ["the cat sat", "a dog", "hello"]
    estimated = ["the bat sat down", "dog", "hello"]
    counts = word_errors(reference, estimated)
    assert counts.substitutions.tolist() == [1, 0, 0]
    assert counts.deletions.tolist() == [0, 1, 0]
    assert counts.insertions.tolist() == [1, 0, 0]
    assert counts.length.tolist() == [3, 2, 1]
    assert counts.rate() == pytest.approx(3 / 6)
    # cat/bat, " down"; "a "; nothing: 1 + 5 + 2 edits of 11 + 5 + 5 characters.
    assert character_errors(reference, estimated).rate() == pytest.approx(8 / 21)


words = st.lists(st.sampled_from(["a", "b", "cd", "ж", "e"]), max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(words, words), min_size=1, max_size=5))
def test_against_the_recurrence(pairs: list[tuple[list[str], list[str]]]) -> None:
    reference, estimated = [" ".join(a) for a, _ in pairs], [" ".join(b) for _, b in pairs]
    by_word = word_errors(reference, estimated)
    assert by_word.errors.tolist() == [edit_distance(a, b) for a, b in pairs]
    by_character = character_errors(reference, estimated)
    assert by_character.errors.tolist() == [
        edit_distance(list(a), list(b)) for a, b in zip(reference, estimated, strict=True)
    ]
    assert by_character.length.tolist() == [len(a) for a in reference]


def test_against_torchmetrics() -> None:
    text = pytest.importorskip("torchmetrics.functional.text")
    reference = ["niemiecki zegar bije", "po  trzech latach", "x"]
    estimated = ["niemiecka zegar", "po trzech długich latach", "y z"]
    assert word_errors(reference, estimated).rate() == pytest.approx(float(text.word_error_rate(estimated, reference)))


def test_weights_are_repeated_utterances() -> None:
    reference, estimated = ["a b c", "d", "e f"], ["a x", "d d d", ""]
    times = np.array([[1, 1, 1], [2, 0, 1], [0, 3, 1], [0, 0, 0]])
    found = word_errors(reference, estimated).rate(times)
    for value, row in zip(found[:3], times, strict=False):
        again = [i for i, w in enumerate(row) for _ in range(w)]
        assert value == pytest.approx(
            word_errors([reference[i] for i in again], [estimated[i] for i in again]).rate()[0]
        )
    assert math.isnan(found[3])


def test_what_is_empty_has_a_defined_result() -> None:
    assert math.isnan(word_errors([], []).rate()[0])
    assert math.isnan(word_errors(["", " "], ["a", ""]).rate()[0])
    assert word_errors([""], ["a b"]).insertions.tolist() == [2]
    assert word_errors(["", "a"], ["b", "a"]).rate() == 1.0
    assert word_errors(["a b"], [""]).rate() == 1.0
    assert word_errors([" a\tb "], ["a b"]).rate() == 0.0


def test_bad_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="2 texts and 1 texts"):
        word_errors(["a", "b"], ["a"])
    with pytest.raises(ConfigError, match="the text 'ab'"):
        character_errors("ab", ["a", "b"])
    with pytest.raises(ConfigError, match="estimate is None"):
        word_errors(["a"], [None])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="one column for each unit"):
        word_errors(["a"], ["a"]).rate(np.ones((1, 2)))
