"""Thresholds against a search of all cuts; calibration against probabilities that are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import precision_score, recall_score

from auricle.answers.fitting.calibrating import calibrate, fit_calibration, reliability
from auricle.answers.fitting.goals import Goal, choose_thresholds, decided, decision_scores
from auricle.models.calibration import Calibration
from auricle.tasks.shallow import CentroidConfig, LogisticConfig, Vectors


@given(
    scores=st.lists(st.sampled_from([0.1, 0.25, 0.4, 0.6, 0.9]), min_size=4, max_size=25),
    bits=st.integers(1, 2**25 - 1),
    goal=st.sampled_from(["f1", "precision=0.7", "recall=0.7"]),
)
def test_no_cut_is_better(scores: list[float], bits: int, goal: str) -> None:
    truth = np.array([bits >> i & 1 for i in range(len(scores))], dtype=bool)
    truth[0] = True
    wanted, values = Goal.read(goal), np.array(scores)
    (threshold,), (fact,) = choose_thresholds(values[:, None], truth[:, None], wanted, ["owl"])
    found = []
    for cut in sorted(set(scores)):
        said = values >= cut
        found.append((precision_score(truth, said), recall_score(truth, said)))
    said = values >= threshold
    mine = precision_score(truth, said), recall_score(truth, said)
    assert (fact["precision"], fact["recall"]) == pytest.approx(mine)
    f1 = [2 * p * r / max(p + r, 1e-12) for p, r in (*found, mine)]
    if goal == "f1":
        assert f1[-1] == pytest.approx(max(f1))
        return
    held = 0 if wanted.name == "precision" else 1
    able = [pair for pair in found if pair[held] >= 0.7]
    assert fact["reached"] == bool(able)
    if able:
        assert mine[held] >= 0.7
        assert mine[1 - held] == pytest.approx(max(pair[1 - held] for pair in able))
    else:
        assert mine[held] == pytest.approx(max(pair[held] for pair in found))


def test_a_class_without_validation_clips() -> None:
    (threshold,), (fact,) = choose_thresholds(np.full((4, 1), 0.3), np.zeros((4, 1), bool), Goal(), ["owl"])
    assert threshold == 0.5
    assert not fact["reached"]


def test_decisions_of_one_label_are_at_most_the_best_class() -> None:
    scores = np.array([[0.5, 0.3, 0.2], [0.4, 0.45, 0.15]])
    said = decided(scores, (0.2, 0.5, 0.1), single=True)
    assert said.tolist() == [[True, False, False], [False, False, False]]
    assert decided(scores, (0.2, 0.5, 0.1), single=False).tolist()[1] == [True, False, True]


def test_intervals_of_decisions_are_over_sources() -> None:
    draw = np.random.default_rng(0)
    truth = draw.random((200, 1)) < 0.5
    said = truth ^ (draw.random((200, 1)) < 0.2)
    many = decision_scores(said, truth, np.arange(200).astype(str), ["owl"])[0]["precision"]
    few = decision_scores(said, truth, (np.arange(200) // 20).astype(str), ["owl"])[0]["precision"]
    assert many["value"] == few["value"] == pytest.approx(precision_score(truth, said))
    assert many["low"] < many["value"] < many["high"]
    none = decision_scores(np.zeros_like(said), truth, np.arange(200).astype(str), ["owl"])[0]
    assert none["precision"]["value"] is None
    assert none["recall"]["value"] == 0


def overconfident(n: int, single: bool, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores whose logits are three times too large (and, of several labels, too low by one)."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(size=(n, 3)) * 1.5
    if single:
        p = torch.from_numpy(logits).softmax(1).numpy()
        truth = np.stack([draw.multinomial(1, row) for row in p]).astype(bool)
        return torch.from_numpy(3 * logits).softmax(1).numpy(), truth
    truth = draw.random((n, 3)) < torch.from_numpy(logits).sigmoid().numpy()
    return torch.from_numpy(3 * logits - 1).sigmoid().numpy(), truth


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_calibration_undoes_what_was_done(method: str, single: bool) -> None:
    scores, truth = overconfident(3000, single)
    test, wanted = overconfident(3000, single, seed=1)
    made = fit_calibration(method, scores, truth, single)  # type: ignore[arg-type]
    found = made.apply(torch.from_numpy(test), single).numpy()
    before, after = reliability(test, wanted, single), reliability(found, wanted, single)
    assert before["ece"] > 0.05
    assert after["ece"] < 0.03
    assert after["log_loss"] < before["log_loss"]
    if method == "temperature":
        assert made.scale == pytest.approx((1 / 3,) * len(made.scale), rel=0.1)
        assert single or made.shift == pytest.approx((1 / 3,) * 3, abs=0.15)
    if single:
        assert np.allclose(found.sum(1), 1)
    assert Calibration.from_json(made.to_json()) == made


def test_few_clips_that_are_all_right_make_no_score_certain() -> None:
    scores = np.array([[0.6, 0.4], [0.4, 0.6]] * 4)
    truth = np.array([[True, False], [False, True]] * 4)
    made, facts = calibrate(scores, truth, np.arange(8).astype(str), single=True)
    assert "isotonic was not tried" in facts["why"]
    assert made.apply(torch.from_numpy(scores), True).max() < 0.9
    assert calibrate(scores, truth, np.array(["one"] * 8), single=True)[0] == Calibration()


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("n", [12, 60])
def test_linear_maps_are_the_classifiers(n: int, single: bool, classes: int) -> None:
    draw = np.random.default_rng(n + classes)
    numbers = np.arange(n) % classes
    truth = np.eye(classes, dtype=bool)[numbers] if single else draw.random((n, classes)) < 0.4
    x = (draw.normal(size=(n, 20)) + 100 + truth @ draw.normal(size=(classes, 20)) * 2).astype(np.float32)
    known, asked = Vectors(x, truth, single), x[::-1] + 0.1
    found = LogisticConfig().linear(known, 0.1)
    logits = torch.from_numpy((asked - found.centre) @ found.weight.T + found.bias)
    said = logits.softmax(1) if single else logits.sigmoid()
    np.testing.assert_allclose(said.numpy(), LogisticConfig().scores(known, asked, 0.1), atol=2e-3)
    centroid = CentroidConfig().linear(known, None)
    unit = asked - centroid.centre
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    cosines = (unit @ centroid.weight.T + centroid.bias) / 10
    np.testing.assert_allclose(cosines, CentroidConfig().scores(known, asked, None), atol=1e-6)


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("goal", ["f1", "recall=0.9", "precision=0.8"])
def test_what_thresholds_reach_is_what_decisions_reach(goal: str, single: bool) -> None:
    generator = np.random.default_rng(0)
    scores = generator.dirichlet(np.ones(3), 200)
    truth = np.arange(3) == np.array([generator.choice(3, p=row) for row in scores])[:, None]
    thresholds, facts = choose_thresholds(scores, truth, Goal.read(goal), ["a", "b", "c"], single=single)
    said = decided(scores, thresholds, single=single)
    for c, fact in enumerate(facts):
        hits = (said[:, c] & truth[:, c]).sum()
        assert fact["recall"] == pytest.approx(hits / truth[:, c].sum())
        assert fact["precision"] == pytest.approx(hits / said[:, c].sum())


def test_a_class_that_is_never_the_best_reaches_nothing() -> None:
    scores = np.array([[0.6, 0.4]] * 4)
    truth = np.array([[True, False], [True, False], [False, True], [False, True]])
    thresholds, facts = choose_thresholds(scores, truth, Goal(), ["a", "b"], single=True)
    assert thresholds[1] == 0.5
    assert (facts[1]["reached"], facts[1]["positives"]) == (False, 2)
