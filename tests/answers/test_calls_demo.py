"""The detector of the demonstration: what is labelled, and how its detections are counted."""

from __future__ import annotations

import csv
from pathlib import Path

from auricle.answers.calls_demo import CALLS_LABELLED, LABELLED, Detected, _labelled
from auricle.corpus.sources import open_corpus
from auricle.corpus.synthetic.render import CALLS


def test_calls_and_detections_are_counted_by_overlap() -> None:
    truth = [(0.0, 1.0), (2.0, 3.0), (5.0, 6.0)]
    found = Detected.of(truth, [(0.5, 2.5), (3.0, 5.0), (7.0, 8.0)])
    # Touching is no overlap: the second detection holds no call, and the third call is missed.
    assert found == Detected(calls=3, hits=3, found=2, false=2)
    assert found.words == "2 of 3 calls found; 2 of 3 detections hold none"
    assert Detected.of(truth, []).words == "0 of 3 calls found; 0 of 0 detections hold none"


def test_of_a_recording_all_calls_are_labelled_or_it_is_not_there(tmp_path: Path) -> None:
    corpus = open_corpus(LABELLED.format(6))
    folder = _labelled(corpus, tmp_path)
    with (folder / "events.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == CALLS_LABELLED
    assert {row["label"] for row in rows} == {CALLS}
    opened = open_corpus(folder)
    assert len(opened) == 4
    for place in range(len(opened)):
        whole = [event for event in corpus.events_of(place) if event.label == CALLS]
        assert [event.onset for event in opened.events_of(place)] == [event.onset for event in whole]
