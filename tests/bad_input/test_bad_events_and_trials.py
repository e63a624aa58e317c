"""Tables of events and of trials that hold what can't be."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from bad_input_command import Command, noted
from bad_input_data import PITCH, RATE, clips, table, tone

pytestmark = pytest.mark.usefixtures("own_encoders")


EVENTS = ["--probes", "linear", "--rule.no-psds"]


def event_folder(folder: Path, more: Sequence[Sequence[object]]) -> Path:
    """Ten clips of two seconds with two good events each, and more rows of the table."""
    folder.mkdir()
    rows: list[Sequence[object]] = []
    for i in range(10):
        wave = 0.01 * np.random.default_rng(i).standard_normal(2 * RATE).astype(np.float32)
        for name, begin in (("a", 0.2), ("b", 1.1)):
            part = slice(round(begin * RATE), round((begin + 0.6) * RATE))
            wave[part] += tone(PITCH[name], 0.6)
            rows.append((f"{i}.wav", begin, begin + 0.6, name))
        soundfile.write(folder / f"{i}.wav", wave, RATE)
    table(folder / "events.csv", ("file", "onset", "offset", "label"), [*rows, *more])
    return folder


def test_events_of_impossible_times_are_counted_and_overlaps_joined(auricle: Command, tmp_path: Path) -> None:
    wrong = [
        ("0.wav", -0.5, 0.5, "a"),
        ("1.wav", 0.9, 0.4, "a"),
        ("2.wav", 7.0, 8.0, "b"),
        ("3.wav", 1.5, 9.0, "a"),
        ("4.wav", 0.5, 1.0, "a"),
    ]
    data = event_folder(tmp_path / "data", wrong)
    assert auricle(*auricle.probe(data, *EVENTS, task="folder_events")) == 0
    (record,) = auricle.results("folder_events").values()
    said = noted(record, "a negative onset")
    assert (
        "22 of 25 events used; 3 skipped: 1 with a negative onset, 1 with an offset that is not after the onset" in said
    )
    assert "1 with an onset after the recording's end" in said
    assert noted(record, "cut at the end of the recording: 1 event (")
    assert noted(record, "that overlaps or touches").startswith("1 event was joined")
    assert record["clips"] == 10
    assert math.isfinite(record["value"])
    assert "negative onset" in auricle.table()


def test_an_event_table_with_nothing_possible_in_it(auricle: Command, tmp_path: Path) -> None:
    data = event_folder(tmp_path / "data", [])
    table(data / "events.csv", ("file", "onset", "offset", "label"), [(f"{i}.wav", -1, 1, "a") for i in range(10)])
    message = auricle.refused(*auricle.probe(data, *EVENTS, task="folder_events"))
    assert "negative onset" in message
    assert not (tmp_path / "out").exists()


def test_an_event_whose_time_is_a_word(auricle: Command, tmp_path: Path) -> None:
    data = event_folder(tmp_path / "data", [("0.wav", "soon", "later", "a")])
    code = auricle(*auricle.probe(data, *EVENTS, task="folder_events"))
    if code == 0:
        (record,) = auricle.results("folder_events").values()
        assert noted(record, "a time that is no number").startswith("1 of 21")
    else:
        assert "events.csv" in auricle.err
        assert "soon" in auricle.err


# Trials


def trial_folder(folder: Path, trials: Sequence[Sequence[object]], loud: Sequence[int] = ()) -> Path:
    data = clips(folder, [(label, "") for label in "abc" for _ in range(4)], "source", loud)
    rows = list(csv.reader((data / "metadata.csv").open()))[1:]
    table(data / "metadata.csv", ("file", "label", "source"), [(row[0], row[1], row[1]) for row in rows])
    table(data / "trials.csv", ("enroll", "test", "target"), trials)
    return data


GOOD_TRIALS = [(f"{i:02d}.wav", f"{j:02d}.wav", int(i // 4 == j // 4)) for i in range(8) for j in range(i + 1, 8)]
VERIFY = ["--probes", "cosine"]


def test_trials_that_name_unknown_clips(auricle: Command, tmp_path: Path) -> None:
    data = trial_folder(tmp_path / "data", [*GOOD_TRIALS, ("00.wav", "ghost.wav", 1), ("spirit.wav", "01.wav", 0)])
    message = auricle.refused(*auricle.probe(data, *VERIFY, task="folder_verification"))
    assert "trials.csv names 2 clips" in message
    assert "'ghost.wav'" in message
    assert not (tmp_path / "out").exists()


def test_trials_of_a_clip_that_is_broken_twice_or_beside_itself_are_counted(auricle: Command, tmp_path: Path) -> None:
    trials = [*GOOD_TRIALS, ("02.wav", "02.wav", 1), GOOD_TRIALS[0], ("00.wav", "gone.wav", 1)]
    data = trial_folder(tmp_path / "data", trials, loud=(7,))
    (data / "gone.wav").write_bytes(b"not audio")
    rows = list(csv.reader((data / "metadata.csv").open()))
    table(data / "metadata.csv", rows[0], [*rows[1:], ("gone.wav", "a", "a")])
    assert auricle(*auricle.probe(data, *VERIFY, task="folder_verification", encoder="Fragile")) == 0
    (record,) = auricle.results("folder_verification").values()
    assert "1 of 31 trials" in noted(record, "a clip with itself")
    assert "1 of 31 trials" in noted(record, "they occur twice")
    # Seven good trials are of the loud clip.
    assert record["clips"] == len(GOOD_TRIALS) - 7
    assert set(record["missing"]) == {"gone.wav", "07.wav"}
    assert math.isfinite(record["value"])


@pytest.mark.parametrize(
    ("trials", "said"),
    [
        ([("00.wav", "01.wav", "maybe")], "'maybe'"),
        ([("00.wav", "01.wav", 1), ("02.wav", "03.wav", 1)], "non-target"),
        ([*GOOD_TRIALS, (*GOOD_TRIALS[0][:2], 0)], "both the same and different"),
        ([("00.wav", "", 1)], "empty value"),
    ],
)
def test_trials_that_decide_nothing(auricle: Command, tmp_path: Path, trials: list[Any], said: str) -> None:
    data = trial_folder(tmp_path / "data", trials)
    message = auricle.refused(*auricle.probe(data, *VERIFY, task="folder_verification"))
    assert said in message
    assert "trials.csv" in message
