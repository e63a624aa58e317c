"""Intervals and paired tests against closed forms, exact tests, and their own promise: coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, t

from auricle.errors import ConfigError
from auricle.metrics.catalogue import METRICS, MetricInfo
from auricle.metrics.intervals import (
    PARTS,
    Interval,
    least_units,
    number_parts,
    paired_difference,
    score_interval,
)

ACCURACY = METRICS["accuracy"]


def of_shares(
    hits: np.ndarray, groups: np.ndarray | None = None, info: MetricInfo = ACCURACY, confidence: float = 0.95
) -> Interval:
    """The interval of a mean over units."""
    groups = np.arange(len(hits)) if groups is None else groups
    parts = number_parts(groups)
    left_out = np.array([hits[parts != part].mean() for part in range(parts.max() + 1)])
    return score_interval(float(hits.mean()), left_out, info, np.ones(len(hits)), groups, "clips", confidence)


@pytest.mark.parametrize(("right", "clips"), [(20, 20), (19, 20), (13, 20), (0, 20), (49, 50), (388, 400), (400, 400)])
def test_accuracy_of_independent_clips_has_exact_limits(right: int, clips: int) -> None:
    found = of_shares((np.arange(clips) < right).astype(float))
    exact = binomtest(right, clips).proportion_ci(method="exact")
    # The jackknife's variance has n - 1 where the binomial's has n.
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=0.6 / clips)
    if right in (0, clips):
        assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-12)


def test_a_perfect_score_counts_sources_not_clips() -> None:
    found = of_shares(np.ones(200), np.arange(200) % 8)
    assert found.low == pytest.approx(binomtest(8, 8).proportion_ci(method="exact").low)
    # One source holds nearly all clips: eight unequal sources are worth little more than one.
    found = of_shares(np.ones(200), np.minimum(np.arange(200), 7))
    assert found.low < 0.1


def test_equal_sources_that_agree_within_count_as_one_unit_each() -> None:
    each = (np.random.default_rng(0).random(100) < 0.7).astype(float)
    alone, fourfold = of_shares(each), of_shares(np.repeat(each, 4), np.repeat(np.arange(100), 4))
    assert (fourfold.low, fourfold.high) == pytest.approx((alone.low, alone.high), abs=0.005)
    assert of_shares(np.repeat(each, 4)).low > fourfold.low + 0.02


def test_metrics_without_two_ends_have_t_limits() -> None:
    errors = np.random.default_rng(0).gamma(2.0, size=30)
    half = t.ppf(0.975, 29) * errors.std(ddof=1) / math.sqrt(28)
    mean = errors.mean()
    found = of_shares(errors, info=METRICS["mae"])
    assert (found.low, found.high) == pytest.approx((mean * math.exp(-half / mean), mean * math.exp(half / mean)))
    found = of_shares(errors, info=METRICS["d_prime"])
    assert (found.low, found.high) == pytest.approx((mean - half, mean + half))
    below = of_shares(1 - errors, info=METRICS["r2"])
    assert below.high == pytest.approx(1 - mean * math.exp(-half / mean))
    assert below.high < 1


def test_a_metric_of_extreme_scores_is_left_out_in_few_large_parts() -> None:
    groups = np.repeat(np.arange(40), 2)
    parts = number_parts(groups, METRICS["min_dcf"])
    assert np.bincount(parts).tolist() == [8] * 10
    assert (parts[::2] == parts[1::2]).all()
    # A test at a higher confidence takes more of them, and few groups are parts of their own.
    assert number_parts(groups, METRICS["min_dcf"], 0.9999).max() + 1 == least_units(0.9999) == 15
    np.testing.assert_array_equal(number_parts(np.arange(7), METRICS["min_dcf"]), np.arange(7))
    # With the jackknife's G + 1 in place of G - 1.
    left_out = 0.5 + 0.02 * np.random.default_rng(0).normal(size=10)
    wide = 0.5 + (left_out - 0.5) * 11 / 9
    found = score_interval(0.5, left_out, METRICS["min_dcf"], np.ones(80), groups, "clips")
    smooth = score_interval(0.5, wide, METRICS["auc"], np.ones(80), groups, "clips")
    assert (found.low, found.high) == pytest.approx((smooth.low, smooth.high))


def test_no_error_at_all_has_a_bound_where_there_is_one() -> None:
    found = of_shares(np.zeros(20), info=METRICS["wer"])
    assert (found.low, found.high) == pytest.approx((0, binomtest(0, 20).proportion_ci(method="exact").high))
    found = of_shares(np.zeros(20), info=METRICS["mae"])
    assert not found.known
    assert found.method == "the score does not vary between the 20 test clips"


@pytest.mark.parametrize("left_out", [math.nan, math.inf])
@pytest.mark.parametrize("value", [1.0, math.inf])
def test_a_metric_that_is_undefined_without_a_source_has_no_interval(left_out: float, value: float) -> None:
    each = np.r_[left_out, np.ones(6)]
    found = score_interval(value, each, METRICS["d_prime"], np.ones(7), np.arange(7), "sources")
    assert not found.known
    assert "undefined without some of the 7 test sources" in found.method
    difference = paired_difference(value, each, 7, "sources")
    assert not any([difference.clear, difference.interval.known])
    assert math.isnan(difference.p)


def test_parts_hold_whole_groups_and_many_groups_share_parts() -> None:
    groups = np.repeat(np.arange(3 * PARTS), 2)
    parts = number_parts(groups)
    assert (parts[::2] == parts[1::2]).all()
    assert set(np.bincount(parts)) == {6}
    order = np.random.default_rng(0).permutation(len(groups))
    np.testing.assert_array_equal(number_parts(groups[order]), parts[order])


@pytest.mark.parametrize(("one", "other", "equal"), [(6, 0, 40), (7, 2, 0), (1, 0, 30), (3, 3, 9), (12, 0, 60)])
def test_p_of_independent_clips_is_that_of_the_exact_mcnemar_test(one: int, other: int, equal: int) -> None:
    gains = np.r_[np.ones(one), -np.ones(other), np.zeros(equal)]
    found = paired_difference(gains.mean(), gains, len(gains), "clips")
    assert found.p == pytest.approx(binomtest(one, one + other).pvalue, abs=0.01)
    assert found.clear == (found.p <= 0.05)


def test_an_interval_of_few_sources_is_that_of_all_flips() -> None:
    gains = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    found = paired_difference(3.5, gains, 6, "sources")
    assert (found.p, found.interval.low, found.interval.high) == (2 / 64, 1.0, 6.0)
    assert found.clear
    assert paired_difference(2.5, gains - 1, 6, "sources").p == 4 / 64


def test_equal_gains_have_no_interval_of_zero_width() -> None:
    equal = paired_difference(0.0, np.zeros(30), 30, "clips")
    assert (equal.p, equal.clear, equal.interval.known) == (1.0, False, False)
    assert "do not differ on any of the 30" in equal.interval.method
    assert not paired_difference(0.25, np.full(30, 0.25), 30, "clips").interval.known


@settings(max_examples=80, deadline=None)
@given(
    gains=st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0]), min_size=6, max_size=30),
    confidence=st.sampled_from([0.8, 0.9, 0.95]),
)
def test_the_interval_excludes_zero_exactly_where_p_is_small(gains: list[float], confidence: float) -> None:
    array = np.array(gains)
    found, back = (paired_difference(x.mean(), x, len(x), "clips", confidence) for x in (array, -array))
    assert found.clear == (found.p <= 1 - confidence + 1e-12)
    assert back.p == found.p or math.isnan(found.p)
    if found.interval.known:
        assert found.interval.low <= found.value <= found.interval.high
        assert found.interval.low < found.interval.high
        assert (back.interval.low, back.interval.high) == pytest.approx((-found.interval.high, -found.interval.low))


def test_least_units_are_those_of_which_a_test_can_tell() -> None:
    for confidence in (0.8, 0.9, 0.95, 0.99):
        least = least_units(confidence)
        assert 2 / 2**least <= 1 - confidence + 1e-12 < 2 / 2 ** (least - 1)
        assert not paired_difference(1.0, np.arange(least - 1.0) + 1, least - 1, "clips", confidence).interval.known


def test_t_limits_of_any_confidence_are_finite() -> None:
    assert least_units(0.5) == least_units(0.1) == 3
    assert not of_shares(np.array([1.0, 3.0]), info=METRICS["mae"], confidence=0.5).known
    found = of_shares(np.array([1.0, 3.0, 4.0]), info=METRICS["mae"], confidence=0.5)
    assert 0 < found.low < 8 / 3 < found.high < math.inf


@pytest.mark.parametrize("confidence", [0.0, 1.0, 1.5])
def test_a_confidence_out_of_range_is_refused(confidence: float) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        least_units(confidence)
