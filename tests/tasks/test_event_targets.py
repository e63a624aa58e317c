"""Strong labels: what is left out and said, and which frames are ones."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auricle.corpus.readers.event_tables import check_events
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus, Event
from auricle.errors import ConfigError, CorpusError
from auricle.tasks.card import TaskCard
from auricle.tasks.events.rule import EventsRule
from auricle.tasks.events.targets import frame_targets, make_events

CARD = TaskCard(name="toys", rule=EventsRule())


def corpus(events: list[tuple[str, float, float, str]], files: tuple[str, ...] = ("a", "b", "c")) -> Corpus:
    columns = {"file": list(files), "seconds": [10.0] * len(files)}
    return Corpus.from_columns(columns, root="nowhere", name="toys", events=[Event(*e) for e in events])


def read(events: list[tuple[str, float, float, str]], rule: EventsRule | None = None, **columns: list[str]):
    made = corpus(events)
    if columns:
        table = made.event_table
        for name, values in columns.items():
            table = table.append_column(name, pa.array(values))
        made = replace(made, event_table=table)
    rule = rule or EventsRule()
    return make_events(CARD.replace(rule=rule, label=next(iter(columns), "label")), rule, made)


def test_impossible_times_are_left_out_and_counted() -> None:
    lists = read(
        [
            ("a", 1.0, 2.0, "dog"),
            ("a", -0.5, 1.0, "dog"),
            ("a", 3.0, 2.5, "dog"),
            ("b", 4.0, math.nan, "dog"),
            ("b", 11.0, 12.0, "dog"),
            ("b", 9.5, 12.0, "cat"),
        ],
        EventsRule(complete_annotation=True),
    )
    assert lists.classes == ("cat", "dog")
    assert lists.events == (((1.0, 2.0, "dog"),), ((9.5, 10.0, "cat"),), ())
    text = "\n".join(lists.notes)
    for words in ("a negative onset", "an offset that is not after", "no number", "after the recording's end"):
        assert f"1 with {words}" in text or words in text
    assert "cut at the end of the recording: 1 event" in text
    assert "no events in 1 of 3 clips" in text


def test_recordings_without_a_row_are_unknown_unless_the_annotation_is_complete() -> None:
    """A recording that nobody annotated must not be scored as one without events."""
    events = [("a", 1.0, 2.0, "dog"), ("c", 1.0, 2.0, "cat")]
    lists = read(events)
    assert lists.rows.tolist() == [0, 2]
    assert len(lists.events) == 2
    assert any("1 of 3 clips have no row in the table of events" in note for note in lists.notes)
    complete = read(events, EventsRule(complete_annotation=True))
    assert complete.rows.tolist() == [0, 1, 2]
    assert complete.events[1] == ()


def test_overlapping_events_of_a_class_are_joined_where_sounds_last() -> None:
    events = [("a", 1.0, 2.0, "dog"), ("a", 1.5, 3.0, "dog"), ("a", 1.8, 2.2, "cat"), ("b", 5.0, 6.0, "dog")]
    lists = read(events)
    assert lists.events[0] == ((1.0, 3.0, "dog"), (1.8, 2.2, "cat"))
    assert any("1 event was joined" in note for note in lists.notes)
    lists = make_events(CARD, EventsRule(), check_events(corpus(events)))
    assert [note for note in lists.notes if "earlier one" in note] == [note for note in lists.notes if "joined" in note]
    hits = read([*events, ("a", 1.5, 1.6, "dog")], EventsRule(sounds="onsets"))
    assert [e[0] for e in hits.events[0] if e[2] == "dog"] == [1.0, 1.5]
    assert any("1 repeated onset was excluded" in note for note in hits.notes)


def test_rare_classes_and_other_columns() -> None:
    events = [("a", 1.0, 2.0, "dog"), ("a", 4.0, 5.0, "dog"), ("b", 1.0, 2.0, "cat")]
    lists = read(events, EventsRule(least=2, complete_annotation=True))
    assert lists.classes == ("dog",)
    assert lists.events == (((1.0, 2.0, "dog"), (4.0, 5.0, "dog")), (), ())
    assert any("fewer than 2 events were excluded: cat (1)" in note for note in lists.notes)
    named = read(events, EventsRule(complete_annotation=True), breed=["terrier", "terrier", "tom"])
    assert named.classes == ("terrier", "tom")
    np.testing.assert_array_equal(named.targets().truth, [[1, 0], [0, 1], [0, 0]])


def test_cut_clips_have_the_events_in_their_own_time() -> None:
    pieces = corpus([("a", 1.0, 5.5, "dog"), ("a", 5.0, 7.0, "cat")]).segments(5.0)
    lists = make_events(CARD, EventsRule(), pieces)
    assert lists.events[:2] == (((1.0, 5.0, "dog"),), ((0.0, 0.5, "dog"), (0.0, 2.0, "cat")))


def test_what_can_not_serve_is_refused() -> None:
    silent = Corpus.from_columns({"file": ["a"], "seconds": [1.0]}, root="nowhere", name="toys")
    with pytest.raises(CorpusError, match=r"has no events.*put an events\.csv"):
        make_events(CARD, EventsRule(), silent)
    with pytest.raises(CorpusError, match="no column 'species'; found file, onset, offset, label"):
        make_events(CARD.replace(label="species"), EventsRule(), corpus([("a", 0.0, 1.0, "x")]))
    with pytest.raises(CorpusError, match="no usable event: 0 of 1 event used; 1 skipped: 1 with a negative onset"):
        read([("a", -1.0, 1.0, "x")])
    made = corpus([("a", -1.0, 1.0, "x")])
    checked = check_events(replace(made, ledger=made.ledger.add("event", used=1)))
    with pytest.raises(CorpusError, match=r"no usable event: .*0 of 1 event used; 1 skipped: 1 with a negative onset"):
        make_events(CARD, EventsRule(), checked)
    with pytest.raises(CorpusError, match="fewer than 5 events"):
        read([("a", 0.0, 1.0, "x")], EventsRule(least=5))
    for wrong in ({"sounds": "lsating"}, {"collar": 0.0}, {"smooth": ()}, {"frame": -1.0}, {"thresholds": "each"}):
        with pytest.raises(ConfigError):
            EventsRule(**wrong)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([6.25, 12.5, 50.0]))
def test_frames_are_ones_where_an_event_covers_half_of_them(seed: int, rate: float) -> None:
    generator = np.random.default_rng(seed)
    events = []
    for _ in range(5):
        onset = float(generator.uniform(0, 9))
        events.append((onset, onset + float(generator.uniform(0.01, 2.0)), "ab"[generator.integers(2)]))
    frames = int(8 * rate)
    found = frame_targets(events, ("a", "b"), frames, rate)
    expected = np.zeros((frames, 2))
    for onset, offset, label in events:
        share = [max(0.0, min(offset, (t + 1) / rate) - max(onset, t / rate)) * rate for t in range(int(12 * rate) + 1)]
        on = [t for t, s in enumerate(share) if s >= 0.5] or [int(np.argmax(share))]
        expected[[t for t in on if t < frames], "ab".index(label)] = 1
    np.testing.assert_array_equal(found, expected)
    hits = frame_targets(events, ("a", "b"), frames, rate, lasting=False)
    for c, label in enumerate("ab"):
        assert {int(e[0] * rate) for e in events if e[2] == label and e[0] * rate < frames} == set(
            np.flatnonzero(hits[:, c]).tolist()
        )


@pytest.mark.real
@pytest.mark.parametrize(("name", "events", "classes"), [("sed_synth", 529, 6), ("mdb_drums", 1715, 6)])
def test_real_annotations(shared_audio: Path, name: str, events: int, classes: int) -> None:
    rule = EventsRule(sounds="onsets" if name == "mdb_drums" else "lasting")
    lists = make_events(CARD, rule, open_corpus(shared_audio / name))
    assert sum(map(len, lists.events)) == events
    assert len(lists.classes) == classes
    table = frame_targets(lists.events[0], lists.classes, int(lists.seconds[0] * 100), 100.0, lasting=False)
    assert table.sum() == len({(int(e[0] * 100), e[2]) for e in lists.events[0]})
