"""Batches of audio and of features, always with their lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Audio:
    """Clips of one sample rate in one tensor.

    Attributes:
        wave: `(B, S)` float32 in [-1, 1]; zeros after a clip's last sample.
        lengths: `(B,)` int64, valid samples of each clip.
        rate: sample rate in Hz.
    """

    wave: Tensor
    lengths: Tensor
    rate: int

    @classmethod
    def stack(cls, clips: Sequence[np.ndarray | Tensor | Sequence[float]], rate: int) -> Audio:
        """Pad 1-D clips with zeros at their end into one batch.

        Examples:
            >>> Audio.stack([[0.1, 0.2, 0.3], [0.4]], rate=16000).lengths
            tensor([3, 1])
        """
        tensors = [torch.as_tensor(clip, dtype=torch.float32) for clip in clips]
        lengths = torch.tensor([t.numel() for t in tensors], dtype=torch.int64)
        wave = torch.zeros(len(tensors), int(lengths.max()) if tensors else 0)
        for row, t in zip(wave, tensors, strict=True):
            row[: t.numel()] = t
        return cls(wave, lengths, rate)

    def to(self, device: torch.device | str) -> Audio:
        """Move to a device."""
        return Audio(self.wave.to(device, non_blocking=True), self.lengths.to(device, non_blocking=True), self.rate)

    def __len__(self) -> int:
        return self.wave.shape[0]

    def __getitem__(self, rows: slice) -> Audio:
        return Audio(self.wave[rows], self.lengths[rows], self.rate)


@dataclass(frozen=True)
class Features:
    """The input of an encoder.

    Attributes:
        x: `(B, T, F)` for spectral front ends, `(B, S)` for the waveform.
        lengths: `(B,)` int64, valid frames (or samples) of each clip; those beyond hold `pad`.
        rate: frames (or samples) per second.
        pad: the value of frames without audio (raw zeros, normalised).
    """

    x: Tensor
    lengths: Tensor
    rate: float
    pad: float = 0.0

    def to(self, device: torch.device | str) -> Features:
        """Move to a device."""
        x, lengths = self.x.to(device, non_blocking=True), self.lengths.to(device, non_blocking=True)
        return Features(x, lengths, self.rate, self.pad)

    def __len__(self) -> int:
        return self.x.shape[0]

    def __getitem__(self, rows: slice) -> Features:
        return Features(self.x[rows], self.lengths[rows], self.rate, self.pad)
