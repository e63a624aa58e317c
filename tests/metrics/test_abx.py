from __future__ import annotations

import csv
import math
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from auricle.errors import ConfigError
from auricle.metrics.abx import abx_error
from auricle.metrics.warping import warping_cost


def cheapest(table: np.ndarray) -> float:
    """The cheapest path by recursion over its last step."""

    @cache
    def cost(i: int, j: int) -> float:
        if i < 0 or j < 0:
            return math.inf
        before = 0.0 if i == j == 0 else min(cost(i - 1, j), cost(i, j - 1), cost(i - 1, j - 1))
        return float(table[i, j]) + before

    return cost(table.shape[0] - 1, table.shape[1] - 1)


def warping_path(distances: np.ndarray) -> np.ndarray:
    """The cheapest path `(steps, 2)` through one table, a cell at a time."""
    rows, columns = distances.shape
    total = np.full((rows + 1, columns + 1), math.inf)
    total[0, 0] = 0.0
    for i, j in product(range(rows), range(columns)):
        total[i + 1, j + 1] = distances[i, j] + min(total[i, j], total[i + 1, j], total[i, j + 1])
    path = [(rows - 1, columns - 1)]
    while path[-1] != (0, 0):
        i, j = path[-1]
        before = [(total[i, j], i - 1, j - 1), (total[i + 1, j], i, j - 1), (total[i, j + 1], i - 1, j)]
        _, i, j = min(before, key=lambda c: c[0])
        path.append((i, j))
    return np.array(path[::-1])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_warping_of_padded_batches(seed: int, whole: bool) -> None:
    generator = np.random.default_rng(seed)
    first, second = generator.integers(1, 7, 5), generator.integers(1, 8, 5)
    tables = generator.random((5, 6, 7))
    if whole:  # many ties
        tables = np.round(tables * 2)
    padded = tables.copy()
    for b in range(5):
        padded[b, first[b] :], padded[b, :, second[b] :] = math.nan, math.nan
    cost, steps = warping_cost(padded, first, second)
    for b in range(5):
        table = tables[b, : first[b], : second[b]]
        path = warping_path(table)
        assert cost[b] == pytest.approx(cheapest(table))
        assert cost[b] == pytest.approx(table[path[:, 0], path[:, 1]].sum())
        assert steps[b] == len(path)
        assert {tuple(d) for d in np.diff(path, axis=0).tolist()} <= {(0, 1), (1, 0), (1, 1)}


def slow_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean angle (over pi) along the cheapest path."""
    table = np.array(
        [[math.acos(float(np.clip(u @ v / np.linalg.norm(u) / np.linalg.norm(v), -1, 1))) for v in b] for u in a]
    )
    path = warping_path(table / math.pi)
    return float((table / math.pi)[path[:, 0], path[:, 1]].mean())


def slow_abx(items, categories, contexts, speakers, mode) -> float:  # type: ignore[no-untyped-def]
    """Triple by triple, from the definition."""
    cells: dict[tuple[str, ...], list[float]] = {}
    n = range(len(items))
    for a, b, x in product(n, n, n):
        if a == x or categories[a] != categories[x] or categories[a] == categories[b]:
            continue
        if not contexts[a] == contexts[b] == contexts[x]:
            continue
        if mode != "ignore" and speakers[a] != speakers[b]:
            continue
        if mode != "ignore" and (speakers[x] == speakers[a]) != (mode == "within"):
            continue
        key = (categories[a], categories[b], contexts[a])
        if mode != "ignore":
            key += (speakers[a], speakers[x])
        gap = slow_distance(items[x], items[a]) - slow_distance(items[x], items[b])
        cells.setdefault(key, []).append(0.5 if abs(gap) < 1e-12 else float(gap > 0))
    pairs: dict[tuple[str, ...], list[float]] = {}
    for key, errors in cells.items():
        pairs.setdefault(key[:2], []).append(float(np.mean(errors)))
    return float(np.mean([np.mean(errors) for errors in pairs.values()]))


@pytest.mark.parametrize("mode", ["ignore", "within", "across"])
@pytest.mark.parametrize("frames", [1, 4])
def test_against_all_triples(mode: str, frames: int) -> None:
    generator = np.random.default_rng(4)
    n = 14
    categories = [str(c) for c in generator.choice(["p", "b", "t"], n)]
    contexts = [str(c) for c in generator.choice(["a_a", "i_i"], n, p=[0.7, 0.3])]
    speakers = [str(s) for s in generator.choice(["s1", "s2"], n)]
    centres = {c: generator.normal(0, 1, 5) for c in "pbt"}
    items = [centres[c] + generator.normal(0, 1.2, (generator.integers(1, frames + 1), 5)) for c in categories]
    given_items = [item[0] for item in items] if frames == 1 else items
    found = abx_error(given_items, categories, contexts=contexts, speakers=speakers, mode=mode)  # type: ignore[arg-type]
    expected = slow_abx(items, categories, contexts, speakers, mode)
    assert 0 < expected < 1
    assert found.error == pytest.approx(expected, abs=1e-12)
    assert found.error == pytest.approx(np.mean(list(found.pairs.values())))


def test_by_hand() -> None:
    # On a line: a at 0 and 1, b at 2 and 10.
    items = [np.array([v]) for v in (0.0, 1.0, 2.0, 10.0)]
    found = abx_error(items, ["a", "a", "b", "b"], distance="euclidean")
    # X = 0: A is 1 away, B 2 and 10. X = 1: A 1 away, B 1 (a tie) and 9. X = 2: A 8 away, B 2 and 1. X = 10: 8; 10, 9.
    assert found.pairs == {("a", "b"): pytest.approx(0.5 / 4), ("b", "a"): pytest.approx(2 / 4)}
    assert found.error == pytest.approx(0.3125)
    assert found.triples == 8


def test_separate_and_equal_categories() -> None:
    generator = np.random.default_rng(0)
    apart = [generator.normal(0, 0.01, 4) + (5 if c == "a" else -5) for c in "ab" * 10]
    assert abx_error(apart, list("ab" * 10)).error == 0.0
    alike = [np.ones(4) for _ in range(20)]
    assert abx_error(alike, list("ab" * 10)).error == 0.5
    assert abx_error(alike, list("ab" * 10), distance="cosine").error == 0.5


def test_blocks_of_pairs_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(1)
    items = [generator.normal(0, 1, (generator.integers(1, 9), 3)) for _ in range(12)]
    whole = abx_error(items, list("abc" * 4))
    monkeypatch.setattr("auricle.metrics.abx.BLOCK", 200)
    assert abx_error(items, list("abc" * 4)) == whole


def test_no_triple_is_undefined() -> None:
    assert math.isnan(abx_error([], []).error)
    assert math.isnan(abx_error([np.ones(2)] * 3, ["a", "a", "a"]).error)
    assert math.isnan(abx_error([np.ones(2)] * 2, ["a", "b"]).error)
    assert math.isnan(abx_error([np.ones(2)] * 4, list("aabb"), speakers=["s"] * 4, mode="across").error)


def test_bad_items_are_refused() -> None:
    two = [np.ones(2), np.ones(2)]
    with pytest.raises(ConfigError, match="1 categories for 2 items"):
        abx_error(two, ["a"])
    with pytest.raises(ConfigError, match="across speakers without speakers"):
        abx_error(two, ["a", "b"], mode="across")
    with pytest.raises(ConfigError, match="did you mean 'cosine'"):
        abx_error(two, ["a", "b"], distance="cosin")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="item 1 has shape"):
        abx_error([np.ones(2), np.ones(3)], ["a", "b"])
    with pytest.raises(ConfigError, match="item 1 of shape"):
        abx_error([np.ones((1, 2)), np.ones((0, 2))], ["a", "b"])
    with pytest.raises(ConfigError, match="not finite"):
        abx_error([np.ones(2), np.array([1.0, math.nan])], ["a", "b"])
    with pytest.raises(ConfigError, match="NaN or infinite embeddings"):
        warping_cost(np.full((1, 2, 2), math.nan), np.array([2]), np.array([2]))
    with pytest.raises(ConfigError, match="lengths up to 3"):
        warping_cost(np.ones((1, 2, 2)), np.array([3]), np.array([2]))
    assert warping_cost(np.ones((0, 2, 2)), np.zeros(0, int), np.zeros(0, int))[0].size == 0


@pytest.mark.real
def test_syllables_of_a_finch(shared_audio: Path) -> None:
    """Spectra of hand-labelled syllables tell their classes apart; shuffled labels don't."""
    folder = shared_audio / "bengalese_finch"
    with (folder / "events.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:120]
    items, labels, waves = [], [], {}
    for row in rows:
        if row["file"] not in waves:
            waves[row["file"]] = soundfile.read(folder / row["file"])
        wave, rate = waves[row["file"]]
        begin, end = (int(float(row[key]) * rate) for key in ("onset", "offset"))
        part = wave[begin : max(end, begin + 512)]
        frames = np.lib.stride_tricks.sliding_window_view(part, 512)[::256] * np.hanning(512)
        items.append(np.log(np.abs(np.fft.rfft(frames))[:, 4:128] + 1e-3))
        labels.append(row["label"])
    found = abx_error(items, labels)
    assert found.triples > 1000
    assert found.error < 0.2
    shuffled = [labels[i] for i in np.random.default_rng(0).permutation(len(labels))]
    assert 0.35 < abx_error(items, shuffled).error < 0.65
