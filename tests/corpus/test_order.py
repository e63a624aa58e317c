"""Properties of epochs that hold for any corpus, batch and number of ranks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from auricle.corpus.order import LoaderConfig, Plan, _buckets, fitted, make_plan
from auricle.corpus.windows import WindowConfig
from auricle.errors import ConfigError, CorpusError

LENGTHS = st.lists(st.floats(0.05, 40.0), min_size=1, max_size=60)
BATCHES, WORLDS, SEEDS = st.integers(1, 9), st.sampled_from([1, 2, 3]), st.integers(0, 2**31)


@given(lengths=LENGTHS, batch=BATCHES, world=WORLDS, buckets=st.integers(0, 5), drop=st.booleans(), seed=SEEDS)
@settings(max_examples=150)
def test_an_epoch_has_every_clip_at_most_once_in_even_batches(
    lengths: list[float], batch: int, world: int, buckets: int, drop: bool, seed: int
) -> None:
    seconds = np.array(lengths)
    config = LoaderConfig(batch=batch * world, buckets=buckets, drop_last=drop)
    window = WindowConfig(seconds=5.0, variable=True)
    try:
        plan = make_plan(seconds, window, config, world)
    except ConfigError as error:
        if "set loader.batch to at most" in str(error) and len(lengths) < batch * world * max(1, buckets):
            return
        raise
    epoch = plan.epoch(seed, 0)
    assert sorted(epoch.order.tolist()) == list(range(len(seconds)))
    assert len(epoch.bounds) == plan.steps + 1
    sizes = np.diff(epoch.bounds)
    assert (sizes > 0).all()
    assert (sizes % world == 0).all()
    assert (sizes <= batch * world).all()
    assert not drop or (sizes == batch * world).all()
    if not drop:
        assert len(seconds) - epoch.bounds[-1] < world * max(1, len(plan.groups))
    assert np.array_equal(epoch.order, plan.epoch(seed, 0).order)
    tried = [epoch.replacement(0, attempt) for attempt in range(len(seconds))]
    assert sorted(tried) == list(range(len(seconds))), "in the end every clip is tried as a replacement"
    assert tried[0] == epoch.order[0]


@given(lengths=st.lists(st.floats(0.1, 100.0), min_size=2, max_size=40), seed=SEEDS)
@settings(max_examples=150)
def test_by_duration_a_clip_is_drawn_as_often_as_its_windows_rounded_down_or_up(
    lengths: list[float], seed: int
) -> None:
    seconds = np.array(lengths)
    plan = Plan(((np.arange(len(seconds)), 1),), True, 1, seconds, 2.0)
    drawn = plan.epoch(seed, 3).order
    count = max(len(seconds), round(seconds.sum() / 2.0))
    assert len(drawn) == count
    fair = seconds * count / seconds.sum()
    copies = np.bincount(drawn, minlength=len(seconds))
    assert (copies >= np.floor(fair - 1e-6)).all()
    assert (copies <= np.ceil(fair + 1e-6)).all()


def test_by_duration_windows_of_a_long_clip_are_spread_over_the_epoch() -> None:
    seconds = np.array([100.0, *[1.0] * 100])
    order = Plan(((np.arange(101), 1),), True, 1, seconds, 1.0).epoch(5, 0).order
    places = np.flatnonzero(order == 0)
    assert len(places) == 100
    halves = [int((places // 50 == quarter).sum()) for quarter in range(4)]
    assert max(halves) - min(halves) <= 12


@given(lengths=LENGTHS, count=st.integers(2, 8))
def test_buckets_part_the_clips_by_length(lengths: list[float], count: int) -> None:
    values = np.array(lengths)
    parts = _buckets(values, count)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(values)))
    assert 1 <= len(parts) <= count
    for shorter, longer in itertools.pairwise(parts):
        assert values[shorter].max() < values[longer].min(), "equal lengths stay in one bucket"


@given(lengths=LENGTHS, budget=st.floats(6.0, 200.0), world=WORLDS)
def test_a_budget_of_seconds_is_kept_by_every_batch(lengths: list[float], budget: float, world: int) -> None:
    assume(budget >= 5.0 * world)
    seconds = np.array(lengths)
    config = LoaderConfig(batch_seconds=budget, buckets=3, drop_last=False)
    try:
        plan = make_plan(seconds, WindowConfig(seconds=5.0, variable=True), config, world)
    except ConfigError:
        if len(lengths) < world * 3:
            return
        raise
    epoch = plan.epoch(0, 0)
    for first, last in zip(epoch.bounds, epoch.bounds[1:], strict=False):
        padded = np.minimum(seconds[epoch.order[first:last]], 5.0).max() * (last - first)
        assert padded <= budget + 1e-9


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    plan = make_plan(np.ones(50), WindowConfig(), LoaderConfig(batch=5), 1)
    orders = {tuple(plan.epoch(seed, epoch).order) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_what_can_not_be_planned_is_refused_with_a_remedy() -> None:
    with pytest.raises(CorpusError, match=r"the longest of 3 clips has 0.04 s; clips of at least 0.05 s are needed"):
        make_plan(np.full(3, 0.04), WindowConfig(), LoaderConfig(batch=1), 1)
    with pytest.raises(CorpusError, match="no clips"):
        make_plan(np.zeros(0), WindowConfig(), LoaderConfig(batch=1), 1)
    with pytest.raises(ConfigError, match=r"3 ranks can't share evenly; set --loader.batch 6"):
        make_plan(np.ones(30), WindowConfig(), LoaderConfig(batch=8), 3)
    with pytest.raises(ConfigError, match=r"fills 7 windows in an epoch, fewer than the 8 ranks .*start fewer ranks"):
        fitted(np.ones(7), WindowConfig(), LoaderConfig(batch=8), 8)


def test_a_batch_fits_a_small_corpus() -> None:
    """A batch of at most all windows, shared evenly; every clip is drawn, and a batch that is filled stays."""
    lengths, variable = np.linspace(1, 5, 30), WindowConfig(seconds=5.0, variable=True)
    by_duration = LoaderConfig(batch=64, sampling="duration")
    for config, window, world, batch in (
        (LoaderConfig(batch=30), WindowConfig(), 1, None),
        (LoaderConfig(batch=32), WindowConfig(), 4, 28),
        (by_duration, WindowConfig(seconds=1.0), 1, None),
        (LoaderConfig(batch=8, buckets=4), variable, 1, None),
        (LoaderConfig(batch=40, buckets=4), variable, 1, 30),
        (LoaderConfig(batch_seconds=1000.0), variable, 1, 30),
        (LoaderConfig(batch=64, drop_last=False), WindowConfig(), 1, None),
    ):
        found = fitted(lengths, window, config, world)
        assert found == (config if batch is None else config.replace(batch=batch, batch_seconds=None))
        plan = make_plan(lengths, window, found, world)
        assert all(plan.windows(members) >= (count if found.drop_last else 1) for members, count in plan.groups)
        assert sorted(np.concatenate([members for members, _ in plan.groups])) == list(range(30))


def test_the_number_of_threads_follows_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LoaderConfig(workers=0).threads() == 0
    assert LoaderConfig(workers=5).threads() == 5
    for cores, threads in ((1, 1), (2, 1), (4, 2), (64, 8)):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, n=cores: set(range(n)), raising=False)
        assert LoaderConfig().threads() == threads
