"""Intervals against closed forms and their own promise: coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from auricle.errors import ConfigError
from auricle.metrics.classification import accuracy, mean_average_precision
from auricle.metrics.intervals import bootstrap_weights, paired_difference, percentile_interval, sign_flip_p


def test_clips_of_a_group_are_drawn_together() -> None:
    groups = ["a", "b", "a", "c", "c"]
    weights = bootstrap_weights(5, 400, np.random.default_rng(0), groups)
    assert weights.shape == (400, 5)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    np.testing.assert_array_equal(weights[:, 3], weights[:, 4])
    np.testing.assert_array_equal(weights[:, [0, 1, 3]].sum(1), np.full(400, 3))
    assert weights.mean() == pytest.approx(1.0, abs=0.05)


def test_same_generator_same_draws() -> None:
    one, two = (bootstrap_weights(9, 5, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_bootstrap_of_accuracy_agrees_with_the_binomial_error() -> None:
    truth = np.zeros(400, dtype=int)
    said = (np.arange(400) < 80).astype(int)
    weights = bootstrap_weights(400, 4000, np.random.default_rng(0))
    interval = percentile_interval(accuracy(truth, said, weights), "clips")
    half = 1.96 * math.sqrt(0.8 * 0.2 / 400)
    assert interval.low == pytest.approx(0.8 - half, abs=0.004)
    assert interval.high == pytest.approx(0.8 + half, abs=0.004)


def test_groups_widen_the_interval_when_their_clips_agree() -> None:
    truth = np.zeros(400, dtype=int)
    said = np.repeat(np.random.default_rng(0).random(100) < 0.3, 4).astype(int)
    widths = []
    for groups in (None, np.repeat(np.arange(100), 4)):
        weights = bootstrap_weights(400, 2000, np.random.default_rng(1), groups)
        interval = percentile_interval(accuracy(truth, said, weights), "")
        widths.append(interval.high - interval.low)
    assert widths[1] / widths[0] == pytest.approx(2.0, rel=0.15)


def test_coverage_of_the_bootstrap_interval() -> None:
    generator = np.random.default_rng(5)
    hits = 0
    for _ in range(200):
        said = (generator.random(150) < 0.25).astype(int)
        weights = bootstrap_weights(150, 400, generator)
        interval = percentile_interval(accuracy(np.zeros(150, int), said, weights), "")
        hits += interval.low <= 0.75 <= interval.high
    assert hits / 200 > 0.88


def test_undefined_resamples_are_left_out() -> None:
    interval = percentile_interval(np.array([0.1, math.nan, 0.3, 0.2]), "")
    assert 0.1 <= interval.low < interval.high <= 0.3
    assert math.isnan(percentile_interval(np.array([math.nan]), "").low)


def test_paired_difference_sees_what_separate_intervals_do_not() -> None:
    generator = np.random.default_rng(0)
    truth = np.zeros(300, dtype=int)
    second = (generator.random(300) < 0.30).astype(int)
    first = second.copy()
    first[np.flatnonzero(second)[:15]] = 0
    weights = bootstrap_weights(300, 2000, generator)
    a, b = (accuracy(truth, said, weights) for said in (first, second))
    difference = paired_difference(1 - first.mean(), 1 - second.mean(), a, b)
    assert difference.value == pytest.approx(0.05)
    assert difference.clear
    assert difference.p < 0.01
    one, two = percentile_interval(a, ""), percentile_interval(b, "")
    assert one.low < two.high
    same = paired_difference(0.7, 0.7, b, b)
    assert not same.clear
    assert same.p == 1.0


@pytest.mark.parametrize(
    "call",
    [
        lambda: bootstrap_weights(0, 5, np.random.default_rng(0)),
        lambda: bootstrap_weights(5, 0, np.random.default_rng(0)),
        lambda: bootstrap_weights(3, 5, np.random.default_rng(0), ["a"]),
        lambda: percentile_interval(np.ones(3), "", 1.5),
        lambda: paired_difference(1.0, 1.0, np.ones(3), np.ones(4)),
    ],
)
def test_wrong_input_is_refused(call) -> None:
    with pytest.raises(ConfigError):
        call()


def test_interval_of_map_covers_what_other_test_sets_of_the_same_size_score() -> None:
    """Plain percentiles sit too high where positives are few; centred ones do not."""
    generator = np.random.default_rng(0)

    def draw() -> tuple[np.ndarray, np.ndarray]:
        positive = generator.random((200, 15)) < 0.1
        positive[0] = True
        return positive, positive + generator.normal(size=(200, 15))

    ones = np.ones((1, 200))
    expected = np.mean([mean_average_precision(*draw(), ones)[0] for _ in range(400)])
    hits = {"plain": 0, "centred": 0}
    for _ in range(100):
        positive, scores = draw()
        samples = mean_average_precision(positive, scores, bootstrap_weights(200, 150, generator))
        here = mean_average_precision(positive, scores, ones)[0]
        for name, centre in (("plain", None), ("centred", here)):
            interval = percentile_interval(samples, "", centre=centre)
            hits[name] += bool(interval.low <= expected <= interval.high)
    assert hits["centred"] >= 88
    assert hits["centred"] > hits["plain"]


@pytest.mark.parametrize("seed", range(6))
def test_one_clip_that_differs_proves_nothing(seed: int) -> None:
    weights = bootstrap_weights(30, 2000, np.random.default_rng(seed))
    right = np.zeros(30)
    right[:20] = 1
    other = right.copy()
    other[20] = 1
    samples = [(weights @ x) / 30 for x in (other, right)]
    found = paired_difference(21 / 30, 20 / 30, *samples)
    assert not found.clear
    assert found.p > 0.2
    assert found.interval.low == 0


def test_flipped_signs_are_the_exact_test() -> None:
    generator = np.random.default_rng(0)
    # Six clips in favour of one, none of the other: McNemar's exact test gives 2 / 2^6.
    few = np.r_[np.ones(6), np.zeros(40)]
    assert sign_flip_p(few, generator) == pytest.approx(2 / 2**6)
    assert sign_flip_p(few, generator) == pytest.approx(binomtest(6, 6).pvalue)
    assert sign_flip_p(np.zeros(9), generator) == 1
    assert sign_flip_p(np.r_[np.ones(3), -np.ones(3)], generator) == 1
    many = np.r_[np.ones(60), -np.ones(40)]
    assert sign_flip_p(many, generator) == pytest.approx(binomtest(60, 100).pvalue, abs=0.01)


def test_infinite_values_have_no_mean_and_are_not_averaged(recwarn: pytest.WarningsRecorder) -> None:
    """A draw that separates two classes has an infinite d': the ends are values that were drawn, or infinity."""
    some = np.array([1.0, 1.5, 2.0, 2.5, math.inf, math.inf])
    found = percentile_interval(some, "b", 0.5, centre=2.0)
    assert found.low in some
    assert (found.low <= 2.0, found.high) == (True, math.inf)
    assert percentile_interval(np.full(9, math.inf), "b", centre=math.inf).low == math.inf
    # Infinity minus infinity is undefined, and so is the interval of such a difference.
    difference = paired_difference(2.0, 1.5, some, some[::-1])
    assert difference.value == 0.5
    assert math.isnan(difference.interval.low)
    assert math.isnan(difference.p)
    assert not difference.clear
    assert not recwarn.list
