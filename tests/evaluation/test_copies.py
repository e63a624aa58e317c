"""Clips that are copies of each other, and clips that are only alike."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from leak_sounds import RATE, corpus_of, sound, written

from auricle.corpus.copies import find_copies
from auricle.corpus.reading import read_as
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus


def test_copies_are_found_by_what_they_hold(tmp_path: Path) -> None:
    """Every form of one sound, and none of the sounds that are only like it."""
    wave = soundfile.read(written(tmp_path / "a.wav", sound(0)), dtype="float32")[0]
    late = np.concatenate([np.zeros(400, np.float32), wave])
    forms = {
        "a.wav": (wave, RATE),
        "same.flac": (wave, RATE),
        "quiet.wav": (0.2 * wave, RATE),
        "inverted.wav": (-wave, RATE),
        "rate.wav": (soxr.resample(wave, RATE, 22050), 22050),
        "a.mp3": (wave, RATE),
        "a.ogg": (wave, RATE),
        "late.wav": (late, RATE),
    }
    others = {f"other{i}.wav": (sound(i), RATE) for i in range(1, 5)}
    # The spectrum of the first with other phases.
    phases = np.exp(2j * np.pi * np.random.default_rng(1).random(RATE // 2 + 1))
    others["alike.wav"] = (np.fft.irfft(np.abs(np.fft.rfft(wave)) * phases).astype(np.float32), RATE)
    corpus = corpus_of(tmp_path / "clips", forms | others)
    shutil.copy(tmp_path / "clips" / "a.wav", tmp_path / "clips" / "b.wav")
    corpus = Corpus.from_columns(
        {"file": [*corpus.column("file"), "b.wav"], "seconds": [*corpus.column("seconds"), 1.0]}, root=corpus.root
    )
    names = corpus.column("file")
    found = {names[c.second]: c.kind for c in find_copies(corpus, range(len(corpus))) if c.first == 0}
    near = dict.fromkeys(list(forms)[2:], "near")
    assert found == {"same.flac": "samples", "b.wav": "bytes", **near}
    again = find_copies(corpus, [names.index("other1.wav"), names.index("other2.wav"), names.index("alike.wav")])
    assert again == []


@pytest.mark.parametrize(("shared", "copies"), [(0.92, 0), (0.97, 1)])
def test_two_strokes_of_one_instrument_are_no_copies(tmp_path: Path, shared: float, copies: int) -> None:
    one, other = 0.1 * np.random.default_rng(0).standard_normal((2, 2 * RATE))
    second = shared * one + np.sqrt(1 - shared**2) * other
    corpus = corpus_of(tmp_path / "clips", {"a.wav": (one, RATE), "b.wav": (second, RATE)})
    assert len(find_copies(corpus, [0, 1])) == copies


def test_silent_short_and_unreadable_clips(tmp_path: Path) -> None:
    """Silence is equal to silence, and no near copy of anything."""
    silence, tick = np.zeros(RATE, np.float32), np.full(20, 0.5, np.float32)
    waves = {"s1.wav": silence, "s2.flac": silence, "tick.wav": tick, "hiss.wav": 1e-4 * sound(1)}
    corpus = corpus_of(tmp_path / "clips", {name: (wave, RATE) for name, wave in waves.items()})
    (tmp_path / "clips" / "bad.wav").write_bytes(b"no audio")
    columns = {"file": [*waves, "bad.wav", "none.wav"], "seconds": [*corpus.column("seconds"), 1.0, 1.0]}
    copies = find_copies(Corpus.from_columns(columns, root=corpus.root), range(6))
    assert [(copy.first, copy.second, copy.kind) for copy in copies] == [(0, 1, "samples")]


def test_long_clips_are_compared_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auricle.corpus.copies._PIECE", 0.5)
    long = soundfile.read(written(tmp_path / "a.wav", sound(0, 3.0)), dtype="float32")[0]
    other = long.copy()
    other[-5] += 0.25
    corpus = corpus_of(tmp_path / "clips", {"a.wav": (long, RATE), "b.flac": (long, RATE), "c.wav": (other, RATE)})
    kinds = {(copy.first, copy.second): copy.kind for copy in find_copies(corpus, range(3))}
    assert kinds == {(0, 1): "samples", (0, 2): "near", (1, 2): "near"}


def test_candidates_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of a hundred clips is a candidate of others; with room for a few they would be decoded again and again."""
    corpus = corpus_of(tmp_path / "clips", {f"{i:03}.wav": (sound(i, 0.2), RATE) for i in range(100)})
    monkeypatch.setattr("auricle.corpus.copies.NEAR_DB", 100.0)
    decoded: list[int] = []
    audio = Corpus.audio
    monkeypatch.setattr(Corpus, "audio", lambda self, row, *a, **k: (decoded.append(row), audio(self, row, *a, **k))[1])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert find_copies(corpus, range(100)) == []
    # Once for what is known of each, once as a candidate.
    assert sorted(decoded) == sorted([*range(100)] * 2)


@pytest.mark.parametrize("cells", [1, 40])
def test_near_copies_are_found_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    """Clips of 1 to 3 s in no order, each with a copy that is quieter and longer; in blocks of one and two clips."""
    lengths = [1.5, 1.0, 3.0, 1.0, 2.0, 1.5, 2.5, 1.0]
    waves = {f"{i}.wav": (sound(i, s), RATE) for i, s in enumerate(lengths)}
    late = np.zeros(160, np.float32)
    waves |= {f"{i}.flac": (np.concatenate([late, 0.3 * sound(i, s)]), RATE) for i, s in enumerate(lengths)}
    monkeypatch.setattr("auricle.corpus.copies._CELLS", cells)
    found = find_copies(corpus_of(tmp_path / "clips", waves), range(16))
    assert [(copy.first, copy.second, copy.kind) for copy in found] == [(i, i + 8, "near") for i in range(8)]


def test_pairs_of_many_equal_clips_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five equal clips and four quieter ones: with a limit of one, all are paired with the first of each form."""
    monkeypatch.setattr("auricle.corpus.copies._EQUAL", 1)
    waves = {f"{i}.wav": ((1.0 if i < 5 else 0.3) * sound(0), RATE) for i in range(9)}
    found = find_copies(corpus_of(tmp_path / "clips", waves), range(9))
    near = {(copy.first, copy.second) for copy in found if copy.kind == "near"}
    assert near == {(0, 5), (0, 6), (0, 7), (0, 8), (1, 5), (2, 5), (3, 5), (4, 5)}
    assert len(found) == len(near) + 4 + 3


def test_clips_are_compared_as_they_are_read_with_time_expansion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All above 20 kHz: copies are found by the recording's own samples, and of it in the band that is read."""
    high = np.sin(2 * np.pi * 24000 * np.arange(96000) / 96000 * 1.02)
    waves = {f"{i}.wav": ((sound(i, 1.0, 96000) * high).astype(np.float32), 96000) for i in range(3)}
    waves["late.wav"] = (0.3 * np.concatenate([np.zeros(900, np.float32), waves["0.wav"][0]]), 96000)
    corpus = read_as(corpus_of(tmp_path / "clips", waves), time_expansion=10)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # nothing is remembered of these clips
    rates: list[float] = []
    audio = Corpus.audio
    monkeypatch.setattr(
        Corpus, "audio", lambda self, row, rate=16000, **more: (rates.append(rate), audio(self, row, rate, **more))[1]
    )
    found = find_copies(corpus, range(4))
    assert max(rates) == 9600
    assert [(copy.first, copy.second, copy.kind) for copy in found] == [(0, 3, "near")]


def test_pairs_on_two_sides_are_found_behind_copies_on_one(tmp_path: Path) -> None:
    """Twelve near copies on one side do not take the place of the one on the other."""
    waves = {f"{i:02}.wav": ((0.3 + 0.05 * i) * sound(0), RATE) for i in range(12)}
    corpus = corpus_of(tmp_path / "clips", {**waves, "z.wav": (-0.2 * sound(0), RATE), "y.wav": (sound(1), RATE)})
    sides = np.array([False] * 12 + [True] * 2)
    found = find_copies(corpus, range(14), sides=sides)
    assert [(copy.first, copy.second, copy.kind) for copy in found] == [(i, 12, "near") for i in range(12)]


@pytest.mark.real
@pytest.mark.parametrize(("name", "clips"), [("fsdd", 120), ("piano_notes", 120), ("esc10", 60)])
def test_real_recordings_of_one_kind_are_no_copies(shared_audio: Path, name: str, clips: int) -> None:
    """The same digit by the same speaker, the same note at other loudness, the same class."""
    corpus = open_corpus(shared_audio / name)
    assert find_copies(corpus, range(clips)) == []


@pytest.mark.real
def test_real_clips_are_found_after_encoding_them_again(shared_audio: Path, tmp_path: Path) -> None:
    corpus = open_corpus(shared_audio / "esc10").select(range(0, 60, 5))
    waves: dict[str, tuple[np.ndarray, int]] = {}
    for row in range(len(corpus)):
        wave, rate = soundfile.read(str(corpus[row].path), dtype="float32")
        waves[f"{row}.wav"] = (wave, rate)
        waves[f"{row}.{['mp3', 'ogg', 'flac'][row % 3]}"] = (wave, rate)
    made = corpus_of(tmp_path / "clips", waves)
    pairs = {(copy.first, copy.second) for copy in find_copies(made, range(len(made)))}
    assert pairs == {(2 * row, 2 * row + 1) for row in range(len(corpus))}
