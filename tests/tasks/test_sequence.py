"""Transcripts: what counts as the same text, and error rates against a loop of the definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from auricle.errors import ConfigError, CorpusError
from auricle.results.predictions import load_predictions, save_predictions
from auricle.results.scoring import compare_predictions, score
from auricle.tasks.sequence.answers import Transcripts
from auricle.tasks.sequence.rule import SequenceRule


def distance(a: list[str], b: list[str]) -> int:
    """Levenshtein's table, cell by cell."""
    table = np.zeros((len(a) + 1, len(b) + 1), dtype=int)
    table[:, 0], table[0] = np.arange(len(a) + 1), np.arange(len(b) + 1)
    for i in range(len(a)):
        for j in range(len(b)):
            table[i + 1, j + 1] = min(table[i, j + 1] + 1, table[i + 1, j] + 1, table[i, j] + (a[i] != b[j]))
    return int(table[-1, -1])


TRUTH = ["the cat sat", "on a mat", "the end", "zażółć gęślą jaźń"]
SAID = [
    ["the cat sad", "on mat", "", "zażółć gęślą jaźń"],
    ["the the cat sat", "on a mat", "then", "zazolc gesla jazn"],
]


def transcripts(said: list[list[str]], unit: str = "characters") -> Transcripts:
    return Transcripts(
        names=np.array(["u1", "u2", "u3", "u4"]),
        group=np.array(["ann", "ann", "bob", "eve"]),
        fold=np.array([0, 0, 1, 1]),
        seeds=tuple(range(len(said))),
        truth=np.array(TRUTH),
        said=np.array(said),
        unit=unit,
    )


@pytest.mark.parametrize(("metric", "cut"), [("wer", str.split), ("cer", list)])
def test_error_rates_are_the_definition(metric: str, cut: type) -> None:
    found = transcripts(SAID)
    weights = np.array([[1, 1, 1, 1], [0, 2, 1, 3], [0, 0, 0, 0]], dtype=float)
    rates = found.measure(metric, weights)
    for s, said in enumerate(SAID):
        wrong = np.array([distance(cut(t), cut(x)) for t, x in zip(TRUTH, said, strict=True)])
        length = np.array([len(cut(t)) for t in TRUTH])
        for r in range(2):
            assert rates[s, r] == pytest.approx((weights[r] * wrong).sum() / (weights[r] * length).sum())
    assert np.isnan(rates[:, 2]).all()


def test_a_record_of_transcripts(tmp_path: Path) -> None:
    found = transcripts(SAID)
    scores = score(found, "cer")
    assert scores.value == pytest.approx(found.measure("cer", np.ones((1, 4))).mean())
    assert scores.detail["details"]["errors"]["wer"]["length"] == 11
    assert scores.detail["details"]["transcripts"][2] == {"unit": "u3", "truth": "the end", "said": ""}
    save_predictions(tmp_path / "s.npz", found)
    back = load_predictions(tmp_path / "s.npz")
    assert isinstance(back, Transcripts)
    np.testing.assert_array_equal(back.reorder(found.names[::-1]).said, found.said[:, ::-1])
    perfect = transcripts([TRUTH, TRUTH])
    assert compare_predictions(perfect, back, "wer").value == pytest.approx(-scores.metrics["wer"])
    phones = transcripts(SAID, "phones")
    assert phones.metrics == ("per",)
    assert phones.measure("per", np.ones((1, 4))) == pytest.approx(found.measure("wer", np.ones((1, 4))))
    with pytest.raises(ConfigError, match="no metric 'per'"):
        found.measure("per", np.ones((1, 4)))
    with pytest.raises(CorpusError, match="differ in the truth"):
        compare_predictions(found, phones, "wer")


def test_what_counts_as_the_same_text() -> None:
    rule = SequenceRule()
    assert rule.normalise("  Lubię   czytać\tprzed snem. ") == "lubię czytać przed snem"
    assert rule.normalise("Don\u2019t -- STOP!") == "don't stop"
    # One letter, or a letter and its mark.
    assert rule.normalise("z\u0307ółw") == rule.normalise("żółw")
    assert rule.normalise("Straße") == "strasse"
    assert rule.normalise(None) == ""
    assert rule.symbols("a b") == ["a", " ", "b"]
    assert rule.text(["a", " ", " ", "b", " "]) == "a b"
    assert SequenceRule(punctuation=True, casefold=False).normalise("A, b.") == "A, b."
    phones = SequenceRule(unit="phones")
    assert phones.symbols(phones.normalise(" sh  IY1 p")) == ["sh", "IY1", "p"]
    assert phones.text(["sh", "IY1"]) == "sh IY1"
    with pytest.raises(ConfigError, match="unit is 'words'"):
        SequenceRule(unit="words")  # type: ignore[arg-type]
