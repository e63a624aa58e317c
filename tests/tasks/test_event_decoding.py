"""From scores to events and back, and what validation clips choose."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auricle.metrics.event_sweep import quick_event_counts, quick_segment_counts
from auricle.metrics.events import Event
from auricle.probes.frames.runs import odd_frames, smoothed
from auricle.tasks.events.decoding import THRESHOLDS, Decoding, choose_decoding, decode
from auricle.tasks.events.rule import EventsRule
from auricle.tasks.events.targets import frame_targets

CLASSES = ("a", "b", "c")
HALF = Decoding((0.5, 0.5, 0.5))


def on_grid(generator: np.random.Generator, frames: int, rate: float) -> list[Event]:
    """Events whose ends are frames' ends; those of a class lie apart."""
    events = []
    for label in CLASSES:
        edges = np.sort(generator.choice(np.arange(frames), 2 * int(generator.integers(0, 4)), replace=False))
        events += [(a / rate, b / rate, label) for a, b in edges.reshape(-1, 2).tolist()]
    return sorted(events)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([6.25, 12.5, 100.0]))
def test_events_survive_frames_and_back(seed: int, rate: float) -> None:
    frames = 60
    events = on_grid(np.random.default_rng(seed), frames, rate)
    table = frame_targets(events, CLASSES, frames, rate)
    found = decode(table, rate, frames / rate, CLASSES, HALF)
    assert [e[2] for e in found] == [e[2] for e in events]
    np.testing.assert_allclose([e[:2] for e in found], [e[:2] for e in events])


def test_last_frame_short_events_and_filter_by_hand() -> None:
    table = np.zeros((10, 3), dtype=np.float32)
    table[2, 0] = table[5:10, 0] = table[4, 1] = 0.9
    table[7, 0] = 0.2
    # The clip is longer than its frames: what sounds in the last one sounds to the end.
    assert decode(table, 10.0, 1.04, CLASSES, HALF) == [
        (0.2, 0.3, "a"),
        (0.4, 0.5, "b"),
        (0.5, 0.7, "a"),
        (0.8, 1.04, "a"),
    ]
    # It is shorter: frames behind its end are not looked at.
    assert decode(table, 10.0, 0.85, CLASSES, HALF)[-1] == (0.8, 0.85, "a")
    assert [e[2] for e in decode(table, 10.0, 1.0, CLASSES, Decoding((0.5,) * 3, shortest=0.2))] == ["a", "a"]
    # A median of three frames fills the hole and removes what is shorter than two frames.
    assert decode(table, 10.0, 1.0, CLASSES, Decoding((0.5,) * 3, smooth=0.3)) == [(0.5, 1.0, "a")]
    assert decode(table, 10.0, 1.0, CLASSES, Decoding((0.95, 0.5, 0.5))) == [(0.4, 0.5, "b")]
    assert [odd_frames(10.0, s) for s in (0.0, 0.1, 0.25, 0.3, 0.5, 1.0)] == [1, 1, 3, 3, 5, 9]
    assert smoothed(table, 10.0, 0.1) is table


def test_onsets_are_the_highest_frames_around() -> None:
    table = np.zeros((20, 3), dtype=np.float32)
    table[[2, 3, 4, 8, 9, 15], 0] = [0.3, 0.9, 0.6, 0.7, 0.7, 0.4]
    found = decode(table, 20.0, 1.0, CLASSES, Decoding((0.5,) * 3, shortest=0.05), lasting=False)
    # 0.6 stands beside 0.9; of two equal ones the first counts; 0.4 is too low.
    assert [e[0] for e in found] == pytest.approx([3.5 / 20, 8.5 / 20])
    assert all(e[1] - e[0] == pytest.approx(0.1) for e in found)
    apart = decode(table, 20.0, 1.0, CLASSES, Decoding((0.5,) * 3, shortest=0.4), lasting=False)
    assert [e[0] for e in apart] == pytest.approx([3.5 / 20])
    assert decode(table[:0], 20.0, 1.0, CLASSES, HALF, lasting=False) == []
    assert decode(table[:0], 20.0, 1.0, CLASSES, HALF) == []


def noisy(seed: int, clips: int = 8, rate: float = 10.0) -> tuple[dict, dict, dict]:
    """Scores that know the truth, each class in a range of its own, with noise."""
    generator = np.random.default_rng(seed)
    truth, scores, seconds = {}, {}, {}
    for i in range(clips):
        events = on_grid(generator, 100, rate)
        table = frame_targets(events, CLASSES, 100, rate)
        level = np.array([0.1, 0.5, 0.85])
        noise = generator.normal(size=table.shape) * 0.08
        scores[f"c{i}"] = np.clip(level + (table - 0.5) * 0.15 + noise, 0.001, 0.999).astype(np.float32)
        truth[f"c{i}"], seconds[f"c{i}"] = events, 10.0
    return truth, scores, seconds


@pytest.mark.parametrize("metric", ["segment_f1", "event_f1", "event_f1_offset", "segment_f1_macro", "psds1"])
def test_thresholds_are_the_best_of_each_class(metric: str) -> None:
    truth, scores, seconds = noisy(0)
    rule = EventsRule(smooth=(0.0,), shortest=(0.0,), resolution=0.5)

    def count(level: tuple[float, ...]):
        said = {c: decode(t, 10.0, 10.0, CLASSES, Decoding(level)) for c, t in scores.items()}
        if metric.startswith("event"):
            return quick_event_counts(truth, said, CLASSES, offset=metric.endswith("offset"))
        return quick_segment_counts(truth, said, seconds, CLASSES, resolution=0.5)

    found, value, tried = choose_decoding(scores, truth, seconds, CLASSES, 10.0, rule, metric)
    assert tried == len(THRESHOLDS)
    counts = count(found.threshold)
    macro = metric.endswith("macro")
    assert value == pytest.approx((counts.macro_f1() if macro else counts.f1())[0])
    # Classes do not touch each other: every choice of three thresholds from one count a threshold.
    each = [count((t,) * 3) for t in THRESHOLDS]
    hits, said = (np.stack([getattr(c, name).sum(0) for c in each]) for name in ("hits", "estimated"))
    true, K = each[0].reference.sum(0), range(len(THRESHOLDS))
    if macro:
        best = np.mean([max(2 * hits[k, c] / (true[c] + said[k, c]) for k in K) for c in range(3)])
    else:
        best = max(
            2 * (hits[i, 0] + hits[j, 1] + hits[k, 2]) / (true.sum() + said[i, 0] + said[j, 1] + said[k, 2])
            for i, j, k in itertools.product(K, K, K)
        )
    assert value == pytest.approx(best)
    one, common, _ = choose_decoding(scores, truth, seconds, CLASSES, 10.0, rule.replace(thresholds="global"), metric)
    assert len(set(one.threshold)) == 1
    assert common == pytest.approx(max((c.macro_f1() if macro else c.f1())[0] for c in each))
    assert common < value


def test_filter_and_shortest_event_are_chosen_too() -> None:
    truth, scores, seconds = noisy(1)
    rule = EventsRule(smooth=(0.0, 0.1, 0.3, 0.5), shortest=(0.0, 0.2))
    found, value, tried = choose_decoding(scores, truth, seconds, CLASSES, 10.0, rule, "event_f1")
    # 0 and 0.1 s are both one frame; the second length is tried with the best filter only.
    assert tried == 4 * len(THRESHOLDS)
    each = {
        (smooth, shortest): choose_decoding(
            scores, truth, seconds, CLASSES, 10.0, EventsRule(smooth=(smooth,), shortest=(shortest,)), "event_f1"
        )[1]
        for smooth, shortest in itertools.product((0.0, 0.3, 0.5), (0.0, 0.2))
    }
    best = max((0.0, 0.3, 0.5), key=lambda s: each[s, 0.0])
    assert value == pytest.approx(max(each[best, 0.0], each[best, 0.2]))
    assert found.smooth == best > 0
    assert Decoding.from_json(found.to_json()) == found


def test_classes_that_validation_does_not_know() -> None:
    truth, scores, seconds = noisy(2)
    # b has no validation event: the best common threshold of a and c; c is there and scored at random: silence.
    truth = {c: [e for e in events if e[2] != "b"] for c, events in truth.items()}
    rule = EventsRule(smooth=(0.0,), shortest=(0.0,))
    found, _, _ = choose_decoding(scores, truth, seconds, CLASSES, 10.0, rule, "segment_f1")
    pair = {c: t[:, [0, 2]] for c, t in scores.items()}
    common, _, _ = choose_decoding(
        pair, truth, seconds, ("a", "c"), 10.0, rule.replace(thresholds="global"), "segment_f1"
    )
    assert found.threshold[1] == common.threshold[0]
    never = {c: t * np.array([1, 1, 0], dtype=np.float32) for c, t in scores.items()}
    silent, _, _ = choose_decoding(never, truth, seconds, CLASSES, 10.0, rule, "segment_f1")
    assert silent.threshold[2] == THRESHOLDS[-1]


def test_onset_spacing_is_chosen_on_validation() -> None:
    truth, scores, seconds = {}, {}, {}
    generator = np.random.default_rng(0)
    for i in range(6):
        times = np.sort(generator.choice(np.arange(5, 95, 10), 5, replace=False))
        table = np.full((100, 3), 0.05, dtype=np.float32)
        table[times, 0] = 0.9
        table[times + 2, 0] = 0.7  # an echo that a wider spacing swallows
        truth[f"c{i}"] = [((t + 0.5) / 50, (t + 0.5) / 50 + 0.1, "a") for t in times.tolist()]
        scores[f"c{i}"], seconds[f"c{i}"] = table + generator.random((100, 3)).astype(np.float32) * 0.01, 2.0
    rule = EventsRule(sounds="onsets", collar=0.03, shortest=(0.02, 0.1))
    found, value, _ = choose_decoding(scores, truth, seconds, CLASSES, 50.0, rule, "event_f1")
    assert (value, found.smooth) == (1.0, 0.0)
    only_narrow = choose_decoding(
        scores, truth, seconds, CLASSES, 50.0, rule.replace(shortest=(0.02,), thresholds="global"), "event_f1"
    )
    assert only_narrow[1] == 1.0  # by a threshold between hit and echo
