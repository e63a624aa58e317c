"""Tests over tasks against slow enumeration, scipy, and printed tables."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from auricle.errors import ConfigError
from auricle.results.ranks import (
    critical_difference,
    holm,
    least_tasks,
    mean_tau,
    rank_systems,
    sign_test,
    signed_rank,
)


def by_enumeration(gains: list[float]) -> float:
    """All signs of all ranks, one by one."""
    kept = [g for g in gains if g != 0]
    ranks = stats.rankdata(np.abs(kept))
    up = sum(r for r, g in zip(ranks, kept, strict=True) if g > 0)
    smaller = min(up, sum(ranks) - up)
    sums = [
        sum(r for r, s in zip(ranks, signs, strict=True) if s) for signs in itertools.product((0, 1), repeat=len(ranks))
    ]
    return min(1.0, 2 * float(np.mean([s <= smaller + 1e-9 for s in sums])))


def test_signed_rank_is_exact() -> None:
    draw = np.random.default_rng(0)
    for n in (1, 2, 5, 6, 9, 12):
        gains = (draw.normal(size=n) + 0.4).tolist()
        assert signed_rank(gains) == pytest.approx(by_enumeration(gains), abs=1e-12)
        assert signed_rank(gains) == pytest.approx(stats.wilcoxon(gains, method="exact").pvalue, abs=1e-12)


def test_signed_rank_with_ties_and_zeros() -> None:
    for gains in ([1.0, 1, 1, -1, 2, 2, -3], [0.0, 0, 1, 2, 3, 4, 5, 6], [1.0, -1], [0.5] * 8):
        assert signed_rank(gains) == pytest.approx(by_enumeration(gains), abs=1e-12)
    assert signed_rank([0.0, 0.0]) == 1.0
    with pytest.raises(ConfigError, match="finite"):
        signed_rank([1.0, math.nan])


def test_how_many_tasks_a_test_needs() -> None:
    need = least_tasks(0.05)
    assert need == 6
    assert signed_rank([1.0, 2, 3, 4, 5, 6]) == pytest.approx(2 / 64)
    assert signed_rank([1.0, 2, 3, 4, 5]) > 0.05
    for level in (0.05, 0.01, 0.1, 0.2):
        n = least_tasks(level)
        assert sign_test([1.0] * n) < level
        assert sign_test([1.0] * (n - 1)) >= level


def test_sign_test_is_the_binomial() -> None:
    for wins, losses in ((5, 1), (3, 3), (9, 0), (2, 7)):
        expected = stats.binomtest(wins, wins + losses).pvalue
        assert sign_test([1.0] * wins + [-0.1] * losses + [0.0]) == pytest.approx(expected)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(("k", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_critical_difference_has_demsars_constants(k: int, q: float) -> None:
    # Table 5 (a) of Demsar 2006, at 0.05.
    assert critical_difference(k, 14) == pytest.approx(q * math.sqrt(k * (k + 1) / (6 * 14)), rel=1e-3)


def test_ranks_and_friedman_agree_with_scipy_and_a_slow_count() -> None:
    draw = np.random.default_rng(2)
    table = np.round(draw.normal([0.0, 0.4, 0.1, 0.5], size=(14, 4)), 1)  # with ties
    found = rank_systems(table)
    slow = [[1 + sum(o > v for o in row) + (sum(o == v for o in row) - 1) / 2 for v in row] for row in table.tolist()]
    assert found.ranks == pytest.approx(np.mean(slow, axis=0))
    reference = stats.friedmanchisquare(*table.T)
    assert found.statistic == pytest.approx(reference.statistic)
    assert found.p == pytest.approx(reference.pvalue, abs=0.02)
    assert not found.hopeless


def test_few_tasks_have_no_p_value_and_no_ranks_that_could_differ() -> None:
    one = rank_systems(np.array([[0.9, 0.5, 0.1]]))
    assert one.p is None
    assert math.isnan(one.statistic)
    assert one.hopeless
    assert one.ranks == (1.0, 2.0, 3.0)
    two = rank_systems(np.array([[0.9, 0.5, 0.1]] * 2))
    assert two.p is None  # 1 in 6 at best
    three = rank_systems(np.array([[0.9, 0.5, 0.1]] * 3))
    assert three.p == pytest.approx(1 / 36, abs=0.006)
    tied = rank_systems(np.ones((5, 3)))
    assert tied.p is None
    with pytest.raises(ConfigError, match="systems >= 2"):
        rank_systems(np.ones((3, 1)))


def test_tau_is_the_mean_over_tasks_that_can_tell() -> None:
    draw = np.random.default_rng(1)
    values = draw.normal(size=(4, 6, 3))
    values[0, :4, 1] = np.nan  # two rows in common with others: this task says nothing of column 1
    values[1, 5, 2] = np.nan
    tau, count = mean_tau(values)
    assert count.tolist() == [[4, 3, 4], [3, 3, 3], [4, 3, 4]]
    expected = []
    for task in values:
        both = np.isfinite(task[:, 0]) & np.isfinite(task[:, 2])
        a, b = task[both, 0], task[both, 2]
        pairs = list(itertools.combinations(range(len(a)), 2))
        expected.append(np.mean([np.sign((a[i] - a[j]) * (b[i] - b[j])) for i, j in pairs]))
    assert tau[0, 2] == pytest.approx(np.mean(expected))
    assert np.allclose(np.diag(tau), 1.0)
