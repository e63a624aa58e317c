"""Windows over recordings of hours: at their samples, in constant memory, whoever reads them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from auricle.corpus.reading import read_as
from auricle.corpus.sources import open_corpus
from auricle.corpus.stretches import Stretch, Window, WindowReader, Windows, units
from auricle.corpus.table import Corpus
from auricle.errors import ConfigError, Reason

RATE = 16000


def read(corpus: Corpus, windows: Windows, parts: list[Stretch], rate: int = RATE) -> list[Window]:
    with WindowReader(corpus, windows, rate) as reader:
        return [window for part in parts for window in reader.read(part)]


def clicks(path: Path, rate: int, places: list[int], length: int) -> None:
    with soundfile.SoundFile(path, "w", rate, 1, subtype="PCM_16") as file:
        for start in range(0, length, 1 << 20):
            block = np.zeros(min(1 << 20, length - start), np.float32)
            for place in places:
                if start <= place < start + len(block):
                    block[place - start] = 0.9
            file.write(block)


@pytest.mark.parametrize(
    ("rate", "hours", "ending"),
    [(8000, 2.1, "flac"), (22050, 0.1, "wav"), (44100, 0.1, "flac"), (37123, 0.05, "wav"), (250000, 0.02, "wav")],
)
def test_clicks_are_at_their_samples(tmp_path: Path, rate: int, hours: float, ending: str) -> None:
    """The time of a window plus the place of a click in it is the time of the click, to half a sample."""
    length = round(rate * 3600 * hours)
    places = sorted({3, 12345, length // 3 + 1, length // 2 + 7, length - rate * 2 - 11, length - 5})
    clicks(tmp_path / f"a.{ending}", rate, places, length)
    corpus = open_corpus(tmp_path)
    windows = Windows(5.0, 2.5)
    covered, seen, last = 0.0, set(), 0
    for part in (p for unit in units(corpus, windows, 300.0) for p in unit):
        for window in read(corpus, windows, [part]):
            assert not isinstance(window.wave, Reason)
            assert window.begin <= covered
            covered = max(covered, window.end)
            last = len(window.wave)
            for place in places:
                at = (place / rate - window.begin) * RATE
                if 0 <= at < last:
                    near = range(max(0, round(at) - 20), min(last, round(at) + 21))
                    found = max(near, key=lambda i, wave=window.wave: abs(wave[i]))
                    assert abs(found - at) <= max(0.51, 0.51 * RATE / rate) or at > last - 1
                    assert abs(window.wave[found]) > 0.02
                    seen.add(place)
    assert seen == set(places)
    assert abs(covered - length / rate) <= 1 / RATE
    assert last == 5 * RATE


@given(
    samples=st.integers(1, 4000), rate=st.sampled_from([100, 97, 160]), seconds=st.floats(0.2, 5),
    hop=st.floats(0.05, 5), step=st.sampled_from([0.0, 0.07, 0.16]),
)  # fmt: skip
def test_windows_cover_a_clip(samples: int, rate: int, seconds: float, hop: float, step: float) -> None:
    windows = Windows(seconds, hop, step)
    found = windows.ranges(samples, rate)
    size = max(1, round(seconds * rate))
    assert len(found) == windows.count(samples, rate)
    assert all(start >= 0 and n >= 1 and start + n <= samples for start, n in found)
    assert all(n == size for start, n in found[:-1])
    assert [start for start, _ in found[:-1]] == [round(i * hop * rate) for i in range(len(found) - 1)]
    assert samples - (found[-1][0] + found[-1][1]) <= max(0.01 * rate, 0)
    assert found[-1][1] in (size, samples) or step
    for cut in range(0, len(found), 3):
        assert windows.ranges(samples, rate, cut, cut + 3) == found[cut : cut + 3]


def make(folder: Path, *seconds: float, rate: int = RATE) -> Corpus:
    folder.mkdir(exist_ok=True)
    for i, length in enumerate(seconds):
        wave = 0.1 * np.random.default_rng(i).standard_normal(round(length * rate))
        soundfile.write(folder / f"{i}.wav", wave, rate, subtype="FLOAT")
    return open_corpus(folder)


def test_windows_are_those_of_segments(tmp_path: Path) -> None:
    corpus = make(tmp_path / "in", 12.3, 0.4, 5.0, 61.7, rate=22050)
    windows = Windows(5.0, 2.5)
    found = read(corpus, windows, [Stretch(row) for row in range(4)])
    segments = corpus.segments(5.0, 2.5, last="shift")
    assert [w.begin for w in found] == pytest.approx(segments.column("start"), abs=1 / RATE)
    for place, window in enumerate(found):
        wanted = segments.audio(place, RATE)[: len(window.wave)]
        # The last one ends at a sample of this rate, and may begin a part of a sample off.
        if math.isclose(window.begin, segments[place].start, abs_tol=1e-9):
            np.testing.assert_allclose(window.wave[: len(wanted)], wanted, atol=1e-6)


def test_units_are_the_same_windows_and_bits_in_any_order(tmp_path: Path) -> None:
    corpus = make(tmp_path / "in", 100.0, 3.0, 2.0, 47.0, 0.5, rate=44100)
    windows = Windows(4.0, 1.5)
    plan = units(corpus, windows, 40.0)
    assert len(plan) > 6
    assert [p.row for unit in plan for p in unit] == sorted(p.row for unit in plan for p in unit)
    whole = read(corpus, windows, [p for unit in plan for p in unit])
    alone = {k: read(corpus, windows, plan[k]) for k in reversed(range(len(plan)))}
    again = [window for k in range(len(plan)) for window in alone[k]]
    assert [(w.row, w.begin, w.end) for w in whole] == [(w.row, w.begin, w.end) for w in again]
    assert all((a.wave == b.wave).all() for a, b in zip(whole, again, strict=True))
    assert [(w.begin, w.row) for w in whole] == [
        (w.begin, w.row) for w in read(corpus, windows, [Stretch(row) for row in range(5)])
    ]


def test_ranges_of_recordings_have_the_recordings_own_time(tmp_path: Path) -> None:
    make(tmp_path / "in", 30.0)
    table = {"file": ["0.wav"] * 3, "start": [10.25, 28.0, 40.0], "seconds": [6.0, 9.0, 1.0]}
    corpus = Corpus.from_columns(table, root=tmp_path / "in")
    found = read(corpus, Windows(4.0, 4.0), [Stretch(row) for row in range(3)])
    assert [(w.row, w.begin, w.end) for w in found] == [
        (0, 10.25, 14.25), (0, 12.25, 16.25), (1, 28.0, 30.0), (2, 40.0, 41.0),
    ]  # fmt: skip
    whole, _ = soundfile.read(tmp_path / "in" / "0.wav", dtype="float32")
    assert (found[1].wave == whole[round(12.25 * RATE) : round(16.25 * RATE)]).all()
    assert "the recording ends at 30.000 s" in str(found[3].wave)


def test_expanded_time_and_channels(tmp_path: Path) -> None:
    rate = 200000
    wave = np.zeros((rate * 2, 2), np.float32)
    wave[300001, 1] = 0.9
    soundfile.write(tmp_path / "bat.wav", wave, rate, subtype="FLOAT")
    corpus = read_as(open_corpus(tmp_path), "1", 10.0)
    found = read(corpus, Windows(0.5, 0.5), [Stretch(0)])
    assert [w.begin for w in found] == [0.0, 0.5, 1.0, 1.5]
    assert {len(w.wave) for w in found} == {5 * RATE}
    assert abs(1.5 + np.abs(found[3].wave).argmax() / (10 * RATE) - 300001 / rate) < 0.5 / (10 * RATE)


def test_a_recording_that_is_lost_has_a_reason_for_each_window(tmp_path: Path) -> None:
    corpus = make(tmp_path / "in", 12.0, 3.0)
    (tmp_path / "in" / "0.wav").write_bytes(b"no audio")
    found = read(corpus, Windows(5.0, 5.0), [Stretch(0), Stretch(1)])
    assert [(w.begin, w.end, isinstance(w.wave, Reason)) for w in found] == [
        (0.0, 5.0, True), (5.0, 10.0, True), (7.0, 12.0, True), (0.0, 3.0, False),
    ]  # fmt: skip


def test_windows_over_damage_have_a_reason_and_the_others_samples(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    make(folder, 60.0)
    wave, _ = soundfile.read(folder / "0.wav", dtype="float32")
    wave[RATE * 31] = np.nan
    soundfile.write(folder / "0.wav", wave, RATE, subtype="FLOAT")
    found = read(open_corpus(folder), Windows(5.0, 2.5), [Stretch(0)])
    assert [w.begin for w in found if isinstance(w.wave, Reason)] == [27.5, 30.0]
    assert len(found) == 23


def test_core_ranges_cover_a_clip_without_a_gap(tmp_path: Path) -> None:
    corpus = make(tmp_path / "in", 47.3)
    windows = Windows(4.0, 1.5, 0.16)
    plan = [part for unit in units(corpus, windows, 40.0) for part in unit]
    with WindowReader(corpus, windows, RATE, context=2) as reader:
        cores = [reader.core(part) for part in plan]
        wide = [list(reader.read(part)) for part in plan]
    assert [end for _, end in cores[:-1]] == [begin for begin, _ in cores[1:]]
    assert (cores[0][0], cores[-1][1]) == (0.0, pytest.approx(47.3))
    assert len(wide[1]) == plan[1].count + 4
    assert wide[0][-1].begin == cores[1][0] + 1.5


def test_long_clips_are_not_taken_whole(tmp_path: Path) -> None:
    corpus = make(tmp_path / "in", 3.0, 61.0, rate=1000)
    with pytest.raises(ConfigError, match=r"1\.wav is 61 s long.*set --segment"):
        units(corpus, Windows(None))
    assert [len(w.wave) for w in read(corpus, Windows(None), [Stretch(0)], 1000)] == [3000]
    with pytest.raises(ConfigError, match="windows of 5 s every 0 s"):
        Windows(5.0, 0.0)
