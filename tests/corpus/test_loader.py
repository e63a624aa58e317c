from __future__ import annotations

import threading
from collections import Counter

import numpy as np
import pytest
import torch

from auricle.corpus.loader import Batch, Loader, LoaderConfig
from auricle.corpus.order import make_plan
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus
from auricle.corpus.windows import WindowConfig
from auricle.errors import ConfigError, CorpusError

WINDOW = WindowConfig(seconds=0.25)


@pytest.fixture
def corpus(tmp_path, record):
    """Twenty clips of 0.1 to 0.575 s; clip i has the level (i + 1) / 100."""
    for i in range(20):
        record(tmp_path / f"{i:02d}.wav", seconds=0.1 + 0.025 * i, rate=8000, seed=i, level=(i + 1) / 100)
    return open_corpus(tmp_path)


def loader(corpus: Corpus, window: WindowConfig = WINDOW, **settings) -> Loader:
    where = {name: settings.pop(name) for name in ("rate", "seed", "rank", "world") if name in settings}
    return Loader(corpus, window, LoaderConfig(**{"batch": 6, "workers": 0, **settings}), **{"rate": 8000, **where})


def take(batches: Loader, begin: int, end: int) -> list[Batch]:
    return list(batches.iterate(begin, end))


def same(a: list[Batch], b: list[Batch]) -> bool:
    return len(a) == len(b) and all(
        (x.step, x.epoch) == (y.step, y.epoch)
        and torch.equal(x.clip, y.clip)
        and torch.equal(x.audio.wave, y.audio.wave)
        and torch.equal(x.audio.lengths, y.audio.lengths)
        for x, y in zip(a, b, strict=True)
    )


def place_of(part: np.ndarray, whole: np.ndarray) -> int:
    """Where a range of a recording begins in it."""
    heads = np.lib.stride_tricks.sliding_window_view(whole, 8)
    (found,) = np.flatnonzero(np.abs(heads - part[:8]).max(1) < 2e-5)
    np.testing.assert_allclose(part, whole[found : found + len(part)], atol=2e-5)
    return int(found)


def test_an_epoch_shows_each_clip_once(corpus):
    batches = loader(corpus, batch=5)
    assert batches.steps_per_epoch == 4
    steps = take(batches, 0, 8)
    assert [(b.step, b.epoch) for b in steps] == [(i, i // 4) for i in range(8)]
    first, second = (torch.cat([b.clip for b in part]).tolist() for part in (steps[:4], steps[4:]))
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second
    assert steps[0].audio.wave.shape == (5, 2000)
    assert steps[0].audio.rate == 8000
    assert all(b.audio.lengths.eq(2000).all() for b in steps)


def test_rows_are_the_clips_that_they_name(corpus):
    batch = next(loader(corpus).iterate())
    for row, index in zip(batch.audio.wave, batch.clip.tolist(), strict=True):
        clip = corpus.audio(index, 8000)
        if len(clip) < 2000:
            expected = np.tile(clip, 20)[:2000]
            np.testing.assert_allclose(row, expected, atol=2e-5)
        else:
            place_of(row.numpy(), clip)


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("settings", [{}, {"cache_mb": 0}, {"buckets": 3}], ids=str)
def test_the_same_batches_at_any_number_of_workers(corpus, workers, settings):
    window = WINDOW.replace(variable="buckets" in settings, crop="energy")
    reference = take(loader(corpus, window, batch=4, seed=7, **settings), 0, 12)
    assert same(take(loader(corpus, window, batch=4, seed=7, workers=workers, **settings), 0, 12), reference)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("start", [1, 3, 5])
def test_a_resume_goes_on_exactly(corpus, workers, start):
    """A fresh loader with an empty cache gives the batches that an old one with a full cache would have given."""
    uninterrupted = take(loader(corpus), 0, 10)
    assert same(take(loader(corpus, workers=workers), start, 10), uninterrupted[start:])
    iterator = loader(corpus, workers=2).iterate()
    head = [next(iterator) for _ in range(start)]
    iterator.close()
    assert same(head, uninterrupted[:start])


def test_the_numbers_do_not_depend_on_the_cache(corpus):
    kept, none = loader(corpus), loader(corpus, cache_mb=0)
    assert same(take(kept, 0, 9), take(none, 0, 9))
    assert len(kept._cache) == 20
    assert len(none._cache) == 0


def test_seeds_differ(corpus):
    orders = [torch.cat([b.clip for b in take(loader(corpus, seed=seed), 0, 3)]).tolist() for seed in (0, 1, 2)]
    assert orders[0] != orders[1] != orders[2]


def test_ranks_share_each_batch(corpus):
    whole = take(loader(corpus), 0, 7)
    parts = [take(loader(corpus, rank=rank, world=3, workers=rank), 0, 7) for rank in range(3)]
    for step, batch in enumerate(whole):
        assert all(len(part[step].clip) == 2 for part in parts)
        wave = torch.zeros_like(batch.audio.wave)
        for rank, part in enumerate(parts):
            wave[rank::3] = part[step].audio.wave
        assert torch.equal(wave, batch.audio.wave)
    with pytest.raises(ConfigError, match=r"4 ranks can't share evenly; set --loader.batch 4"):
        loader(corpus, world=4)
    with pytest.raises(ConfigError, match="rank 2 is not among 2 ranks"):
        loader(corpus, rank=2, world=2)


def test_an_incomplete_last_batch(corpus):
    assert loader(corpus, batch=6).steps_per_epoch == 3
    batches = loader(corpus, batch=6, drop_last=False)
    assert [len(b.clip) for b in take(batches, 0, 8)] == [6, 6, 6, 2, 6, 6, 6, 2]
    # Two clips are left, which three ranks can't share.
    assert loader(corpus, batch=6, drop_last=False, world=3).steps_per_epoch == 3


def test_a_seconds_budget(corpus):
    assert {len(b.clip) for b in take(loader(corpus, batch_seconds=1.0), 0, 5)} == {4}
    assert {len(b.clip) for b in take(loader(corpus, batch_seconds=0.1), 0, 5)} == {1}
    window = WindowConfig(seconds=0.5, variable=True)
    steps = take(loader(corpus, window, batch_seconds=1.5, buckets=4), 0, 20)
    assert len({len(b.clip) for b in steps}) > 1
    # Rounded up by a sample a clip at most.
    assert all(b.audio.wave.numel() <= 1.5 * 8000 + 20 for b in steps)


def test_length_buckets_cut_the_padding(corpus):
    window = WindowConfig(seconds=0.5, variable=True)
    one, four = loader(corpus, window, batch=5), loader(corpus, window, batch=5, buckets=4)
    assert four.padding() < 0.5 * one.padding()
    steps = take(four, 0, four.steps_per_epoch)
    seen = sum(int(b.audio.lengths.sum()) for b in steps)
    room = sum(b.audio.wave.numel() for b in steps)
    assert 1 - seen / room == pytest.approx(four.padding(), abs=1e-3)
    for batch in steps:
        longest = int(batch.audio.lengths.max())
        assert batch.audio.wave.shape[1] == longest
        for row, length in zip(batch.audio.wave, batch.audio.lengths.tolist(), strict=True):
            assert not row[length:].any()
    assert Counter(torch.cat([b.clip for b in steps]).tolist()) == Counter(range(20))


def test_padded_windows_say_how_long_they_are(corpus):
    batch = next(loader(corpus, WINDOW.replace(short="pad"), batch=20).iterate())
    seconds = np.asarray(corpus.column("seconds"))[batch.clip.numpy()]
    np.testing.assert_array_equal(batch.audio.lengths.numpy(), np.minimum(np.round(seconds * 8000), 2000))


@pytest.fixture
def damaged(tmp_path, record, corpus):
    """The twenty clips, some of them beyond use in ways that only decoding shows."""
    rng = np.random.default_rng(0)
    record(tmp_path / "03.wav", np.where(np.arange(1000) == 7, np.nan, 0.1), rate=8000, subtype="FLOAT")
    record(tmp_path / "07.wav", np.zeros(2000), rate=8000)
    record(tmp_path / "12.wav", np.array([0.5]), rate=8000)
    (tmp_path / "15.wav").write_bytes(b"")
    (tmp_path / "18.wav").unlink()
    whole = record(tmp_path / "x.flac", rng.uniform(-1, 1, 4000), rate=8000).read_bytes()
    (tmp_path / "05.wav").write_bytes(whole[: len(whole) // 2])
    return corpus


BAD = {3, 5, 7, 12, 15, 18}


@pytest.mark.parametrize("workers", [0, 3])
def test_bad_recordings_are_replaced_counted_and_listed(damaged, workers):
    batches = loader(damaged, batch=5, workers=workers)
    steps = take(batches, 0, 8)
    clips = [int(i) for b in steps for i in b.clip]
    assert BAD.isdisjoint(clips)
    assert len(clips) == 40
    assert sorted(batches.broken) == [f"{i:02d}.wav" for i in sorted(BAD)]
    reasons = batches.broken
    assert "NaN" in reasons["03.wav"]
    assert "silent" in reasons["07.wav"]
    assert "too short" in reasons["12.wav"]
    assert "no such file" in reasons["18.wav"]
    for batch in steps:
        assert len(set(batch.clip.tolist())) == len(batch.clip)
    good = take(loader(damaged, batch=5, workers=0), 0, 8)
    assert same(steps, good)
    assert same(take(loader(damaged, batch=5, workers=workers), 5, 8), good[5:])


def test_clips_known_to_be_too_short_are_left_out_from_the_start(tmp_path, record):
    for i in range(6):
        record(tmp_path / f"{i}.wav", seconds=0.2)
    record(tmp_path / "one.wav", np.array([0.5]))
    batches = loader(open_corpus(tmp_path), batch=6)
    assert sorted(next(batches.iterate()).clip.tolist()) == list(range(6))
    assert batches.broken == {"one.wav": "too short: 6.25e-05 s"}


def test_silent_clips_can_be_kept(tmp_path, record):
    record(tmp_path / "a.wav", np.zeros(4000), rate=8000)
    corpus = open_corpus(tmp_path)
    assert not next(loader(corpus, batch=1, skip_silent=False).iterate()).audio.wave.any()
    with pytest.raises(
        CorpusError,
        match=r"1 recording can't be used, and no other was found for a window; the last one: a.wav: silent",
    ):
        next(loader(corpus, batch=1).iterate())


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_usable_ends_with_a_reason(tmp_path, record, workers):
    for i in range(4):
        record(tmp_path / f"{i}.wav")
    corpus = open_corpus(tmp_path)
    for i in range(4):
        (tmp_path / f"{i}.wav").write_bytes(b"no audio")
    with pytest.raises(CorpusError, match=r"4 recordings can't be used.*Run `auricle corpus scan`"):
        next(loader(corpus, batch=2, workers=workers).iterate())
    assert threading.active_count() < 20


@pytest.fixture
def dominated(tmp_path, record):
    """A recording that its table takes for 400 s, half of a minute of which is there, among five short clips."""
    for i in range(5):
        record(tmp_path / f"{i}.wav", seconds=0.3, rate=8000, seed=i)
    record(tmp_path / "long.wav", seconds=30, rate=8000)
    files = [*(f"{i}.wav" for i in range(5)), "long.wav"]
    return Corpus.from_columns({"file": files, "seconds": [0.3] * 5 + [400.0]}, root=tmp_path)


@pytest.mark.parametrize("workers", [0, 2])
def test_one_bad_recording_that_fills_the_epoch_stops_nothing(dominated, workers):
    (dominated.root / "long.wav").write_bytes(b"no audio")
    batches = loader(dominated, batch=4, sampling="duration", workers=workers)
    assert batches.steps_per_epoch == 401
    steps = take(batches, 0, 30)
    assert {int(i) for b in steps for i in b.clip} <= set(range(5))
    assert list(batches.broken) == ["long.wav"]
    assert same(take(loader(dominated, batch=4, sampling="duration"), 20, 30), steps[20:])


def test_the_sound_ranges_of_a_broken_recording_are_used_also_after_a_resume(dominated):
    steps = take(loader(dominated, batch=4, sampling="duration"), 0, 60)
    clips = Counter(int(i) for b in steps for i in b.clip)
    assert clips[5] > 0.03 * 240  # 30 s of 400 s: one place in thirteen
    assert sum(clips.values()) == 240
    assert same(take(loader(dominated, batch=4, sampling="duration", workers=2), 40, 60), steps[40:])


def test_long_recordings_are_read_by_range(tmp_path, record, monkeypatch):
    record(tmp_path / "long.wav", seconds=20, rate=8000)
    corpus = open_corpus(tmp_path)
    asked = []
    whole = corpus.audio(0, 8000)
    real = Corpus.audio

    def audio(self, index, rate=16000, *, start=0.0, seconds=None):
        asked.append(seconds)
        return real(self, index, rate, start=start, seconds=seconds)

    monkeypatch.setattr(Corpus, "audio", audio)
    for crop, span in (("random", 0.25), ("energy", 1.0), ("centre", 0.25), ("start", 0.25)):
        batches = loader(corpus, WINDOW.replace(crop=crop), batch=1)
        steps = take(batches, 0, 6)
        assert set(asked) == {span}
        asked.clear()
        assert all(b.audio.lengths.tolist() == [2000] for b in steps)
        starts = {place_of(b.audio.wave[0].numpy(), whole) for b in steps}
        assert len(starts) == (6 if crop in ("random", "energy") else 1)


def test_ranges_of_long_recordings(tmp_path, record):
    record(tmp_path / "long.wav", seconds=3, rate=8000)
    batches = loader(open_corpus(tmp_path).segments(0.25), batch=12)
    batch = next(batches.iterate())
    assert sorted(batch.clip.tolist()) == list(range(12))
    assert batch.audio.lengths.tolist() == [2000] * 12


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch": 0}, "loader.batch is 0; expected a whole number of at least 1"),
        ({"workers": -2}, "loader.workers is -2"),
        ({"batch_seconds": 0.0}, "loader.batch_seconds is 0.0"),
    ],
)
def test_impossible_settings_are_refused(corpus, settings, message):
    with pytest.raises(ConfigError, match=message):
        loader(corpus, **settings)


def test_an_empty_corpus_is_refused(corpus):
    with pytest.raises(CorpusError, match="nothing to load: no clips"):
        loader(corpus.select([]))
    with pytest.raises(CorpusError, match=r"nothing to load: the longest of 20 clips has 0.575 s"):
        loader(corpus, shortest=1.0)


def test_sampling_by_duration_draws_every_second_alike() -> None:
    """Windows per clip follow its length within one, and a clip's windows lie apart in the epoch."""
    seconds = np.array([0.5, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0])
    plan = make_plan(seconds, WindowConfig(seconds=1.0), LoaderConfig(batch=4, sampling="duration"), 1)
    total = np.zeros(len(seconds))
    for number in range(200):
        order = plan.epoch(seed=3, epoch=number).order
        assert len(order) == 32
        counts = np.bincount(order, minlength=len(seconds))
        assert (np.abs(counts - seconds) < 1).all()
        places = np.flatnonzero(order == 6)
        assert np.diff(places).max() <= 6  # sixteen windows among 32: never far from every second place
        total += counts
    np.testing.assert_allclose(total / 200, seconds, atol=0.12)
    assert plan.steps == 8


def test_sampling_by_duration_keeps_at_least_as_many_windows_as_clips() -> None:
    seconds = np.full(10, 0.2)
    plan = make_plan(seconds, WindowConfig(seconds=5.0), LoaderConfig(batch=5, sampling="duration"), 1)
    assert sorted(plan.epoch(0, 0).order) == list(range(10))
