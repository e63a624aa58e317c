"""Rows of windows, events of windows and of frames: times, scores, thresholds, joining."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from toy_heads import FRAME, RATE, LoudHead, recording, tone_model

from auricle.audio.batch import Audio
from auricle.corpus import stretches
from auricle.errors import ConfigError, CorpusError
from auricle.models import Model


def rows(model: Model, path: Path, **settings: object) -> list[tuple[float, float, str, float]]:
    found = model.predict_file(path, **settings).to_pylist()
    return [(row["start"], row["end"], row["label"], row["score"]) for row in found]


@pytest.fixture
def owl(tmp_path: Path) -> Path:
    return recording(tmp_path / "owl.wav", 30.0, ("low", 5.0, 10.0), ("high", 7.5, 20.0))


def test_windows_have_the_labels_above_the_threshold(owl: Path) -> None:
    found = rows(tone_model(segment=5.0), owl)
    assert [row[:3] for row in found] == [
        (5.0, 10.0, "low"), (10.0, 15.0, "high"), (15.0, 20.0, "high"),
    ]  # fmt: skip
    assert found[0][3] > 0.6
    assert [row[:3] for row in rows(tone_model(segment=5.0), owl, threshold=0.2)] == [
        (5.0, 10.0, "low"), (5.0, 10.0, "high"), (10.0, 15.0, "high"), (15.0, 20.0, "high"),
    ]  # fmt: skip
    assert len(rows(tone_model(segment=5.0), owl, threshold=0.0)) == 12
    assert [row[:3] for row in rows(tone_model(segment=5.0), owl, threshold=0.2, top=1)] == [row[:3] for row in found]
    assert [row[:3] for row in rows(tone_model(segment=5.0, thresholds=(0.9, 0.9)), owl)] == [
        row[:3] for row in found[1:]
    ]
    # One label a clip and no threshold: the best one.
    assert len(rows(tone_model(segment=5.0, single=True, thresholds=()), owl)) == 6


def test_scores_are_those_of_the_same_samples(owl: Path) -> None:
    model = tone_model()
    wave, _ = soundfile.read(owl, dtype="float32")
    for start, end, label, score in rows(model, owl, segment=4.0, hop=1.7, threshold=0.0):
        said = model.predict(wave[round(start * RATE) : round(end * RATE)], RATE)
        assert score == pytest.approx(float(said[model.classes.index(label)]), abs=1e-6)


def test_windows_are_joined_to_events(owl: Path) -> None:
    model = tone_model(segment=2.0)
    assert [row[:3] for row in rows(model, owl, hop=0.5, merge=0, threshold=0.1)] == [
        (3.5, 11.5, "low"), (6.0, 21.5, "high"),
    ]  # fmt: skip
    best = max(row[3] for row in rows(model, owl, hop=0.5, threshold=0.1) if row[2] == "low")
    assert rows(model, owl, hop=0.5, merge=0, threshold=0.1)[0][3] == best
    assert [row[2] for row in rows(model, owl, hop=0.5, merge=0, threshold=0.1, shortest=10.0)] == ["high"]


def test_gaps_up_to_a_length_are_joined(tmp_path: Path) -> None:
    path = recording(tmp_path / "a.wav", 20.0, ("low", 2.0, 4.0), ("low", 6.0, 8.0), ("low", 13.0, 14.0))
    model = tone_model(segment=1.0)
    assert [row[:2] for row in rows(model, path, merge=1.9)] == [(2.0, 4.0), (6.0, 8.0), (13.0, 14.0)]
    assert [row[:2] for row in rows(model, path, merge=2.0)] == [(2.0, 8.0), (13.0, 14.0)]


@pytest.mark.parametrize("rate", [16000, 44100, 11025])
@pytest.mark.parametrize("seconds", [4.0, 3.3, None])
def test_events_of_frames_have_the_times_of_their_sounds(tmp_path: Path, rate: int, seconds: float | None) -> None:
    calls = [("low", 1.0, 2.0), ("high", 1.48, 9.0), ("low", 17.4, 17.8), ("low", 39.0, 43.21)]
    path = recording(tmp_path / "a.wav", 43.21, *calls, rate=rate)
    found = rows(tone_model("events", segment=seconds), path, threshold=0.25)
    assert [row[2] for row in found] == ["low", "high", "low", "low"]
    for (_, begin, end), row in zip(calls, found, strict=True):
        assert abs(row[0] - begin) <= FRAME / RATE
        assert abs(row[1] - end) <= FRAME / RATE
    assert found[-1][1] == pytest.approx(43.21, abs=1 / RATE)


def test_events_do_not_depend_on_how_a_recording_is_divided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(3)
    calls = [(("low", "high")[i % 2], float(b), float(b + d)) for i, (b, d) in
             enumerate(zip(draw.uniform(0, 115, 40), draw.uniform(0.02, 4, 40), strict=True))]  # fmt: skip
    path = recording(tmp_path / "a.wav", 120.3, *calls)
    details = {"decoding": {"smooth": 0.2, "shortest": 0.1}}
    model = tone_model("events", segment=4.0, details=details, thresholds=(0.3, 0.3))
    whole = rows(model, path)
    monkeypatch.setattr(stretches, "UNIT_SECONDS", 20.0)
    divided = rows(model, path, batch=3)
    assert len(whole) > 15
    assert [r[:3] for r in divided] == [r[:3] for r in whole]
    assert [r[3] for r in divided] == pytest.approx([r[3] for r in whole], abs=1e-5)


def test_short_events_are_dropped_and_gaps_joined(tmp_path: Path) -> None:
    path = recording(tmp_path / "a.wav", 12.0, ("low", 2.0, 2.08), ("low", 4.0, 5.0), ("low", 5.2, 6.0))
    model = tone_model("events", segment=4.0, details={"decoding": {"smooth": 0.0, "shortest": 0.1}})
    assert [row[:2] for row in rows(model, path)] == [(4.0, 5.0), (5.2, 6.0)]
    assert [row[:2] for row in rows(model, path, shortest=0)] == [(2.0, 2.08), (4.0, 5.0), (5.2, 6.0)]
    assert [row[:2] for row in rows(model, path, merge=0.2)] == [(4.0, 6.0)]
    smooth = tone_model("events", segment=4.0, details={"decoding": {"smooth": 0.5, "shortest": 0.0}})
    assert [row[:2] for row in rows(smooth, path)] == [(4.0, 6.0)]


def test_anomalies_have_threshold_and_reason(tmp_path: Path) -> None:
    path = recording(tmp_path / "pump.wav", 6.0, ("low", 2.0, 4.0))
    model = tone_model("anomaly", LoudHead, thresholds=(0.1,), segment=1.0)
    found = model.predict_file(path).to_pylist()
    assert [row["anomalous"] for row in found] == [False, False, True, True, False, False]
    assert found[2] == {
        "file": "pump.wav", "start": 2.0, "end": 3.0, "label": "anomaly",
        "score": pytest.approx(0.3 / 2**0.5, abs=1e-3), "threshold": 0.1, "anomalous": True,
        "nearest": "normal 0.2.wav", "nearest_distance": pytest.approx(0.106, abs=1e-2),
    }  # fmt: skip
    (joined,) = model.predict_file(path, merge=0.0).to_pylist()
    assert (joined["start"], joined["end"], joined["nearest"]) == (2.0, 4.0, "normal 0.2.wav")
    assert [row["anomalous"] for row in model.predict_file(path, threshold=0.0).to_pylist()] == [True] * 6


def test_numbers_have_a_row_for_each_window_and_no_threshold(owl: Path) -> None:
    model = tone_model("regression", thresholds=(), segment=10.0)
    assert len(rows(model, owl)) == 6
    with pytest.raises(ConfigError, match="threshold is for labels, and the model predicts numbers"):
        rows(model, owl, threshold=0.5)


def test_settings_that_do_not_fit_are_refused(owl: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no (head|classifier)"):
        Model(tone_model().encoder, None, Path("toy")).predict_file(owl)
    for model, settings, said in [
        (tone_model(), {"hop": 1.0}, "hop needs segment"),
        (tone_model(segment=1.0), {"shortest": 1.0}, "windows are not joined; set --merge"),
        (tone_model("events", segment=1.0), {"hop": 2.0}, "leave frames out; set --hop to at most 1"),
        (tone_model("verification", classes=()), {}, "has no scores of windows; call `enrol`"),
        (tone_model("anomaly", LoudHead, thresholds=()), {}, "has no threshold of anomalies; give one"),
        (tone_model("sequence"), {}, "has no scores of windows"),
        (tone_model(), {"segment": 0.0}, "segment is 0"),
        (tone_model(), {"merge": -1.0}, "merge is -1"),
    ]:
        with pytest.raises(ConfigError, match=said):
            model.predict_file(owl, **settings)


def test_recordings_shorter_than_a_window_are_one_window(tmp_path: Path) -> None:
    recording(tmp_path / "in" / "a.wav", 1.3, ("low", 0.0, 1.3))
    recording(tmp_path / "in" / "b.wav", 0.4, ("high", 0.0, 0.4))
    recording(tmp_path / "in" / "c.wav", 5.0, ("high", 0.0, 5.0))
    assert [row[:3] for row in rows(tone_model(segment=5.0), tmp_path / "in")] == [
        (0.0, 1.3, "low"), (0.0, 0.4, "high"), (0.0, 5.0, "high"),
    ]  # fmt: skip
    assert [row[:3] for row in rows(tone_model("events", segment=5.0), tmp_path / "in")] == [
        (0.0, 1.3, "low"), (0.0, 0.4, "high"), (0.0, 5.0, "high"),
    ]  # fmt: skip


def test_a_stretch_that_is_damaged_is_named_and_the_rest_is_predicted(tmp_path: Path) -> None:
    path = recording(tmp_path / "a.wav", 20.0, ("low", 0.0, 20.0))
    wave, _ = soundfile.read(path, dtype="float32")
    wave[RATE * 7 : RATE * 8] = np.nan
    soundfile.write(path, wave, RATE, subtype="FLOAT")
    found = tone_model(segment=2.0).predict_file(path, hop=1.0)
    assert [row["start"] for row in found.to_pylist()] == [*range(6), *range(8, 19)]
    (lost,) = json.loads(found.schema.metadata[b"lost"])
    assert lost[:3] == ["a.wav", 6.0, 9.0]
    assert "NaN" in lost[3]
    events = tone_model("events", segment=2.0).predict_file(path, hop=1.0).to_pylist()
    assert [(row["start"], row["end"]) for row in events] == [
        (0.0, pytest.approx(7.0, abs=0.05)), (pytest.approx(8.0, abs=0.05), 20.0),
    ]  # fmt: skip


def test_nothing_that_can_be_predicted_is_an_error(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(RATE, np.nan, np.float32), RATE, subtype="FLOAT")
    for kind in ("clips", "events"):
        with pytest.raises(CorpusError, match=r"nothing of a could be predicted .*NaN.*`auricle corpus scan`"):
            tone_model(kind).predict_file(tmp_path / "a.wav")


def test_onsets_are_peaks_whatever_stretch_they_are_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = [1.0, 1.6, 9.96, 19.9, 20.4, 39.5]
    path = recording(tmp_path / "a.wav", 40.0, *(("low", t, t + 0.04) for t in times))
    decoding = {"decoding": {"smooth": 0.0, "shortest": 0.1, "lasting": False}}
    model = tone_model("events", segment=4.0, details=decoding)
    whole = rows(model, path)
    assert [row[0] for row in whole] == pytest.approx([t + 0.02 for t in times], abs=FRAME / RATE)
    assert [round(row[1] - row[0], 6) for row in whole] == [0.1] * 6
    monkeypatch.setattr(stretches, "UNIT_SECONDS", 20.0)
    assert [row[:3] for row in rows(model, path)] == [row[:3] for row in whole]


def test_enrolled_identities_are_labels(owl: Path) -> None:
    model = tone_model("verification", segment=5.0)
    assert [row[2] for row in rows(model, owl)] == ["low", "high", "high"]


def test_a_clip_is_scored_by_the_machine_that_it_is_most_like(tmp_path: Path) -> None:
    class Two(LoudHead):
        def raw(self, frozen: object, audio: Audio) -> torch.Tensor:
            return torch.cat([super().raw(frozen, audio), super().raw(frozen, audio) / 2], 1)  # type: ignore[arg-type]

    path = recording(tmp_path / "pump.wav", 2.0, ("low", 0.0, 2.0))
    (row,) = tone_model("anomaly", Two, classes=("pump", "fan"), thresholds=(0.3, 0.05)).predict_file(path).to_pylist()
    assert (row["label"], row["threshold"], row["anomalous"]) == ("pump", 0.3, False)
