"""Draws of training clips: nested, as large as told, the same again; and the mean over the curve."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auricle.errors import ConfigError, CorpusError
from auricle.metrics.classification import accuracy
from auricle.results.predictions import load_predictions, save_predictions
from auricle.results.scoring import compare_predictions, score
from auricle.tasks.clips.answers import ClipPredictions
from auricle.tasks.label_budget.answers import BudgetPredictions
from auricle.tasks.label_budget.rule import LabelBudgetRule
from auricle.tasks.label_budget.run import nested_draws, useful_budgets

BUDGETS = (1, 2, 5, 10)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), single=st.booleans())
def test_draws_are_nested_and_as_large_as_told(seed: int, single: bool) -> None:
    generator = np.random.default_rng(seed)
    truth = np.eye(4, dtype=bool)[generator.integers(0, 4, 80)] if single else generator.random((80, 4)) < 0.3
    rows = generator.permutation(80)[:60]
    drawn = list(nested_draws(rows, truth, BUDGETS, np.random.default_rng(seed)))
    again = list(nested_draws(rows, truth, BUDGETS, np.random.default_rng(seed)))
    before: set[int] = set()
    for budget, clips, same in zip(BUDGETS, drawn, again, strict=True):
        np.testing.assert_array_equal(clips, same)
        chosen = set(clips.tolist())
        assert before <= chosen <= set(rows.tolist())
        assert truth[clips].any(1).all()
        for c in range(4):
            have = truth[rows, c].sum()
            count = truth[clips, c].sum()
            assert count == min(budget, have) if single else count >= min(budget, have)
        assert single or len(clips) <= 4 * budget
        before = chosen


def test_budgets_that_say_nothing_new_are_left_out() -> None:
    assert useful_budgets(BUDGETS, [20, 30]) == (BUDGETS, [])
    kept, notes = useful_budgets(BUDGETS, [4, 3])
    assert kept == (1, 2, 5)
    assert "budgets 10 are skipped" in notes[0]
    assert "(the fewest: 3)" in notes[1]
    with pytest.raises(CorpusError, match="no labelled training clip"):
        useful_budgets(BUDGETS, [0, 0])
    for wrong in ((), (2, 1), (1, 1)):
        with pytest.raises(ConfigError, match="ascending"):
            LabelBudgetRule(budgets=wrong)
    with pytest.raises(ConfigError, match=r"budgets\.0 is 0"):
        LabelBudgetRule(budgets=(0, 1))


def predictions(seed: int, shift: float) -> ClipPredictions:
    generator = np.random.default_rng(seed)
    truth = np.eye(3, dtype=bool)[np.arange(60) % 3]
    scores = generator.normal(size=(2, 60, 3)) + truth * shift
    names = np.array([f"c{i}" for i in range(60)])
    return ClipPredictions(
        names=names,
        group=names,
        fold=np.arange(60) % 2,
        seeds=(0, 1),
        kind="single",
        classes=("a", "b", "c"),
        truth=truth,
        scores=scores.astype(np.float32),
    )


def test_the_score_is_the_mean_over_budgets(tmp_path: Path) -> None:
    curve = (predictions(0, 0.5), predictions(1, 2.0))
    found = BudgetPredictions.join((1, 5), curve)
    each = [accuracy(p.numbers, said) for p in curve for said in p.said]
    assert score(found, "accuracy").value == pytest.approx(np.mean(each))
    assert found.seeds == (0, 1)
    assert found.metrics[0] == "accuracy"
    save_predictions(tmp_path / "b.npz", found)
    back = load_predictions(tmp_path / "b.npz")
    assert isinstance(back, BudgetPredictions)
    assert back.budgets == (1, 5)
    shuffled = back.reorder(found.names[::-1])
    ones = np.ones((1, 60))
    np.testing.assert_allclose(shuffled.measure("macro_f1", ones), found.measure("macro_f1", ones))
    better = BudgetPredictions.join((1, 5), (predictions(2, 3.0), predictions(3, 4.0)))
    assert compare_predictions(better, shuffled, "accuracy").interval.low > 0
    other = BudgetPredictions.join((1, 9), curve)
    with pytest.raises(CorpusError, match="differ in the truth"):
        compare_predictions(found, other, "accuracy")
    with pytest.raises(CorpusError, match="1 predictions for 2 budgets"):
        BudgetPredictions.join((1, 5), curve[:1])
