"""Answers of event tasks: metrics under weightings, files, order, comparisons."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from auricle.errors import ConfigError, CorpusError
from auricle.metrics.catalogue import METRICS
from auricle.metrics.events import Event, event_counts, segment_counts
from auricle.metrics.psds import PSDS1, PSDS2, Psds
from auricle.results.predictions import load_predictions, save_predictions
from auricle.results.scoring import compare_predictions, score
from auricle.tasks.events.answers import EventPredictions
from auricle.tasks.events.decoding import Decoding, decode
from auricle.tasks.events.rule import EventsRule
from auricle.tasks.events.targets import frame_targets

pytest.importorskip("sed_eval")
pytest.importorskip("sed_scores_eval")

CLASSES, RATE, FRAMES = ("a", "b", "c"), 10.0, 60
HOW = Decoding((0.5, 0.5, 0.5))


def events_of(generator: np.random.Generator) -> list[Event]:
    found = []
    for label in CLASSES[:2] if generator.random() < 0.3 else CLASSES:
        edges = np.sort(generator.choice(np.arange(FRAMES), 2 * int(generator.integers(0, 3)), replace=False))
        found += [(a / RATE, b / RATE, label) for a, b in edges.reshape(-1, 2).tolist()]
    return sorted(found)


def answers(
    clips: int = 8,
    *,
    noise: float = 0.25,
    seed: int = 0,
    rule: EventsRule | None = None,
    names: list[int] | None = None,
) -> EventPredictions:
    """Answers of two seeds to random clips in two folds; `names` repeats clips under new names."""
    generator = np.random.default_rng(7)
    truth = [events_of(generator) for _ in range(clips)]
    generator = np.random.default_rng(seed)
    scores = []
    for _ in range(2):
        tables = [frame_targets(e, CLASSES, FRAMES, RATE) for e in truth]
        scores.append([(t + generator.normal(size=t.shape) * noise).clip(-1, 2).astype(np.float32) for t in tables])
    rows = list(range(clips)) if names is None else names
    return EventPredictions.count(
        rule=rule or EventsRule(),
        classes=CLASSES,
        names=np.array([f"clip{i}-{k}" for k, i in enumerate(rows)] if names else [f"clip{i}" for i in rows]),
        group=np.array([f"source{i // 2}" for i in rows]),
        fold=np.array([i % 2 for i in rows], dtype=np.int64),
        seconds=np.full(len(rows), FRAMES / RATE),
        truth=[truth[i] for i in rows],
        said=[[decode(each[i], RATE, FRAMES / RATE, CLASSES, HOW) for i in rows] for each in scores],
        scores=[[each[i] for i in rows] for each in scores],
        rate=RATE,
        seeds=(0, 1),
    )


def test_metrics_are_those_of_the_libraries() -> None:
    predictions = answers()
    assert all(name in METRICS for name in predictions.metrics)
    ones = np.ones((1, 8))
    names = [str(c) for c in predictions.names]
    true = dict(zip(names, predictions.true(), strict=True))
    for s in range(2):
        said = dict(zip(names, predictions.found(s), strict=True))
        segments = segment_counts(true, said, dict.fromkeys(names, 6.0), CLASSES)
        onsets = event_counts(true, said, CLASSES)
        ends = event_counts(true, said, CLASSES, offset=True)
        expected = {
            "segment_f1": segments.f1(),
            "segment_f1_macro": segments.macro_f1(),
            "segment_error_rate": segments.error_rate(),
            "event_f1": onsets.f1(),
            "event_f1_macro": onsets.macro_f1(),
            "event_error_rate": onsets.error_rate(),
            "event_f1_offset": ends.f1(),
            "event_f1_offset_macro": ends.macro_f1(),
        }
        for metric, value in expected.items():
            assert predictions.measure(metric, ones)[s] == pytest.approx(value), metric
        for metric, config in (("psds1", PSDS1), ("psds2", PSDS2)):
            each = []
            for fold in (0, 1):
                mine = [i for i in range(8) if i % 2 == fold]
                scores = {names[i]: predictions.scores[s, i * FRAMES : (i + 1) * FRAMES] for i in mine}
                lists = {names[i]: true[names[i]] for i in mine}
                each.append(Psds(scores, RATE, lists, dict.fromkeys(scores, 6.0), CLASSES, config).value()[0])
            assert predictions.measure(metric, ones)[s, 0] == pytest.approx(np.mean(each)), metric
    assert 0.2 < predictions.measure("segment_f1", ones)[0, 0] < 1
    assert predictions.measure("psds1", ones)[0, 0] != predictions.measure("psds1", ones)[1, 0]


def test_weights_are_repeated_clips() -> None:
    predictions = answers()
    times = np.random.default_rng(1).integers(0, 3, (3, 8)).astype(np.float64)
    times[2] = 0
    for r in range(2):
        rows = [i for i in range(8) for _ in range(int(times[r, i]))]
        again = answers(names=rows)
        ones = np.ones((1, len(rows)))
        for metric in predictions.metrics:
            np.testing.assert_allclose(
                predictions.measure(metric, times)[:, r], again.measure(metric, ones)[:, 0], err_msg=metric
            )
    for metric in predictions.metrics:
        assert np.isnan(predictions.measure(metric, times)[:, 2]).all()


def test_scores_have_intervals_and_details() -> None:
    predictions = answers(12)
    found = score(predictions, "segment_f1")
    assert found.interval.low < found.value < found.interval.high
    assert "6 test sources" in found.interval.method
    assert len(found.values) == 2
    assert len(found.values[0]) == 2
    assert set(found.metrics) == set(EventsRule().metrics())
    detail = found.detail
    assert detail["classes"] == list(CLASSES)
    counts = (
        predictions.counts("segments", 0).class_scores()["a"],
        predictions.counts("segments", 1).class_scores()["a"],
    )
    assert detail["per_class"]["a"]["segment_f1"] == pytest.approx(np.mean([c["f1"] for c in counts]))
    assert detail["per_class"]["a"]["events"] == sum(e[2] == "a" for events in predictions.true() for e in events)
    by_psds = score(predictions, "psds2")
    assert by_psds.interval.low <= by_psds.value <= by_psds.interval.high
    with pytest.raises(ConfigError, match="did you mean 'segment_f1'"):
        score(predictions, "segmnt_f1")


def test_files_and_order(tmp_path: Path) -> None:
    predictions = answers()
    save_predictions(tmp_path / "a.npz", predictions)
    back = load_predictions(tmp_path / "a.npz")
    assert isinstance(back, EventPredictions)
    assert back.rule == predictions.rule
    order = np.random.default_rng(0).permutation(8)
    turned = back.reorder(predictions.names[order])
    weights = np.random.default_rng(1).random((4, 8))
    for metric in predictions.metrics:
        expected = predictions.measure(metric, weights)
        np.testing.assert_allclose(back.measure(metric, weights), expected)
        np.testing.assert_allclose(turned.measure(metric, weights[:, order]), expected, err_msg=metric)
    assert turned.true() == [predictions.true()[i] for i in order]
    assert turned.found(1) == [predictions.found(1)[i] for i in order]
    assert turned.same_truth(turned)
    with pytest.raises(CorpusError, match="the same units"):
        predictions.reorder(np.array(["x"] * 8))
    with pytest.raises(CorpusError, match="hold scores of shape"):
        replace(predictions, scores=predictions.scores[:, 1:])


def test_comparisons_are_paired() -> None:
    good, bad = answers(), answers(noise=0.9, seed=3)
    order = np.random.default_rng(0).permutation(8)
    difference = compare_predictions(good, bad.reorder(bad.names[order]), "segment_f1")
    assert difference.value > 0
    assert difference.value == pytest.approx(
        float(good.measure("segment_f1", np.ones((1, 8))).mean() - bad.measure("segment_f1", np.ones((1, 8))).mean())
    )
    with pytest.raises(CorpusError, match="differ in the truth"):
        compare_predictions(good, answers(rule=EventsRule(resolution=0.5)), "segment_f1")


def test_onsets_are_judged_without_offsets_and_curves() -> None:
    predictions = answers(rule=EventsRule(sounds="onsets", collar=0.05))
    assert predictions.metrics[0] == "event_f1"
    assert not {"event_f1_offset", "psds1"} & set(predictions.metrics)
    assert predictions.scores.shape == (2, 0, 3)
    assert math.isfinite(score(predictions, "event_f1").value)
    assert "psds1" not in EventsRule(psds=False).metrics()
