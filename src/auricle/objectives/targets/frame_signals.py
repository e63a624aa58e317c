"""Standardised signals of the clean waveform, frame by frame: targets of regression workers and slice decoders.

Letters in shapes: B clips, T frames, D values of a frame.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.frontend import FrontEnd
from auricle.errors import ConfigError
from auricle.objectives.contract import View, clean_audio


class Standardiser(nn.Module):
    """Mean and deviation of each value over a corpus, in buffers; `fit` measures them before the first step.

    Args:
        size: D.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))
        self._sums: tuple[float, Tensor, Tensor] | None = None

    @torch.no_grad()
    def add(self, x: Tensor) -> None:
        """Add values `(n, D)`."""
        x = x.double().cpu()
        count, total, squares = self._sums or (0.0, x.new_zeros(x.shape[1]), x.new_zeros(x.shape[1]))
        self._sums = (count + len(x), total + x.sum(0), squares + x.square().sum(0))

    @torch.no_grad()
    def finish(self) -> None:
        """Compute mean and deviation of the values added; values that never change keep a deviation of one.

        Raises:
            ConfigError: no values were added.
        """
        if self._sums is None or self._sums[0] < 2:
            raise ConfigError("no frames to measure the targets' mean and deviation on; expected at least two")
        count, total, squares = self._sums
        mean = total / count
        std = (squares / count - mean.square()).clamp(min=0).sqrt()
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 1e-6, std, 1.0))
        self._sums = None

    def forward(self, x: Tensor) -> Tensor:
        """Return `(..., D)` standardised."""
        return (x - self.mean.to(x.dtype)) / self.std.to(x.dtype)


class FrameSignal(nn.Module):
    """A front end's features with their derivatives, standardised, and stacked with their neighbours.

    Args:
        frontend: makes the features.
        deltas: derivatives that are appended: 1 the first, 2 also the second.
        context: frames on either side that are stacked with each; ends repeat.
        what: for messages.

    Attributes:
        size: D = width * (1 + deltas) * (1 + 2 * context).
    """

    def __init__(self, frontend: FrontEnd, deltas: int, context: int, what: str) -> None:
        super().__init__()
        self.frontend, self.deltas, self.context, self.what = frontend, deltas, context, what
        values = frontend.width * (1 + deltas)
        self.standardise = Standardiser(values)
        self.size = values * (1 + 2 * context)

    @torch.no_grad()
    def fit(self, audio: Audio) -> None:
        """Add a batch of clean audio to the statistics."""
        features = self._raw(audio)
        inside = torch.arange(features.x.shape[1], device=features.x.device) < features.lengths[:, None]
        self.standardise.add(features.x[inside])

    @torch.no_grad()
    def forward(self, view: View) -> Tensor:
        """Return `(B, T, size)` at the front end's frame rate.

        Raises:
            ConfigError: the view has no clean waveform in step with it, or one of another sample rate.
        """
        x: Tensor = self.standardise(self._raw(clean_audio(view, self.what)).x)
        if not self.context:
            return x
        padded = F.pad(x.transpose(1, 2), (self.context, self.context), mode="replicate")
        return padded.unfold(2, 1 + 2 * self.context, 1).permute(0, 2, 3, 1).flatten(2)

    def _raw(self, audio: Audio) -> Features:
        features: Features = self.frontend(audio)
        x = features.x if features.x.dim() == 3 else features.x.unsqueeze(-1)  # samples are frames of one value
        if self.deltas or self.context:
            # The last frame of a clip is repeated after its end, so that padding is no neighbour.
            last = features.lengths.to(x.device)[:, None] - 1
            place = torch.minimum(torch.arange(x.shape[1], device=x.device), last)
            x = x.gather(1, place.unsqueeze(-1).expand_as(x))
        tracks = [x]
        for _ in range(self.deltas):
            tracks.append(derivative(tracks[-1]))
        return Features(torch.cat(tracks, 2), features.lengths.to(features.x.device), features.rate)


def derivative(x: Tensor, reach: int = 2) -> Tensor:
    """Return the slope over time of `(B, T, D)`: regression over `reach` frames on either side; ends repeat.

    Source: the HTK book, section on delta coefficients.
    """
    padded = F.pad(x.transpose(1, 2), (reach, reach), mode="replicate").transpose(1, 2)
    total, frames = torch.zeros_like(x), x.shape[1]
    for k in range(1, reach + 1):
        total = total + k * (padded[:, reach + k : reach + k + frames] - padded[:, reach - k : reach - k + frames])
    return total / (2 * sum(k * k for k in range(1, reach + 1)))


def fit_signals(signals: Iterable[FrameSignal], audio: Iterable[Audio]) -> None:
    """Measure the statistics of several signals in one pass over clean audio.

    Raises:
        ConfigError: there is no audio.
    """
    signals = list(signals)
    for batch in audio:
        for signal in signals:
            signal.fit(batch)
    for signal in signals:
        signal.standardise.finish()
