"""Numbers that an earlier form of the intervals, keys and records had wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prediction_cases import units
from test_record import record

from auricle.corpus.table import Corpus, Event
from auricle.errors import CorpusError
from auricle.metrics.catalogue import METRICS
from auricle.metrics.intervals import score_interval
from auricle.results.caveats import without_stale
from auricle.results.record import Result
from auricle.results.scoring import compare_predictions
from auricle.tasks.regression.answers import RegressionPredictions


def numbers(predicted: np.ndarray) -> RegressionPredictions:
    return RegressionPredictions(**units(1), truth=np.linspace(0.0, 1.0, 24), predicted=predicted[None], unit="")


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
def test_a_comparison_of_correlations_ignores_offset_and_scale(metric: str) -> None:
    draw = np.random.default_rng(0)
    truth = np.linspace(0.0, 1.0, 24)
    good, poor = truth + 0.1 * draw.normal(size=24), truth + 0.6 * draw.normal(size=24)
    plain = compare_predictions(numbers(good), numbers(poor), metric)
    for offset, scale in ((100.0, 1.0), (0.0, 10.0), (-3.0, 0.1)):
        moved = compare_predictions(numbers(offset + scale * good), numbers(poor), metric)
        assert moved.value == pytest.approx(plain.value)
        assert moved.p == pytest.approx(plain.p, nan_ok=True)
        assert (moved.interval.low, moved.interval.high) == pytest.approx((plain.interval.low, plain.interval.high))


def test_a_score_that_rests_on_one_source_has_no_interval() -> None:
    left_out = np.array([0.999, 0.999, 0.999, 0.999, 0.999, -4.0])
    found = score_interval(0.9999, left_out, METRICS["r2"], np.ones(60), np.arange(60) % 6, "sources")
    assert not found.known
    assert "rests on few" in found.method


def test_a_recording_annotated_as_empty_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    columns = {"file": ["a.wav", "b.wav"], "seconds": [1.0, 1.0]}
    for name in columns["file"]:
        (tmp_path / str(name)).write_bytes(str(name).encode())
    events = [Event("a.wav", 0.1, 0.5, "dog")]
    corpus = Corpus.from_columns(columns, root=tmp_path, events=events)
    assert corpus.event_table is not None
    empty = corpus.event_table.slice(0, 1).to_pydict() | {"file": ["b.wav"], "onset": [None], "offset": [None]}
    table = type(corpus.event_table).from_pydict(
        {name: corpus.event_table.column(name).to_pylist() + empty[name] for name in corpus.event_table.column_names},
        schema=corpus.event_table.schema,
    )
    known = Corpus.from_columns(columns, root=tmp_path, events=table)
    assert known.events == corpus.events
    assert known.fingerprint != corpus.fingerprint


WRONG: list[Any] = [None, 3, -1.5, "x", True, [], {}, [None], {"a": 1}, [[1]]]


def test_edited_records_are_read_or_refused_in_words() -> None:
    data = record(key="1").to_json()
    refused = 0
    for name in data:
        for value in WRONG:
            edited = json.loads(json.dumps({**data, name: value}))
            try:
                Result.from_json(edited)
            except CorpusError as error:
                refused += f"its {name} is" in str(error)
            without_stale([edited], lambda each: each)
    assert refused > 200
