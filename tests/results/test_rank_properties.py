"""Properties of tests over tasks, ranks, and of the choice of cells that they are computed from."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import kendalltau, wilcoxon

from auricle.errors import ConfigError
from auricle.results import ranks
from auricle.results.conditions import Condition, newest
from auricle.results.ranks import (
    holm,
    mean_tau,
    rank_systems,
    rank_values,
    shared_values,
    sign_test,
    signed_rank,
)


@pytest.fixture(scope="module", autouse=True)
def _few_permutations() -> Iterator[None]:
    """The p-value of Friedman's statistic is tested elsewhere; here it only takes time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranks, "DRAWS", 9)
        yield


probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=6)
gains = st.lists(st.integers(-8, 8).map(float), min_size=1, max_size=10)
tables = st.tuples(st.integers(2, 6), st.integers(2, 5)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(0, 9).map(float))
)


def closed_test(p: Sequence[float]) -> list[float]:
    """Bonferroni in every intersection of hypotheses: what Holm's steps are a short cut of."""
    every = range(len(p))
    subsets = [s for size in range(1, len(p) + 1) for s in itertools.combinations(every, size)]
    return [max(min(1.0, len(s) * min(p[i] for i in s)) for s in subsets if one in s) for one in every]


@given(probabilities)
def test_holm_is_the_closed_test(p: list[float]) -> None:
    assert holm(p) == pytest.approx(closed_test(p))
    assert all(adjusted >= plain for adjusted, plain in zip(holm(p), p, strict=True))


@given(gains)
def test_signs_swapped_say_the_same(values: list[float]) -> None:
    for test in (signed_rank, sign_test):
        p = test(values)
        assert 0 < p <= 1
        assert test([-v for v in values]) == pytest.approx(p)
        assert test(values[::-1]) == pytest.approx(p)
        assert test([0.0, *values, 0.0]) == pytest.approx(p)
        # The unit of the gains does not matter.
        assert test([1000 * v for v in values]) == pytest.approx(p)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=9, unique_by=abs).filter(lambda found: 0 not in found))
def test_without_ties_the_exact_table_of_scipy_holds(values: list[float]) -> None:
    assert signed_rank(values) == pytest.approx(wilcoxon(values, method="exact").pvalue)


@given(tables)
def test_ranks_follow_the_order_only(table: np.ndarray) -> None:
    n, k = table.shape
    found = rank_systems(table)
    assert sum(found.ranks) == pytest.approx(k * (k + 1) / 2)
    assert all(1 <= rank <= k for rank in found.ranks)
    # Each task may have a unit of its own, and tasks come in any order.
    stretched = np.exp(table / 3) * np.arange(1, n + 1)[:, None]
    assert rank_systems(stretched[::-1]).ranks == pytest.approx(found.ranks)
    assert rank_systems(-table).ranks == pytest.approx(tuple(k + 1 - rank for rank in found.ranks))
    order = np.random.default_rng(0).permutation(k)
    assert rank_systems(table[:, order]).ranks == pytest.approx(tuple(np.array(found.ranks)[order]))


@given(tables)
def test_a_system_that_wins_everywhere_is_first(table: np.ndarray) -> None:
    table = table.copy()
    table[:, 0] = table.max() + 1
    found = rank_systems(table)
    assert found.ranks[0] == 1
    assert min(found.ranks[1:]) >= 2


values = st.integers(0, 9).map(float) | st.just(math.nan)
cubes = st.tuples(st.integers(1, 4), st.integers(2, 4), st.integers(1, 3)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=values)
)


@given(cubes)
def test_what_is_ranked_has_no_gaps(cube: np.ndarray) -> None:
    found, rows, kept = shared_values(cube)
    assert found.shape == (len(rows), len(kept))
    assert np.isfinite(found).all()
    assert rows == sorted(set(rows))
    assert kept == sorted(set(kept))
    for y, row in enumerate(rows):
        # The mean over exactly those probes that every kept system has.
        shared = [p for p in range(cube.shape[2]) if np.isfinite(cube[row, kept, p]).all()]
        assert shared
        for x, system in enumerate(kept):
            assert found[y, x] == pytest.approx(np.mean([cube[row, system, p] for p in shared]))


@given(cubes)
def test_no_system_is_dropped_while_all_share_two_tasks(cube: np.ndarray) -> None:
    def shared_by(systems: Sequence[int]) -> int:
        return sum(any(np.isfinite(task[list(systems), p]).all() for p in range(cube.shape[2])) for task in cube)

    _, rows, kept = shared_values(cube)
    every = range(cube.shape[1])
    assert len(rows) == (shared_by(kept) if rows else 0)
    if shared_by(every) >= 2:
        assert kept == list(every)


@given(cubes.map(np.nan_to_num))
def test_a_whole_table_is_kept_whole(cube: np.ndarray) -> None:
    found, rows, kept = shared_values(cube)
    assert (rows, kept) == (list(range(cube.shape[0])), list(range(cube.shape[1])))
    np.testing.assert_allclose(found, cube.mean(2))


@given(
    st.tuples(st.integers(1, 3), st.integers(3, 5), st.integers(2, 3)).flatmap(
        lambda shape: arrays(np.float64, shape, elements=values)
    )
)
def test_agreement_is_scipys_tau_over_the_tasks_that_have_three(cube: np.ndarray) -> None:
    tau, counts = mean_tau(cube)
    np.testing.assert_allclose(tau, tau.T)
    for a, b in itertools.product(range(cube.shape[2]), repeat=2):
        each = []
        for task in cube:
            both = np.isfinite(task[:, a]) & np.isfinite(task[:, b])
            if both.sum() >= 3:
                each.append(kendalltau(task[both, a], task[both, b]).statistic)
        defined = [t for t in each if math.isfinite(t)]
        assert counts[a, b] == len(defined)
        assert tau[a, b] == pytest.approx(np.mean(defined) if defined else math.nan, nan_ok=True)


def condition(task: str, better: str = "higher", corpus: str = "") -> Condition:
    metric, unit = ("accuracy", "%") if better == "higher" else ("mae", "")
    return Condition(
        task, "clips", metric, better, unit, corpus or f"corpus of {task}", "folds", "strict", "", name=task
    )


@given(tables)
def test_lower_is_better_turns_the_ranks_of_its_task(table: np.ndarray) -> None:
    n, k = table.shape
    higher = [(condition(f"t{y}"), f"e{x}", "linear", table[y, x]) for y in range(n) for x in range(k)]
    lower = [(condition(c.task, "lower"), e, p, -v) for c, e, p, v in higher]
    first, second = rank_values(higher, "encoder").ranking, rank_values(lower, "encoder").ranking
    assert first is not None
    assert second is not None
    assert first.ranks == pytest.approx(second.ranks)


def test_tasks_on_one_corpus_are_no_independent_evidence() -> None:
    cells = [(condition(f"t{t}", corpus="one"), e, "linear", 0.1 * t + (e == "a")) for t in range(4) for e in "ab"]
    found = rank_values(cells, "encoder")
    assert "the 4 tasks are on 1 corpus and are not independent evidence" in found.notes
    alone = rank_values(cells[:1], "encoder")
    assert alone.ranking is None
    assert alone.notes == ("nothing to rank: no two encoders share a task",)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5)), max_size=12))
def test_the_newest_of_each_key_is_shown_and_nothing_is_lost(items: list[tuple[str, int]]) -> None:
    cells, older = newest(items, lambda item: item[0], lambda item: str(item[1]))
    assert list(cells) == list(dict.fromkeys(key for key, _ in items))
    assert all(made == max(m for k, m in items if k == key) for key, (_, made) in cells.items())
    assert sorted([*cells.values(), *older]) == sorted(items)


@given(tables, st.integers(0, 5))
def test_what_can_not_be_ranked_is_refused(table: np.ndarray, place: int) -> None:
    assume(place < table.size)
    table = table.copy()
    table.flat[place] = math.inf
    with pytest.raises(ConfigError, match="finite values"):
        rank_systems(table)
    with pytest.raises(ConfigError, match="systems >= 2"):
        rank_systems(table[:, :1])
