"""Fixtures for the whole suite."""

from __future__ import annotations

import os

# Test processes share the cores with data workers and second ranks: spinning OpenMP threads would make both crawl.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from collections.abc import Callable
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import soundfile
import torch

from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig

# Examples are the same in every run, and none fails because the machine was busy.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True)
hypothesis.settings.load_profile("suite")


@pytest.fixture(scope="session")
def shared_audio() -> Path:
    """The folder of real corpora beside the checkout (or named by AURICLE_TEST_AUDIO)."""
    place = os.environ.get("AURICLE_TEST_AUDIO")
    folder = Path(place) if place else Path(__file__).resolve().parents[2] / "shared" / "audio"
    if not (folder / "esc10" / "metadata.csv").is_file():
        pytest.skip(f"no real corpora in {folder}; set AURICLE_TEST_AUDIO to their folder")
    return folder


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """One thread a test process: the suite must not fight over cores."""
    torch.set_num_threads(1)


TONES = {"low": 250.0, "mid": 1000.0, "high": 3500.0}


@pytest.fixture
def tones(tmp_path: Path) -> Callable[..., Corpus]:
    """Makes a corpus of tones in noise; clips of one source differ by noise only."""

    def make(clips: int = 30, *, several: bool = False, seed: int = 0, name: str = "tones", **columns: list) -> Corpus:
        generator = np.random.default_rng(seed)
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        files, labels = [], []
        names = list(TONES)
        for i in range(clips):
            mine = [n for n in names if generator.random() < 0.5] or [names[i % 3]] if several else [names[i % 3]]
            seconds = 0.4 + 0.1 * (i % 2)
            t = np.arange(int(16000 * seconds)) / 16000
            wave = sum(np.sin(2 * np.pi * TONES[n] * t) for n in mine) * 0.1 + generator.normal(size=t.size) * 0.02
            files.append(f"{i:03d} tön.wav")
            labels.append(";".join(mine))
            soundfile.write(folder / files[-1], wave, 16000)
        table = {"file": files, "seconds": [0.45] * clips, "label": labels, **columns}
        return Corpus.from_columns(table, root=folder, name=name)

    return make


@pytest.fixture
def encoder() -> FrozenEncoder:
    """A spectrogram transformer of two narrow blocks, untrained."""
    config = SpectrogramTransformerConfig(width=32, depth=1, heads=1, mels=32, frames=128)
    frontend = KaldiFbankConfig(mels=32).build()
    return FrozenEncoder(frontend, config.build(torch.Generator().manual_seed(1)), name="toy encoder")
