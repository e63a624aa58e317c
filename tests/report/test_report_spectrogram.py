"""Axes of spectrograms: what the labels say is where they stand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.signal import chirp

from auricle.audio.batch import Audio
from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.corpus.examples import APART, frequency_ticks
from auricle.report.spectrogram_view import spectrogram, start_of, time_ticks
from auricle.tasks.events.timelines import SHOWN_SECONDS, first_shown

RATE = 16000


@pytest.mark.parametrize("hertz", [500, 1000, 2000, 4000])
def test_a_tone_lies_at_the_height_of_its_frequency(hertz: int) -> None:
    frontend = KaldiFbankConfig(rate=RATE).build()
    tone = np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE).astype(np.float32)
    loudest = int(frontend(Audio.stack([tone], RATE)).x[0].mean(0).argmax())
    known = np.isfinite(frontend.centres)
    expected = np.interp(hertz, frontend.centres[known], np.flatnonzero(known))
    assert loudest == pytest.approx(expected, abs=1)


def test_frequency_ticks_are_octaves_apart_from_each_other() -> None:
    centres = KaldiFbankConfig(rate=RATE).build().centres
    ticks = frequency_ticks(centres)
    heights = [height for height, _ in ticks]
    assert ticks[0][1] == "4 kHz"
    assert all(above - below >= APART for above, below in pairwise(heights))
    assert all(0 < height < 1 for height in heights)
    octaves = {125.0 * 2**k for k in range(10)}
    assert {float(t.split()[0]) * (1000 if "kHz" in t else 1) for _, t in ticks} <= octaves
    assert frequency_ticks(np.full(8, np.nan)) == []
    assert frequency_ticks(np.array([300.0, 310.0])) == []


def test_time_ticks_are_times_of_the_recording() -> None:
    assert time_ticks({"start": 0.0, "seconds": 4.0}) == [(0.0, "0"), (0.25, "1"), (0.5, "2"), (0.75, "3"), (1.0, "s")]
    assert time_ticks({"start": 61.5, "seconds": 10.0}) == [
        (pytest.approx(share), text)
        for share, text in ((0.05, "62"), (0.25, "64"), (0.45, "66"), (0.65, "68"), (0.85, "70"))
    ] + [(1.0, "s")]
    assert time_ticks({}) == [(1.0, "s")]


def test_the_start_of_a_clip_is_said() -> None:
    assert start_of({"start": 0.0}) == ""
    assert start_of({"start": 12.5}) == ", from 12.5 s"
    assert start_of({"start": 3723.0}) == ", from 62 min 3 s"


def test_odd_ticks_of_a_file_leave_the_picture() -> None:
    html = spectrogram({"file": "a", "ticks": [[0.5, "<b>"], ["x", "y"], [2.0, "out"], 3]}, image="data:,")
    assert "&lt;b&gt;" in html
    assert "out" not in html
    assert ">y<" not in html
    assert "bottom:50.00%" in html


def test_a_long_clip_is_shown_where_its_events_are() -> None:
    late = [(100.0, 101.0, "a"), (104.0, 105.0, "b"), (400.0, 401.0, "a")]
    start = first_shown(late, 600.0)
    assert start <= 100.0
    assert start + SHOWN_SECONDS >= 105.0
    assert first_shown(late, 8.0) == 0.0
    assert first_shown([], 600.0) == 0.0
    assert first_shown([(599.0, 600.0, "a")], 600.0) == 600.0 - SHOWN_SECONDS


def test_a_rising_sound_rises_in_the_picture() -> None:
    frontend = KaldiFbankConfig(rate=RATE).build()
    time = np.arange(2 * RATE) / RATE
    rising = chirp(time, 300, 2, 6000, method="logarithmic").astype(np.float32)
    loudest = frontend(Audio.stack([rising], RATE)).x[0].argmax(-1).numpy()
    hertz = frontend.centres[loudest]
    assert np.corrcoef(np.log(hertz), np.arange(len(hertz)))[0, 1] > 0.99
