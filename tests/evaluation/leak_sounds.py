"""Sounds that no two seeds make alike, and corpora of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from auricle.corpus.table import Corpus

RATE = 16000


def sound(seed: int, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    """Some noise bursts and a tone, all drawn: what two clips of one class have in common."""
    draw = np.random.default_rng(seed)
    wave = draw.standard_normal(int(seconds * rate)) * np.repeat(draw.uniform(0.02, 0.3, 10), int(seconds * rate) // 10)
    return (wave + 0.1 * np.sin(2 * np.pi * 440 * np.arange(len(wave)) / rate)).astype(np.float32).clip(-1, 1)


def corpus_of(folder: Path, waves: dict[str, tuple[np.ndarray, int]], **columns: list) -> Corpus:
    folder.mkdir(exist_ok=True)
    for name, (wave, rate) in waves.items():
        soundfile.write(folder / name, wave, rate)
    seconds = [len(wave) / rate for wave, rate in waves.values()]
    return Corpus.from_columns({"file": list(waves), "seconds": seconds, **columns}, root=folder)


def written(path: Path, wave: np.ndarray) -> Path:
    soundfile.write(path, wave, RATE)
    return path
