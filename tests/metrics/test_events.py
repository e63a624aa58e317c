from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auricle.errors import ConfigError
from auricle.metrics.event_sweep import quick_event_counts, quick_segment_counts
from auricle.metrics.events import (
    Event,
    event_counts,
    segment_counts,
)

pytest.importorskip("sed_eval")

CLASSES = ("dog", "car", "bird")
Table = dict[str, list[Event]]


def table(generator: np.random.Generator, clips: int, most: int, step: float | None = None) -> Table:
    """Random events of 10 s clips; on a grid of `step` seconds, so that many pairs lie exactly on a limit."""
    found: Table = {}
    for c in range(clips):
        events = []
        for _ in range(generator.integers(0, most + 1)):
            onset, length = generator.uniform(0, 9), generator.uniform(0.05, 3)
            if step:
                onset, length = round(onset / step) * step, max(round(length / step), 1) * step
            events.append((onset, onset + length, CLASSES[generator.integers(len(CLASSES))]))
        found[f"clip{c}"] = events
    return found


SECONDS = {f"clip{c}": 10.0 for c in range(40)}


# One clip of 4 s, by hand. Seconds:      0    1    2    3
# dog is annotated 0.2-1.5            ->  dog  dog
# car is annotated 2.1-2.9            ->            car
# estimated: dog 0.3-0.9, bird 1.2-1.8, bird 3.1-3.3
TRUE: Table = {"clip0": [(0.2, 1.5, "dog"), (2.1, 2.9, "car")]}
SAID: Table = {"clip0": [(0.3, 0.9, "dog"), (1.2, 1.8, "bird"), (3.1, 3.3, "bird")]}


def test_segments_by_hand() -> None:
    counts = segment_counts(TRUE, SAID, {"clip0": 4.0}, CLASSES)
    # Second 0: dog found. 1: dog missed and bird invented, a substitution. 2: car missed. 3: bird invented.
    assert counts.hits.tolist() == [[1, 0, 0]]
    assert counts.reference.tolist() == [[2, 1, 0]]
    assert counts.estimated.tolist() == [[1, 0, 2]]
    assert [float(v[0]) for v in (counts.substitutions, counts.deletions, counts.insertions)] == [1, 1, 1]
    assert segment_counts(TRUE, SAID, {"clip0": 4.0}, CLASSES).f1()[0] == pytest.approx(2 * 1 / (3 + 3))
    assert segment_counts(TRUE, SAID, {"clip0": 4.0}, CLASSES).error_rate()[0] == pytest.approx(3 / 3)
    # dog: 2 * 1 / (2 + 1); car: 0; bird has no annotation and does not count.
    assert counts.macro_f1()[0] == pytest.approx((2 / 3 + 0) / 2)
    assert counts.class_scores()["dog"] == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "reference": 2}


def test_events_by_hand() -> None:
    assert event_counts(TRUE, SAID, CLASSES).f1()[0] == pytest.approx(2 * 1 / (2 + 3))
    assert event_counts(TRUE, SAID, CLASSES, collar=0.05).f1()[0] == 0.0
    # The dog's offset is 0.6 s early: more than a fifth of 1.3 s, less than half of it.
    assert event_counts(TRUE, SAID, CLASSES, offset=True).f1()[0] == 0.0
    assert event_counts(TRUE, SAID, CLASSES, offset=True, offset_share=0.5).f1()[0] == pytest.approx(2 / 5)


def test_an_event_matches_once_and_matching_is_optimal() -> None:
    true: Table = {"a": [(1.0, 2.0, "dog"), (1.3, 2.0, "dog")]}
    # The first estimate fits both, the second only the first annotation: greedy matching would lose one.
    said: Table = {"a": [(1.15, 2.0, "dog"), (0.85, 2.0, "dog"), (1.16, 2.0, "dog")]}
    assert event_counts(true, said, CLASSES).hits.sum() == 2


def slow_segment_numbers(true: Table, said: Table, seconds: float, step: float) -> tuple[float, float]:
    """Micro F1 and error rate from the definition: does any point of a segment lie within an event?"""
    hits = refs = ests = wrong = 0
    for clip in true:
        for k in range(math.ceil(seconds / step)):
            begin, end = k * step, (k + 1) * step
            r = {label for on, off, label in true[clip] if on < end and off > begin}
            e = {label for on, off, label in said[clip] if on < end and off > begin}
            hits, refs, ests = hits + len(r & e), refs + len(r), ests + len(e)
            wrong += max(len(r - e), len(e - r))
    return 2 * hits / (refs + ests), wrong / refs


@pytest.mark.parametrize("step", [1.0, 0.25])
def test_segments_against_a_slow_loop(step: float) -> None:
    generator = np.random.default_rng(3)
    true, said = table(generator, 8, 6), table(generator, 8, 6)
    counts = segment_counts(true, said, SECONDS, CLASSES, resolution=step)
    expected = slow_segment_numbers(true, said, 10.0, step)
    assert (counts.f1()[0], counts.error_rate()[0]) == pytest.approx(expected, abs=1e-12)


def test_onset_hits_against_mir_eval() -> None:
    mir_eval = pytest.importorskip("mir_eval")
    generator = np.random.default_rng(5)
    true, said = table(generator, 6, 12), table(generator, 6, 12)
    counts = event_counts(true, said, CLASSES, collar=0.2)
    for i, clip in enumerate(true):
        for c, name in enumerate(CLASSES):
            r = np.array([e[0] for e in true[clip] if e[2] == name])
            s = np.array([e[0] for e in said[clip] if e[2] == name])
            assert counts.hits[i, c] == len(mir_eval.util.match_events(r, s, 0.2))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([None, 0.1]), st.booleans())
def test_quick_counts_are_those_of_the_library(seed: int, step: float | None, offset: bool) -> None:
    generator = np.random.default_rng(seed)
    true, said = table(generator, 3, 12, step), table(generator, 3, 12, step)
    slow = event_counts(true, said, CLASSES, collar=0.3, offset=offset)
    fast = quick_event_counts(true, said, CLASSES, collar=0.3, offset=offset)
    for key in ("hits", "reference", "estimated"):
        np.testing.assert_array_equal(getattr(fast, key), getattr(slow, key), key)
    assert math.isnan(fast.error_rate()[0])
    for resolution in (1.0, 0.1):
        slow = segment_counts(true, said, SECONDS, CLASSES, resolution=resolution)
        fast = quick_segment_counts(true, said, SECONDS, CLASSES, resolution=resolution)
        for key in ("hits", "reference", "estimated", "substitutions", "deletions", "insertions"):
            np.testing.assert_array_equal(getattr(fast, key), getattr(slow, key), key)


def test_weights_are_repeated_clips() -> None:
    generator = np.random.default_rng(7)
    true, said = table(generator, 5, 6), table(generator, 5, 6)
    times = generator.integers(0, 4, (6, 5))
    times[0] = 0
    for counts, again in (
        (
            segment_counts(true, said, SECONDS, CLASSES),
            lambda t, s: segment_counts(t, s, dict.fromkeys(t, 10.0), CLASSES),
        ),
        (event_counts(true, said, CLASSES), lambda t, s: event_counts(t, s, CLASSES)),
    ):
        found = np.stack([counts.f1(times), counts.macro_f1(times), counts.error_rate(times)], axis=1)
        assert np.isnan(found[0]).all()
        for row, weights in zip(found[1:], times[1:], strict=True):
            names = [(clip, k) for clip, w in zip(true, weights, strict=True) for k in range(w)]
            repeated = [{f"{clip}-{k}": t[clip] for clip, k in names} for t in (true, said)]
            once = again(*repeated)
            np.testing.assert_allclose(row, [once.f1()[0], once.macro_f1()[0], once.error_rate()[0]])


def test_what_is_empty_has_a_defined_result() -> None:
    nothing: Table = {"clip0": []}
    assert math.isnan(segment_counts(nothing, nothing, SECONDS, CLASSES).f1()[0])
    assert math.isnan(segment_counts(nothing, SAID, SECONDS, CLASSES).error_rate()[0])
    assert math.isnan(event_counts(nothing, SAID, CLASSES).f1()[0])
    assert event_counts(TRUE, nothing, CLASSES).f1()[0] == 0.0
    assert segment_counts(TRUE, nothing, SECONDS, CLASSES).f1()[0] == 0.0
    assert segment_counts(TRUE, nothing, SECONDS, CLASSES).error_rate()[0] == 1.0
    assert math.isnan(event_counts({}, {}, CLASSES).f1()[0])
    assert math.isnan(event_counts(TRUE, SAID, CLASSES).class_f1()[0, 2])


@pytest.mark.parametrize(
    ("true", "said", "words"),
    [
        ({"a": [(0.0, 1.0, "dgo")]}, {"a": []}, "did you mean 'dog'"),
        ({"a": []}, {"a": [(-0.1, 1.0, "dog")]}, "an estimated event 'dog' of clip 'a' lasts from -0.1"),
        ({"a": [(1.0, 1.0, "dog")]}, {"a": []}, "expected 0 <= onset < offset"),
        ({"a": [(1.0, math.nan, "dog")]}, {"a": []}, "nan"),
        ({"a": []}, {"b": []}, "no estimates for 'a'"),
        ({"a": []}, {"a": [], "b": []}, "estimates for 'b'"),
        ({"a": [(1.0, 2.0)]}, {"a": []}, "expected \\(onset, offset, label\\)"),
    ],
)
def test_bad_events_are_refused(true: Table, said: Table, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        segment_counts(true, said, {"a": 5.0}, CLASSES)


def test_bad_settings_are_refused() -> None:
    for call in (segment_counts, quick_segment_counts):
        with pytest.raises(ConfigError, match="length None"):
            call(TRUE, SAID, {}, CLASSES)
        with pytest.raises(ConfigError, match="segments of 0"):
            call(TRUE, SAID, SECONDS, CLASSES, resolution=0.0)
    for count in (event_counts, quick_event_counts):
        with pytest.raises(ConfigError, match="collar -1"):
            count(TRUE, SAID, CLASSES, collar=-1.0)
    with pytest.raises(ConfigError, match="0 classes"):
        event_counts(TRUE, SAID, [])
    with pytest.raises(ConfigError, match="one column for each unit"):
        event_counts(TRUE, SAID, CLASSES).f1(np.ones((1, 2)))


@pytest.mark.real
@pytest.mark.parametrize("corpus", ["mdb_drums", "sed_synth"])
def test_real_annotations_shifted(shared_audio: Path, corpus: str) -> None:
    true: Table = {}
    with (shared_audio / corpus / "events.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            true.setdefault(row["file"], []).append((float(row["onset"]), float(row["offset"]), row["label"]))
    names = sorted({e[2] for events in true.values() for e in events})
    assert event_counts(true, true, names, offset=True).f1()[0] == 1.0
    late = {clip: [(on + 0.1, off + 0.1, label) for on, off, label in events] for clip, events in true.items()}
    assert event_counts(true, late, names, collar=0.11).f1()[0] == 1.0
    fast = quick_event_counts(true, late, names, collar=0.03)
    slow = event_counts(true, late, names, collar=0.03)
    np.testing.assert_array_equal(fast.hits, slow.hits)
