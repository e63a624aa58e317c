"""Mel-frequency cepstral coefficients and their differences over time, as in Kaldi: HuBERT's first targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.constant import Constant
from auricle.audio.frontends.frontend import FrontEnd, FrontEndConfig
from auricle.audio.frontends.kaldi_fbank import KaldiFbank, KaldiFbankConfig
from auricle.config import Count, Natural, NonNegative
from auricle.errors import ConfigError


@dataclass(frozen=True)
class MfccConfig(FrontEndConfig):
    """Settings of the MFCC front end; the defaults are those of HuBERT's first targets: 39 values, 100 times a second.

    13 coefficients, their first and their second differences (arXiv 2106.07447, section IV-A), with Kaldi's defaults.

    Attributes:
        rate: sample rate in Hz.
        coefficients: cepstral coefficients including the zeroth (the level); at most `mels`.
        mels: mel bands that they are computed from.
        window_seconds: length of a frame.
        hop_seconds: time between two frames.
        low: lowest corner of the mel bands in Hz.
        high: highest corner in Hz; None: half the sample rate.
        lifter: Q of the weights 1 + Q / 2 sin(pi k / Q) on coefficient k; 0: none.
        differences: orders of differences after the coefficients.
        reach: frames on either side that a difference is fitted to.
    """

    coefficients: Count = 13
    mels: int = 23
    window_seconds: float = 0.025
    hop_seconds: float = 0.010
    low: float = 20.0
    high: float | None = None
    lifter: NonNegative = 22.0
    differences: Natural = 2
    reach: Count = 2

    def __post_init__(self) -> None:
        if self.coefficients > self.mels:
            raise ConfigError(f"coefficients is {self.coefficients}; expected at most {self.mels}, the mel bands")
        self.filter_bank()

    def filter_bank(self) -> KaldiFbankConfig:
        """Return the settings of the log-mel energies that the coefficients are computed from."""
        return KaldiFbankConfig(
            rate=self.rate, mels=self.mels, window_seconds=self.window_seconds, hop_seconds=self.hop_seconds,
            low=self.low, high=self.high, window="povey", remove_clip_mean=False, mean=0.0, std=1.0, divisor=1.0,
        )  # fmt: skip


class Mfcc(FrontEnd):
    """`Audio (B, S)` -> `Features (B, T, F)`, F = coefficients * (1 + differences), zeros beyond a clip's length.

    Log-mel energies through an orthonormal cosine transform (type II), weighted by the lifter. A difference is the
    slope of a straight line fitted to the `reach` frames on either side; a clip's first and last frames are repeated
    beyond its ends.
    """

    config: MfccConfig

    def __init__(self, config: MfccConfig) -> None:
        fbank = KaldiFbank(config.filter_bank())
        super().__init__(config, frame_rate=fbank.frame_rate, width=config.coefficients * (1 + config.differences))
        self.fbank = fbank
        self._transform = Constant(cepstral_transform(config.coefficients, config.mels, config.lifter))

    def frames(self, samples: int) -> int:
        return self.fbank.frames(samples)

    def raw(self, audio: Audio) -> Features:
        return self.forward(audio)

    def forward(self, audio: Audio) -> Features:
        self.check_rate(audio)
        energies = self.fbank(audio)
        with torch.autocast(energies.x.device.type, enabled=False):
            x = energies.x @ self._transform.like(energies.x)
            parts = [x]
            for _ in range(self.config.differences):
                parts.append(slopes(parts[-1], energies.lengths, self.config.reach))
            x = torch.cat(parts, -1)
        inside = torch.arange(x.shape[1], device=x.device) < energies.lengths[:, None].to(x.device)
        return Features(x * inside.unsqueeze(-1), energies.lengths, self.frame_rate)


def cepstral_transform(coefficients: int, mels: int, lifter: float) -> np.ndarray:
    """Return the matrix `(mels, coefficients)` that turns log-mel energies into liftered cepstral coefficients."""
    band, order = np.arange(mels)[:, None], np.arange(coefficients)[None]
    matrix = np.sqrt(2.0 / mels) * np.cos(np.pi / mels * (band + 0.5) * order)
    matrix[:, 0] = np.sqrt(1.0 / mels)
    if lifter:
        matrix = matrix * (1.0 + 0.5 * lifter * np.sin(np.pi * order / lifter))
    return matrix


def slopes(x: Tensor, lengths: Tensor, reach: int) -> Tensor:
    """Return the least-squares slope over time of `x (B, T, D)` at each frame, from `reach` frames on either side.

    Args:
        x: frames.
        lengths: `(B,)` valid frames; beyond a clip's ends its first and last frames are repeated.
        reach: frames on either side.
    """
    place = torch.arange(x.shape[1], device=x.device)
    last = (lengths.to(x.device) - 1).clamp(min=0)[:, None]
    total = torch.zeros_like(x)
    for n in range(1, reach + 1):
        after, before = torch.minimum(place + n, last), torch.minimum((place - n).clamp(min=0), last)
        total += n * (_frames_at(x, after) - _frames_at(x, before))
    return total / (2 * sum(n * n for n in range(1, reach + 1)))


def _frames_at(x: Tensor, place: Tensor) -> Tensor:
    return x.gather(1, place.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
