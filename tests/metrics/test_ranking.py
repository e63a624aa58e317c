from __future__ import annotations

import functools
import math

import numpy as np
import pytest
from sklearn.metrics import label_ranking_average_precision_score, roc_auc_score

from auricle.errors import ConfigError
from auricle.metrics.ranking import (
    auc,
    d_prime,
    label_weighted_ranking_precision,
    partial_auc,
)
from auricle.metrics.verification import DetectionCost, equal_error_rate, min_detection_cost


def trials(seed: int, n: int, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    target = generator.random(n) < 0.3
    scores = generator.normal(0, 1, n) + 1.2 * target
    return target, np.round(scores * 2) / 2 if ties else scores


def slow_points(target: np.ndarray, scores: np.ndarray) -> list[tuple[float, float]]:
    """Shares of accepted non-targets and missed targets at every threshold, strictest first."""
    levels = [math.inf, *sorted(set(scores.tolist()), reverse=True)]
    return [(float((scores[~target] >= level).mean()), float((scores[target] < level).mean())) for level in levels]


@pytest.mark.parametrize("ties", [False, True])
def test_auc_is_the_share_of_pairs_in_order(ties: bool) -> None:
    target, scores = trials(0, 80, ties)
    pairs = scores[target][:, None] - scores[~target][None, :]
    assert auc(target, scores) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())


@pytest.mark.parametrize("ties", [False, True])
def test_partial_auc_by_a_fine_sum(ties: bool) -> None:
    target, scores = trials(1, 90, ties)
    points = slow_points(target, scores)
    # Where the curve steps straight up its upper end counts; interpolation needs rising abscissae.
    x = np.array([p[0] for p in points]) + 1e-12 * np.arange(len(points))
    y = np.array([1 - p[1] for p in points])
    grid = (np.arange(200_000) + 0.5) / 200_000 * 0.2
    area = np.interp(grid, x, y).mean() * 0.2
    least = 0.2**2 / 2
    assert partial_auc(target, scores, max_false_positives=0.2) == pytest.approx(
        0.5 * (1 + (area - least) / (0.2 - least)), abs=1e-6
    )


def test_partial_auc_of_chance_and_of_perfection() -> None:
    assert partial_auc(np.array([0, 1] * 500), np.zeros(1000)) == pytest.approx(0.5)
    assert partial_auc(np.array([0, 1] * 500), np.array([0.0, 1.0] * 500)) == 1.0
    assert partial_auc(np.array([0, 1, 1, 0]), np.array([0.1, 0.4, 0.2, 0.3]), max_false_positives=1.0) == auc(
        np.array([0, 1, 1, 0]), np.array([0.1, 0.4, 0.2, 0.3])
    )


@pytest.mark.parametrize("ties", [False, True])
def test_error_rate_and_cost_against_every_threshold(ties: bool) -> None:
    target, scores = trials(2, 101, ties)
    points = slow_points(target, scores)
    for cost in (DetectionCost(), DetectionCost(target_prior=0.5), DetectionCost(0.01, miss=10.0)):
        prior, miss = cost.target_prior, cost.miss
        least = min(miss * prior * m + (1 - prior) * f for f, m in points) / min(miss * prior, 1 - prior)
        assert min_detection_cost(target, scores, cost=cost) == pytest.approx(least)
    assert equal_error_rate(target, scores, crossing="nearest") == min(points, key=lambda p: abs(p[0] - p[1]))[0]
    # On the line between the last point that misses more and the next one, both rates are equal.
    k = next(i for i, (f, m) in enumerate(points) if f >= m)
    (f0, m0), (f1, m1) = points[k - 1], points[k]
    way = (m0 - f0) / ((m0 - f0) + (f1 - m1))
    assert equal_error_rate(target, scores) == pytest.approx(f0 + way * (f1 - f0))


def test_by_hand() -> None:
    target = np.array([1, 1, 1, 1, 0, 0, 0, 0])
    scores = np.array([0.9, 0.8, 0.7, 0.3, 0.6, 0.4, 0.2, 0.1])
    # Thresholds below .6: one of four targets missed (.3), one of four others accepted (.6).
    assert equal_error_rate(target, scores) == 0.25
    assert equal_error_rate(target, scores, crossing="nearest") == 0.25
    assert min_detection_cost(target, scores, cost=DetectionCost(target_prior=0.5)) == pytest.approx(0.25)
    assert equal_error_rate(target, target.astype(float)) == 0.0
    assert equal_error_rate(target, 1.0 - target) == 1.0
    assert equal_error_rate(target, np.zeros(8)) == 0.5
    assert min_detection_cost(target, 1.0 - target) == 1.0


def test_error_rate_against_torchmetrics() -> None:
    eer = pytest.importorskip("torchmetrics.functional.classification").binary_eer
    torch = pytest.importorskip("torch")
    generator = np.random.default_rng(5)
    # As many targets as others, no ties: the curve meets the diagonal in a point, where all definitions agree.
    target = np.repeat([0, 1], 200)
    scores = 1 / (1 + np.exp(-generator.normal(0, 1, 400) - target))
    expected = float(eer(torch.tensor(scores), torch.tensor(target)))
    assert equal_error_rate(target, scores) == pytest.approx(expected, abs=1 / 200)
    assert equal_error_rate(target, scores) == pytest.approx(
        equal_error_rate(target, scores, crossing="nearest"), abs=1e-12
    )


MEASURES = {
    "auc": auc,
    "pauc": partial_auc,
    "pauc 1": functools.partial(partial_auc, max_false_positives=1.0),
    "eer": equal_error_rate,
    "eer nearest": functools.partial(equal_error_rate, crossing="nearest"),
    "dcf": min_detection_cost,
}


@pytest.mark.parametrize("ties", [False, True])
def test_areas_are_those_of_sklearn(ties: bool) -> None:
    target, scores = trials(7, 60, ties)
    assert auc(target, scores) == pytest.approx(roc_auc_score(target, scores), abs=1e-12)
    assert partial_auc(target, scores) == pytest.approx(roc_auc_score(target, scores, max_fpr=0.1), abs=1e-12)


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("ties", [False, True])
def test_weights_are_repeated_clips(name: str, ties: bool) -> None:
    measure = MEASURES[name]
    target, scores = trials(3, 40, ties)
    times = np.random.default_rng(9).integers(0, 4, (12, 40))
    times[0] = 1
    times[1] = target * 2  # no non-target at all
    found = measure(target, scores, times)
    assert found[0] == pytest.approx(measure(target, scores), abs=1e-12)
    assert math.isnan(found[1])
    for value, row in zip(found[2:], times[2:], strict=True):
        assert value == pytest.approx(measure(np.repeat(target, row), np.repeat(scores, row)), abs=1e-12)


def test_blocks_of_weightings_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    target, scores = trials(4, 30, True)
    times = np.random.default_rng(1).integers(0, 3, (11, 30))
    whole = equal_error_rate(target, scores, times)
    monkeypatch.setattr("auricle.metrics.ranking.BLOCK", 90)
    np.testing.assert_array_equal(equal_error_rate(target, scores, times), whole)


def test_d_prime_is_a_distance_of_normal_distributions() -> None:
    generator = np.random.default_rng(0)
    truth = np.repeat([[0, 0], [1, 1]], 20_000, axis=0)
    scores = generator.normal(0, 1, (40_000, 2)) + truth * [1.0, 2.0]
    assert d_prime(truth[:, :1], scores[:, :1]) == pytest.approx(1.0, abs=0.03)
    assert d_prime(truth, scores, by_class=True) == pytest.approx(1.5, abs=0.03)
    mean = np.mean([roc_auc_score(truth[:, c], scores[:, c]) for c in range(2)])
    # The inverse of the normal distribution, by bisection of the error function.
    low, high = -8.0, 8.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if 0.5 * (1 + math.erf(middle / math.sqrt(2))) < mean else (low, middle)
    assert d_prime(truth, scores) == pytest.approx(math.sqrt(2) * low)
    assert d_prime(np.array([[0], [1]]), np.array([[0.0], [1.0]])) == math.inf


def test_weighted_d_prime_is_that_of_repeated_clips() -> None:
    generator = np.random.default_rng(6)
    truth = generator.random((30, 3)) < 0.4
    scores = np.round(generator.normal(0, 1, (30, 3)) + truth, 1)
    times = generator.integers(0, 3, (5, 30))
    expected = [d_prime(np.repeat(truth, row, axis=0), np.repeat(scores, row, axis=0)) for row in times]
    np.testing.assert_allclose(d_prime(truth, scores, times), expected)


def test_label_ranking_by_a_slow_loop() -> None:
    generator = np.random.default_rng(3)
    truth, scores = generator.random((30, 6)) < 0.3, generator.random((30, 6))
    precisions = []
    for labels, row in zip(truth, scores, strict=True):
        for c in np.flatnonzero(labels):
            above = row >= row[c]
            precisions.append((labels & above).sum() / above.sum())
    assert label_weighted_ranking_precision(truth, scores) == pytest.approx(np.mean(precisions))


def test_weighted_means_over_classes_and_labels_are_those_of_repeated_clips() -> None:
    generator = np.random.default_rng(8)
    truth, scores = generator.random((30, 4)) < 0.3, np.round(generator.random((30, 4)), 1)
    times = generator.integers(0, 3, (5, 30))
    expected = label_ranking_average_precision_score(
        truth[truth.any(1)], scores[truth.any(1)], sample_weight=truth.sum(1)[truth.any(1)]
    )
    assert label_weighted_ranking_precision(truth, scores) == pytest.approx(expected)
    for measure in (
        label_weighted_ranking_precision,
        functools.partial(d_prime, by_class=True),
    ):
        each = [measure(np.repeat(truth, row, axis=0), np.repeat(scores, row, axis=0)) for row in times]
        np.testing.assert_allclose(measure(truth, scores, times), each)


def test_what_is_empty_has_a_defined_result() -> None:
    nothing = np.array([])
    ones = np.ones(3)
    for measure in (auc, partial_auc, equal_error_rate, min_detection_cost):
        assert math.isnan(measure(nothing, nothing))
        assert math.isnan(measure(ones, ones))
        assert math.isnan(measure(1 - ones, ones))
    for measure in MEASURES.values():
        assert np.isnan(measure(nothing, nothing, np.ones((2, 0)))).all()
    assert math.isnan(d_prime(np.ones((2, 2)), np.ones((2, 2))))
    assert math.isnan(label_weighted_ranking_precision(np.zeros((2, 2)), np.ones((2, 2))))
    assert math.isnan(label_weighted_ranking_precision(np.zeros((0, 2)), np.ones((0, 2))))


def test_bad_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="shape"):
        auc(np.ones(3), np.ones(2))
    with pytest.raises(ConfigError, match="other than 0 and 1"):
        equal_error_rate(np.array([0, 2]), np.ones(2))
    with pytest.raises(ConfigError, match="1 of 2 scores are not finite"):
        min_detection_cost(np.array([0, 1]), np.array([0.1, math.nan]))
    with pytest.raises(ConfigError, match="false-positive rate up to 0"):
        partial_auc(np.array([0, 1]), np.array([0.1, 0.2]), max_false_positives=0.0)
    with pytest.raises(ConfigError, match="did you mean 'nearest'"):
        equal_error_rate(np.array([0, 1]), np.array([0.1, 0.2]), crossing="neerest")
    with pytest.raises(ConfigError, match="prior"):
        DetectionCost(target_prior=0.0)
    with pytest.raises(ConfigError, match="weights of shape"):
        auc(np.array([0, 1]), np.array([0.1, 0.2]), np.ones((2, 3)))
