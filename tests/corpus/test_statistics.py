from __future__ import annotations

import numpy as np
import pytest
import torch

from auricle.audio.batch import Audio
from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.corpus.sources import open_corpus
from auricle.corpus.statistics import measure_statistics
from auricle.corpus.windows import WindowConfig
from auricle.errors import CorpusError

WINDOW = WindowConfig(seconds=0.5, crop="start", short="pad")


@pytest.fixture
def frontend():
    return LogMelConfig(rate=16000, mels=32).build()


@pytest.fixture
def corpus(tmp_path, record):
    for i in range(20):
        record(tmp_path / f"{i:02d}.wav", seconds=0.3 + 0.05 * i, seed=i, level=0.02 * (i + 1))
    return open_corpus(tmp_path)


def test_equals_a_plain_loop_over_all_valid_frames(corpus, frontend):
    cells = []
    for i in range(len(corpus)):
        wave = corpus.audio(i, 16000)[:8000]
        features = frontend.raw(Audio.stack([wave], 16000))
        cells.append(features.x[0, : int(features.lengths[0])].double().flatten())
    expected = torch.cat(cells)
    mean, std = measure_statistics(corpus, frontend, window=WINDOW)
    assert mean == pytest.approx(float(expected.mean()), abs=1e-3)
    assert std == pytest.approx(float(expected.std(correction=0)), abs=1e-3)


def test_follows_from_seed_and_window(corpus, frontend):
    window = WindowConfig(seconds=0.4)
    first = measure_statistics(corpus, frontend, window=window, clips=7, seed=1)
    assert first == measure_statistics(corpus, frontend, window=window, clips=7, seed=1)
    assert first != measure_statistics(corpus, frontend, window=window, clips=7, seed=2)
    assert first != measure_statistics(corpus, frontend, window=window.replace(seconds=0.5), clips=7, seed=1)


def test_padding_never_counts(tmp_path, record, frontend):
    record(tmp_path / "a.wav", seconds=0.5)
    corpus = open_corpus(tmp_path)
    short = measure_statistics(corpus, frontend, window=WINDOW)
    long = measure_statistics(corpus, frontend, window=WINDOW.replace(seconds=4.0))
    assert long == pytest.approx(short, abs=1e-4)


def test_bad_and_silent_clips_are_passed_over(corpus, frontend, tmp_path, record):
    expected = measure_statistics(corpus.select(range(18)), frontend, window=WINDOW)
    (tmp_path / "18.wav").write_bytes(b"no audio")
    record(tmp_path / "19.wav", np.zeros(8000))
    assert measure_statistics(corpus, frontend, window=WINDOW) == pytest.approx(expected, abs=1e-6)


def test_clips_without_finite_features_are_passed_over(corpus, frontend, monkeypatch):
    expected = measure_statistics(corpus.select([i for i in range(20) if i != 4]), frontend, window=WINDOW)
    real = frontend.raw
    loudest = float(np.abs(corpus.audio(4, 16000)[:8000]).max())

    def raw(audio):
        features = real(audio)
        hit = (audio.wave.abs().amax(1) - loudest).abs() < 1e-4
        features.x[hit, 2, 3] = torch.inf
        return features

    monkeypatch.setattr(frontend, "raw", raw)
    assert measure_statistics(corpus, frontend, window=WINDOW) == pytest.approx(expected, abs=1e-6)
    with pytest.raises(CorpusError, match=r"none of 1 clip .*04\.wav: features are not finite"):
        measure_statistics(corpus.select([4]), frontend, window=WINDOW)


def test_long_recordings_are_measured_by_range(tmp_path, record, frontend):
    record(tmp_path / "long.wav", seconds=8)
    mean, std = measure_statistics(open_corpus(tmp_path), frontend, window=WINDOW)
    assert np.isfinite([mean, std]).all()


def test_nothing_to_measure(tmp_path, record, frontend, corpus):
    with pytest.raises(CorpusError, match="the corpus has no clips"):
        measure_statistics(corpus.select([]), frontend)
    record(tmp_path / "s" / "silent.wav", np.zeros(8000))
    with pytest.raises(CorpusError, match=r"none of 1 clip can be used for statistics; the last: .*silent"):
        measure_statistics(open_corpus(tmp_path / "s"), frontend)
