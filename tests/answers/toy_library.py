"""Recordings, and an encoder whose vectors are easy to compute by hand."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile
import torch

RATE, SEGMENT, HOP = 8000, 1.0, 0.5
TONES = {"low.wav": 300.0, "mid.wav": 1000.0, "birds/high.wav": 3000.0}


class Bands:
    """Energies of 16 bands: one vector per clip."""

    rate, width = RATE, 16

    def __call__(self, wave: torch.Tensor) -> torch.Tensor:
        power = torch.fft.rfft(torch.as_tensor(wave)).abs()
        edges = torch.linspace(0, power.shape[-1], self.width + 1).long().tolist()
        parts = [power[..., a:b].mean(-1) for a, b in pairwise(edges)]
        return torch.log1p(torch.stack(parts, -1))


class OtherBands(Bands):
    """Another model."""

    def __call__(self, wave: torch.Tensor) -> torch.Tensor:
        return super().__call__(wave).flip(-1)


class Framed(Bands):
    """One vector for each tenth of a second."""

    def __call__(self, wave: torch.Tensor) -> torch.Tensor:
        parts = torch.as_tensor(wave).split(RATE // 10, dim=-1)
        return torch.stack([super(Framed, self).__call__(part) for part in parts if part.shape[-1] > RATE // 20], -2)


def write_tone(path: Path, hertz: float, seconds: float = 3.2, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(seed).normal(size=len(time)) * 0.02
    soundfile.write(path, (0.3 * np.sin(2 * np.pi * hertz * time) + noise).astype(np.float32), RATE)


def write_recordings(folder: Path) -> Path:
    """Three tones of 3.2 s."""
    for place, (name, hertz) in enumerate(TONES.items()):
        write_tone(folder / name, hertz, seed=place)
    return folder
