"""Metrics against slow loops, scikit-learn with sample weights, and hand-made cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from auricle.errors import ConfigError
from auricle.metrics.classification import (
    accuracy,
    area_under_roc,
    average_precision,
    balanced_accuracy,
    confusion_matrix,
    macro_auc,
    macro_f1,
    mean_average_precision,
    per_class_scores,
)


def slow_average_precision(truth: np.ndarray, scores: np.ndarray) -> float:
    """Precision at each threshold, weighted by the recall gained there: one threshold at a time."""
    total, seen, result = truth.sum(), 0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        chosen = scores >= threshold
        found = int(truth[chosen].sum())
        result += (found - seen) / total * found / chosen.sum()
        seen = found
    return float(result)


def test_hand_made_single_label_case() -> None:
    truth, said = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 0])
    assert accuracy(truth, said) == pytest.approx(3 / 5)
    assert balanced_accuracy(truth, said) == pytest.approx((0.5 + 1.0 + 0.0) / 3)
    assert macro_f1(truth, said) == pytest.approx((0.5 + 0.8 + 0.0) / 3)
    assert confusion_matrix(truth, said, 3).tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 0]]


def test_per_class_scores_match_sklearn_and_mark_the_undefined() -> None:
    generator = np.random.default_rng(0)
    truth, said = generator.integers(0, 4, 50), generator.integers(0, 4, 50)
    scores = per_class_scores(confusion_matrix(truth, said, 6))
    precision, recall, f1, _ = sk.precision_recall_fscore_support(truth, said, labels=range(4))
    np.testing.assert_allclose(scores["precision"][:4], precision)
    np.testing.assert_allclose(scores["recall"][:4], recall)
    np.testing.assert_allclose(scores["f1"][:4], f1)
    assert all(np.isnan(scores[name][4:]).all() for name in scores)


def test_empty_input_is_nan_not_a_crash() -> None:
    none = np.array([], dtype=int)
    assert math.isnan(accuracy(none, none))
    assert math.isnan(macro_f1(none, none))
    assert math.isnan(balanced_accuracy(none, none))
    assert math.isnan(mean_average_precision(np.zeros((0, 3)), np.zeros((0, 3))))
    assert math.isnan(macro_auc(np.zeros((0, 3)), np.zeros((0, 3))))


def test_class_without_positives_does_not_count() -> None:
    truth = np.array([[1, 0], [0, 0], [1, 0]])
    scores = np.array([[0.9, 0.1], [0.5, 0.3], [0.2, 0.2]])
    each = average_precision(truth, scores)
    assert each[0] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert math.isnan(each[1])
    assert mean_average_precision(truth, scores) == each[0]
    assert math.isnan(mean_average_precision(np.zeros((3, 2)), scores))


def test_auc_is_undefined_where_all_or_none_are_positive() -> None:
    truth = np.array([[1, 1, 0], [0, 1, 0], [1, 1, 0]])
    scores = np.array([[0.9, 0.1, 0.1], [0.5, 0.3, 0.2], [0.2, 0.2, 0.3]])
    each = area_under_roc(truth, scores)
    assert each[0] == pytest.approx(0.5)
    assert np.isnan(each[1:]).all()


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_matches_the_slow_loop(ties: bool) -> None:
    generator = np.random.default_rng(1)
    truth = generator.random((40, 5)) < 0.3
    scores = generator.normal(size=(40, 5))
    if ties:
        scores = np.round(scores)
    expected = [slow_average_precision(truth[:, c].astype(float), scores[:, c]) for c in range(5)]
    np.testing.assert_allclose(average_precision(truth, scores), expected, rtol=1e-12)


def sklearn_metrics(
    truth: np.ndarray, said: np.ndarray, labels: np.ndarray, scores: np.ndarray
) -> tuple[float, float, float, float, float]:
    """Accuracy, macro F1, balanced accuracy, mAP and macro AUC by scikit-learn, undefined classes left out."""
    if not len(truth):
        return (math.nan,) * 5
    recalls = [(said[truth == c] == c).mean() for c in np.unique(truth)]
    columns = list(zip(labels.T, scores.T, strict=True))
    precisions = [sk.average_precision_score(t, s) for t, s in columns if t.any()]
    areas = [sk.roc_auc_score(t, s) for t, s in columns if t.any() and not t.all()]
    return (
        float(sk.accuracy_score(truth, said)),
        float(sk.f1_score(truth, said, average="macro", zero_division=0.0)),
        float(np.mean(recalls)),
        float(np.mean(precisions)) if precisions else math.nan,
        float(np.mean(areas)) if areas else math.nan,
    )


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), clips=st.integers(1, 30), classes=st.integers(1, 4), coarse=st.booleans())
def test_metrics_match_sklearn_on_repeated_clips(seed: int, clips: int, classes: int, coarse: bool) -> None:
    generator = np.random.default_rng(seed)
    truth, said = generator.integers(0, classes, clips), generator.integers(0, classes, clips)
    labels = generator.random((clips, classes)) < 0.5
    scores = generator.normal(size=(clips, classes))
    if coarse:
        scores = np.round(scores)
    weights = generator.integers(0, 3, (3, clips)).astype(float)
    single, multi = (accuracy, macro_f1, balanced_accuracy), (mean_average_precision, macro_auc)
    plain = [measure(truth, said) for measure in single] + [measure(labels, scores) for measure in multi]
    np.testing.assert_allclose(plain, sklearn_metrics(truth, said, labels, scores), rtol=1e-9)
    drawn = [measure(truth, said, weights) for measure in single] + [
        measure(labels, scores, weights) for measure in multi
    ]
    for row, weight in enumerate(weights):
        pick = np.repeat(np.arange(clips), weight.astype(int))
        expected = sklearn_metrics(truth[pick], said[pick], labels[pick], scores[pick])
        np.testing.assert_allclose([many[row] for many in drawn], expected, rtol=1e-9)
    for per_class in (average_precision, area_under_roc):
        assert per_class(labels, scores, weights).shape == (3, classes)
        np.testing.assert_array_equal(per_class(labels, scores, np.ones((1, clips)))[0], per_class(labels, scores))


def test_no_clip_that_counts_is_nan() -> None:
    truth, labels, none = np.array([0, 1]), np.eye(2), np.zeros((1, 2))
    assert np.isnan([measure(truth, truth, none)[0] for measure in (accuracy, macro_f1, balanced_accuracy)]).all()
    assert np.isnan([measure(labels, labels, none)[0] for measure in (mean_average_precision, macro_auc)]).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: accuracy(np.array([0, 1]), np.array([0])), "shape"),
        (lambda: accuracy(np.array([0.5]), np.array([0.5])), "whole"),
        (lambda: accuracy(np.array([-1]), np.array([0])), "range"),
        (lambda: confusion_matrix(np.array([3]), np.array([0]), 3), "range"),
        (lambda: average_precision(np.array([1, 0]), np.array([0.1, 0.2])), "shape"),
        (lambda: average_precision(np.array([[2]]), np.array([[0.1]])), "0 and 1"),
        (lambda: average_precision(np.array([[1]]), np.array([[np.nan]])), "diverged"),
        (lambda: accuracy(np.array([0]), np.array([0]), np.ones((2, 3))), "column"),
        (lambda: accuracy(np.array([0]), np.array([0]), -np.ones((2, 1))), "numbers >= 0"),
        (lambda: average_precision(np.array([[1]]), np.array([[0.1]]), np.ones((2, 3))), "column"),
    ],
)
def test_wrong_input_is_refused(call, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        call()
