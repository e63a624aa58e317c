"""What `auricle predict` advises is done to the letter, and a table is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from remedy_tools import RATE, Command, after, changed, executes, table, tones

PREDICT = ["predict", "owl", "--trust-remote-code", "--data", "data", "--out", "hits.csv"]


@pytest.fixture
def model(auricle: Command, tmp_path: Path) -> None:
    tones(tmp_path / "data")
    auricle.works("fit", "remedy_encoders:Bands", "--data", "data", "--out", "owl")


@executes(
    "hop needs segment: the model was fitted on whole clips; set --segment, or drop --hop",
    "shortest is for events, and windows are not joined; set --merge, or drop --shortest",
    "workers is for the engine ray; set --engine ray, or leave --workers out",
)
@pytest.mark.usefixtures("model")
def test_settings_that_need_another(auricle: Command) -> None:
    for number, (flag, value, other) in enumerate(
        (("--hop", "0.2", "0.4"), ("--shortest", "0.1", "0"), ("--workers", "2", ""))
    ):
        words = changed(PREDICT, "--out", f"{number}.csv")
        message = auricle.refused(*words, flag, value)
        assert f"{flag} out" in message or f"drop {flag}" in message
        auricle.works(*words)
        if other:
            auricle.works(*words, flag, value, after(message, "set "), other, "--overwrite")


@executes("add --overwrite to replace the file (Python: overwrite=True)")
@pytest.mark.usefixtures("model")
def test_a_file_that_is_there(auricle: Command, tmp_path: Path) -> None:
    (tmp_path / "hits.csv").write_text("mine")
    message = auricle.refused(*PREDICT)
    auricle.works(*changed(PREDICT, after(message, "Choose another ", "(--out)"), "other.csv"))
    auricle.works(*PREDICT, after(message, "or add "))


@executes(
    "set --segment to the seconds of a window, such as the length of the clips that the model was fitted on",
    "read one of them: --channel 0 (or loudest)",
)
@pytest.mark.usefixtures("model")
def test_recordings_that_are_long_or_whose_channels_cancel(auricle: Command, tmp_path: Path) -> None:
    wave = 0.1 * np.random.default_rng(0).standard_normal(RATE * 61)
    soundfile.write(tmp_path / "data" / "long.wav", wave, RATE)
    both = np.stack([wave, -wave], 1)[: RATE * 8]
    soundfile.write(tmp_path / "data" / "cancel.wav", both, RATE)
    words = [*PREDICT, after(auricle.refused(*PREDICT), "set ", "(--segment)"), "0.7"]
    _, _, err = auricle.run(*words)
    assert "cancel.wav" in err
    auricle.works(*words, *after(err, "read one of them: ", "(--channel 0)").split(), "--overwrite")
    assert "cancel.wav" in (tmp_path / "hits.csv").read_text()


@executes("leave frames out; set --hop to at most")
def test_windows_of_frames_that_leave_some_out(auricle: Command, tmp_path: Path) -> None:
    files = [f"{i:02d}.wav" for i in range(12)]
    tones(tmp_path / "data", columns={"source": files})
    labels = ["low" if i % 2 else "high" for i in range(12)]
    table(tmp_path / "data" / "events.csv", {"file": files, "onset": [0.1] * 12, "offset": [0.5] * 12, "label": labels})
    auricle.works("fit", "remedy_encoders:Bands", "--data", "data", "--task", "folder_events", "--out", "owl")
    message = auricle.refused(*PREDICT, "--segment", "0.4", "--hop", "0.6")
    auricle.works(*PREDICT, "--segment", "0.4", "--hop", after(message, "set --hop to at most "))
