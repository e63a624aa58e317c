"""Tones of a second, a small waveform encoder, and stages made of them: for targets from a previous stage."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.waveform import WaveformConfig
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.parts.conv_position import ConvPositionConfig
from auricle.encoders.parts.waveform_stem import WAV2VEC2_LAYER
from auricle.encoders.waveform_transformer import WaveformTransformerConfig
from auricle.objectives.contract import Preparation, View

STEM = WAV2VEC2_LAYER.narrow(8)
SMALL = WaveformTransformerConfig(
    stem=STEM, width=16, depth=3, heads=2, position=ConvPositionConfig(kernel=5, groups=4), dropout=0.0,
    input_dropout=0.0, attention_dropout=0.0, layer_drop=0.0,
)  # fmt: skip
SAMPLES = 16_000


def clips(count: int, samples: int = SAMPLES, seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    time = np.arange(samples) / 16000
    return [
        (
            0.3 * np.sin(2 * np.pi * (generator.uniform(100, 3000) + generator.uniform(-800, 800) * time) * time)
            + 0.02 * generator.standard_normal(samples)
        ).astype(np.float32)
        for _ in range(count)
    ]


def view_of(waves: list[np.ndarray], first: int = 0) -> View:
    audio = Audio.stack(waves, 16000)
    return View(Features(audio.wave, audio.lengths, 16000.0), torch.arange(first, first + len(waves)), {}, audio)


def preparation(
    count: int = 24,
    previous: FrozenEncoder | None = None,
    notes: list[str] | None = None,
    waves: list[np.ndarray] | None = None,
    batch: int = 8,
) -> Preparation:
    made = clips(count, seed=7) if waves is None else waves

    def views(wanted: int) -> Iterator[View]:
        for start in range(0, min(wanted, len(made)), batch):
            yield view_of(made[start : start + batch], start)

    take = (lambda text: None) if notes is None else notes.append
    return Preparation(views, len(made), previous, torch.Generator().manual_seed(3), take)


def frozen(seed: int = 5) -> FrozenEncoder:
    return FrozenEncoder(WaveformConfig().build(), SMALL.build(torch.Generator().manual_seed(seed)), name="stage one")
