"""Heads without weights that find two tones, whose scores are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import soundfile
import torch
from torch import Tensor

from auricle.audio.batch import Audio
from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.models import Model
from auricle.models.heads import Head

RATE = 16000
FRAME = 640  # samples
TONES = {"low": 500.0, "high": 3000.0}


def shares(wave: Tensor) -> Tensor:
    """Share of the power at each tone, `(..., 2)`."""
    power = torch.fft.rfft(wave).abs().square()
    freqs = torch.fft.rfftfreq(wave.shape[-1], 1 / RATE)
    total = power.sum(-1).clamp(min=1e-12)
    near = [power[..., (freqs - tone).abs() < 100].sum(-1) / total for tone in TONES.values()]
    return torch.stack(near, -1).float()


class ToyHead(Head):
    """Base: nothing is kept on disk but the common facts."""

    def of_tokens(self, tokens: object) -> Tensor:
        raise NotImplementedError

    def record(self) -> dict[str, Any]:
        return {}

    def tensors(self) -> dict[str, Tensor]:
        return {"nothing": torch.zeros(1)}

    @classmethod
    def rebuilt(cls, common: dict[str, Any], record: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        return cls(**common)


class ToneHead(ToyHead):
    form = "toy tones"

    def raw(self, frozen: FrozenEncoder, audio: Audio) -> Tensor:
        clips = zip(audio.wave, audio.lengths.tolist(), strict=True)
        return torch.stack([shares(wave[:length]) for wave, length in clips])

    def frames(self, frozen: FrozenEncoder, audio: Audio) -> tuple[Tensor, float]:
        short = audio.wave.shape[1] % FRAME
        wave = torch.nn.functional.pad(audio.wave, (0, FRAME - short if short else 0))
        return shares(wave.unfold(1, FRAME, FRAME)), FRAME / RATE


class LoudHead(ToyHead):
    """Anomaly: the root of the mean square."""

    form = "toy loudness"

    def raw(self, frozen: FrozenEncoder, audio: Audio) -> Tensor:
        return (audio.wave.square().sum(1) / audio.lengths).sqrt()[:, None]

    def nearest(self, frozen: FrozenEncoder, audio: Audio) -> list[tuple[str, float]]:
        return [(f"normal {value:.1f}.wav", float(value) / 2) for value in self.raw(frozen, audio)[:, 0]]


class Slow(ToneHead):
    """Says where it is, and waits."""

    form = "toy slow"

    def raw(self, frozen: FrozenEncoder, audio: Audio) -> Tensor:
        import time

        time.sleep(self.details["seconds"])
        return super().raw(frozen, audio)


def toy_encoder() -> FrozenEncoder:
    config = SpectrogramTransformerConfig(width=16, depth=1, heads=2, mels=32, frames=64)
    encoder = config.build(torch.Generator().manual_seed(0))
    return FrozenEncoder(KaldiFbankConfig(mels=32).build(), encoder, name="toy")


def tone_model(kind: str = "clips", head: type[Head] = ToneHead, **facts: Any) -> Model:
    classes = ("anomaly",) if kind == "anomaly" else tuple(TONES)
    settings = {"classes": classes, "thresholds": (0.5,) * len(classes), **facts}
    return Model(toy_encoder(), head(kind=kind, **settings), Path("toy"))


def recording(path: Path, seconds: float, *calls: tuple[str, float, float], rate: int = RATE, seed: int = 0) -> Path:
    """Write soft noise with tones: (name, begin, end) in seconds."""
    t = np.arange(round(seconds * rate)) / rate
    wave = 0.001 * np.random.default_rng(seed).standard_normal(len(t))
    for name, begin, end in calls:
        wave += 0.3 * np.sin(2 * np.pi * TONES[name] * t) * ((t >= begin) & (t < end))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate, subtype="PCM_16")
    return path
