"""Verdicts follow from intervals; undecided statements say at how many units they would be decided."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from auricle.studies.statement import FEWEST, decide, from_interval, sheet


@pytest.mark.parametrize(
    ("values", "verdict"),
    [([0.1, 0.12, 0.09, 0.11], "supported"), ([-0.1, -0.12, -0.09], "contradicted"), ([0.1, -0.1, 0.02], "undecided")],
)
def test_the_verdict_follows_from_the_interval(values: list[float], verdict: str) -> None:
    assert decide("a", "b", "c", values, "task").verdict == verdict


def test_the_interval_is_students() -> None:
    values = [0.3, 0.1, -0.2, 0.4, 0.15]
    found = decide("a", "b", "c", values, "task")
    assert found.interval == pytest.approx(ttest_1samp(values, 0).confidence_interval(0.95))


def test_too_few_values_have_no_interval() -> None:
    found = decide("a", "b", "c", [0.5] * (FEWEST - 1), "task")
    assert (found.interval, found.verdict, found.estimate) == (None, "undecided", 0.5)
    assert decide("a", "b", "c", [], "task").estimate is None


def test_what_is_not_finite_does_not_count() -> None:
    assert decide("a", "b", "c", [0.1, math.nan, 0.12, 0.11], "task").units == 3


def test_as_many_units_as_it_says_would_decide() -> None:
    found = from_interval("a", "b", "c", 0.02, (-0.08, 0.12), 10, "task")
    assert found.needed == 250
    # An interval narrows with the root of its units.
    half = 0.1 * math.sqrt(10 / 250)
    assert 0.02 - half == pytest.approx(0)
    # Simulated: with that many units of this spread, about half of the intervals exclude zero on the right side.
    spread = 0.1 / 1.96 * math.sqrt(10)
    draws = np.random.default_rng(0).normal(0.02, spread, (300, 250))
    share = np.mean([decide("a", "b", "c", row.tolist(), "task").verdict == "supported" for row in draws])
    assert 0.4 < share < 0.6


def test_the_table_names_verdict_and_need() -> None:
    made = sheet([decide("COLA gains", "Table I", "gain", [0.02, -0.05, 0.04, 0.03], "task")])
    assert made.rows[0] == ("COLA gains", "gain", "+1.0 [-5.5, +7.5]", "4 tasks", "undecided", "169", "Table I")
