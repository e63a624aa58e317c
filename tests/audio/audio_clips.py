"""Generators and batches of noise that the tests of this folder share."""

from __future__ import annotations

import numpy as np
import torch

from auricle.audio.batch import Audio
from auricle.audio.ops.wave_op import WaveOpConfig

RATE = 16000


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ragged(*samples: int, seed: int = 5) -> Audio:
    generator = seeded(seed)
    return Audio.stack([0.1 * torch.randn(n, generator=generator) for n in samples], RATE)


def always(config: WaveOpConfig) -> WaveOpConfig:
    return config.replace(p=1.0)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape) * 0.1


def one(wave: np.ndarray, rate: int = RATE, dtype: torch.dtype = torch.float32) -> Audio:
    return Audio(torch.tensor(wave, dtype=dtype)[None], torch.tensor([len(wave)]), rate)


def rms(x: torch.Tensor) -> float:
    return float(x.double().square().mean().sqrt())
