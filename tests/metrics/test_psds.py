from __future__ import annotations

import math

import numpy as np
import pytest

from auricle.errors import ConfigError
from auricle.metrics.events import Event, join_overlapping
from auricle.metrics.psds import PSDS1, PSDS2, Psds, PsdsConfig

sed_scores_eval = pytest.importorskip("sed_scores_eval")

CLASSES = ("dog", "car", "bird")
RATE = 10.0


def example(
    seed: int, clips: int, noise: float
) -> tuple[dict[str, np.ndarray], dict[str, list[Event]], dict[str, float]]:
    """Clips of 8 s with separate events, and frame scores that follow them up to noise and to confusions."""
    generator = np.random.default_rng(seed)
    scores, truth = {}, {}
    for i in range(clips):
        events: list[Event] = []
        for label in CLASSES:
            if generator.random() < 0.7:
                onset = round(float(generator.uniform(0, 5)), 1)
                events.append((onset, round(onset + float(generator.uniform(0.5, 2.5)), 1), label))
        table = generator.normal(0, noise, (80, 3))
        for onset, offset, label in events:
            c = CLASSES.index(label)
            table[round(onset * RATE) : round(offset * RATE), c] += 1
            table[round(onset * RATE) : round(offset * RATE), (c + 1) % 3] += 0.4 * generator.random()
        scores[f"clip{i}"], truth[f"clip{i}"] = np.round(table, 2), events
    return scores, truth, dict.fromkeys(scores, 8.0)


def test_perfect_scores_reach_one_and_constant_scores_nothing() -> None:
    scores, truth, seconds = example(0, 12, 0.0)
    exact = {clip: (table >= 1).astype(float) for clip, table in scores.items()}
    for config in (PSDS1, PSDS2):
        found = Psds(exact, RATE, truth, seconds, CLASSES, config)
        assert found.value() == pytest.approx([1.0])
        assert {c: v[0] for c, v in found.class_values().items()} == pytest.approx(dict.fromkeys(CLASSES, 1.0))
    flat = {clip: np.zeros_like(table) for clip, table in scores.items()}
    assert Psds(flat, RATE, truth, seconds, CLASSES).value()[0] == 0.0


def test_by_hand() -> None:
    # One class, two clips of 30 min, one event each. Scores find the first event at .9, invent one at .8 (1 false alarm
    # in 1 h) and find the second event at .7: half of the events up to 1 false alarm an hour, all of them from there.
    scores = {"a": np.zeros((1800, 1)), "b": np.zeros((1800, 1))}
    truth: dict[str, list[Event]] = {"a": [(100.0, 110.0, "dog")], "b": [(100.0, 110.0, "dog")]}
    scores["a"][100:110] = 0.9
    scores["b"][500:510] = 0.8
    scores["b"][100:110] = 0.7
    seconds = {"a": 1800.0, "b": 1800.0}
    psds = Psds(scores, 1.0, truth, seconds, ["dog"], PsdsConfig(max_false_alarms=4.0))
    assert psds.value()[0] == pytest.approx((0.5 * 1 + 1.0 * 3) / 4)
    found = psds.value(np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
    # Clip a alone: found without false alarm. Clip b alone: found from 2 false alarms an hour on.
    np.testing.assert_allclose(found, [3.5 / 4, 1.0, 0.5, math.nan])


def slow_working_point(
    scores: dict[str, np.ndarray], truth: dict[str, list[Event]], threshold: float, name: str, config: PsdsConfig
) -> tuple[int, int]:
    """Events found and false detections at one threshold, from the definition, in whole frames."""
    column = CLASSES.index(name)
    found = false = 0
    for clip, table in scores.items():
        active = np.concatenate([[False], table[:, column] >= threshold, [False]])
        edges = np.flatnonzero(active[1:] != active[:-1])
        detections = list(zip(edges[::2], edges[1::2], strict=True))
        events = [(round(on * RATE), round(off * RATE)) for on, off, label in truth[clip] if label == name]
        good = []
        for begin, end in detections:
            inside = sum(max(0, min(end, off) - max(begin, on)) for on, off in events)
            if inside >= config.detection * (end - begin) - 1e-9:
                good.append((begin, end))
            else:
                false += 1
        for on, off in events:
            covered = sum(max(0, min(end, off) - max(begin, on)) for begin, end in good)
            found += covered >= config.truth * (off - on) - 1e-9
    return found, false


def test_against_a_slow_loop_over_thresholds() -> None:
    scores, truth, seconds = example(1, 10, 0.5)
    config = PsdsConfig(detection=0.5, truth=0.5, spread_weight=0.0, max_false_alarms=2000.0)
    hours = sum(seconds.values()) / 3600
    expected = {}
    for c, name in enumerate(CLASSES):
        levels = np.unique(np.concatenate([t[:, c] for t in scores.values()]))
        points = [slow_working_point(scores, truth, level, name, config) for level in levels]
        count = sum(label == name for events in truth.values() for _, _, label in events)
        limit = config.max_false_alarms * hours  # false alarms in the whole evaluation
        steps = np.append(np.arange(math.floor(limit) + 1), limit)
        heights = [max([tp for tp, fp in points if fp <= low], default=0) / count for low in steps[:-1]]
        expected[name] = float((heights * np.diff(steps)).sum() / limit)
    found = Psds(scores, RATE, truth, seconds, CLASSES, config)
    single = {c: v[0] for c, v in found.class_values().items()}
    assert single == pytest.approx(expected, abs=1e-12)
    assert found.value()[0] == pytest.approx(np.mean(list(single.values())))


def library_psds(prepared: Psds) -> tuple[float, dict[str, float]]:
    """The library's own sum over the same clips, and that of each class."""
    config = prepared.config
    whole, single, _, _ = sed_scores_eval.intersection_based.psds(
        scores=None,
        deltas=prepared._deltas,
        ground_truth=prepared._truth,
        audio_durations=dict(zip(prepared.clips, prepared._seconds.tolist(), strict=True)),
        dtc_threshold=config.detection,
        gtc_threshold=config.truth,
        cttc_threshold=config.cross_trigger if config.cross_weight else None,
        alpha_ct=config.cross_weight,
        alpha_st=config.spread_weight,
        max_efpr=config.max_false_alarms,
    )
    return float(whole), {name: float(single[code]) for name, code in prepared._codes.items()}


@pytest.mark.parametrize(
    "config", [PSDS1, PSDS2, PsdsConfig(cross_weight=1.0, spread_weight=0.0, max_false_alarms=800)]
)
def test_weights_are_repeated_clips(config: PsdsConfig) -> None:
    scores, truth, seconds = example(2, 6, 0.3)
    prepared = Psds(scores, RATE, truth, seconds, CLASSES, config)
    generator = np.random.default_rng(0)
    times = generator.integers(0, 3, (8, 6))
    times[0], times[1] = 1, [2, 0, 0, 0, 0, 0]
    found = prepared.value(times)
    assert found[0] == prepared.value()[0]
    for value, row in zip(found, times, strict=True):
        names = [(clip, k) for clip, w in zip(scores, row, strict=True) for k in range(w)]
        tables = [{f"{clip}-{k}": held[clip] for clip, k in names} for held in (scores, truth, seconds)]
        whole, single = library_psds(Psds(tables[0], RATE, tables[1], tables[2], CLASSES, config))  # type: ignore[arg-type]
        assert value == pytest.approx(whole, abs=1e-12)
        if (row == 1).all():
            assert {c: v[0] for c, v in prepared.class_values().items()} == pytest.approx(single, abs=1e-12)


def test_a_single_class_has_nothing_to_be_confused_with() -> None:
    scores, truth, seconds = example(4, 6, 0.3)
    only = {clip: [e for e in events if e[2] == "dog"] for clip, events in truth.items()}
    config = PSDS2.replace(max_false_alarms=1000.0)
    found = Psds(scores, RATE, only, seconds, CLASSES, config)
    assert found.classes == ("dog",)
    assert found.value()[0] == pytest.approx(found.value(np.ones((1, 6)))[0])
    assert 0 < found.value()[0] <= 1


def test_no_events_at_all() -> None:
    scores, _, seconds = example(4, 3, 0.3)
    empty = Psds(scores, RATE, {clip: [] for clip in scores}, seconds, CLASSES)
    assert math.isnan(empty.value()[0])
    assert np.isnan(empty.value(np.ones((2, 3)))).all()
    nothing = Psds({}, RATE, {}, {}, CLASSES)
    assert math.isnan(nothing.value()[0])


def test_bad_input_is_refused() -> None:
    scores, truth, seconds = example(5, 2, 0.3)
    bad = {clip: table.copy() for clip, table in scores.items()}
    bad["clip0"][0, 0] = math.nan
    with pytest.raises(ConfigError, match="1 scores of clip 'clip0' are not finite"):
        Psds(bad, RATE, truth, seconds, CLASSES)
    with pytest.raises(ConfigError, match="expected \\(T, 2\\)"):
        Psds(scores, RATE, {clip: [] for clip in scores}, seconds, CLASSES[:2])
    with pytest.raises(ConfigError, match="every frame to begin within its clip"):
        Psds(scores, RATE, truth, {"clip0": 7.0, "clip1": 8.0}, CLASSES)
    with pytest.raises(ConfigError, match=r"begins at 9\.0 s of 8\.0 s"):
        Psds(scores, RATE, {**truth, "clip1": [(9.0, 9.5, "dog")]}, seconds, CLASSES)
    with pytest.raises(ConfigError, match="1 annotated events overlap"):
        Psds(scores, RATE, {**truth, "clip1": [(1.0, 2.0, "dog"), (1.5, 3.0, "dog")]}, seconds, CLASSES)
    with pytest.raises(ConfigError, match="expected \\(R, 2\\)"):
        Psds(scores, RATE, truth, seconds, CLASSES).value(np.ones((1, 3)))
    with pytest.raises(ConfigError, match="finite number above 0"):
        PsdsConfig(max_false_alarms=0.0)


def test_any_label_is_a_class() -> None:
    scores, truth, seconds = example(6, 4, 0.3)
    odd = dict(zip(CLASSES, ("onset", "a\\b", "offset"), strict=True))
    renamed = {clip: [(on, off, odd[label]) for on, off, label in events] for clip, events in truth.items()}
    found = Psds(scores, RATE, renamed, seconds, list(odd.values()), PSDS2)
    expected = Psds(scores, RATE, truth, seconds, CLASSES, PSDS2)
    assert found.value() == expected.value()
    assert found.class_values() == {odd[name]: value for name, value in expected.class_values().items()}


def test_joining_counts_what_it_joins() -> None:
    events: dict[str, list[Event]] = {
        "a": [(2.0, 3.0, "dog"), (0.0, 1.0, "dog"), (0.5, 2.0, "dog"), (0.2, 0.4, "car")],
        "b": [(0.0, 1.0, "dog"), (1.1, 2.0, "dog")],
    }
    joined, count = join_overlapping(events)
    assert joined == {"a": [(0.0, 3.0, "dog"), (0.2, 0.4, "car")], "b": events["b"]}
    assert count == 2
