"""The base of front ends made of windowed frames, their power spectra and mel filters.

Spectral front ends work in three steps, because augmentation acts between the first two:

    power(audio)          -> Spectrum   power spectrum of each frame, before the mel filters
    log_mel(spectrum)     -> Features   raw: natural logarithm of the mel energies
    normalise(features)   -> Features   (x - mean) / (divisor * std)

Letters in shapes: B clips, S samples, T frames, F mel bands, K = n_fft / 2 + 1 frequency bins.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.frontend import FrontEnd, FrontEndConfig
from auricle.audio.frontends.mel import MelBank
from auricle.errors import ConfigError

Mean = Annotated[float, Ge(-1000), Le(1000)]
"""A mean of natural logarithms of energies: those of float64 lie within 745 of zero."""


@dataclass(frozen=True)
class Spectrum:
    """Power spectra of a batch of clips, before the mel filters.

    Attributes:
        power: `(B, T, K)` squared magnitudes, K = n_fft / 2 + 1; zeros in the frames beyond a clip's length.
        lengths: `(B,)` int64, valid frames of each clip.
        rate: frames per second.
        sample_rate: rate of the waveform in Hz; bin k lies at `k * sample_rate / n_fft` Hz.
        n_fft: samples in the Fourier transform.
    """

    power: Tensor
    lengths: Tensor
    rate: float
    sample_rate: int
    n_fft: int

    def to(self, device: torch.device | str) -> Spectrum:
        """Move to a device."""
        power, lengths = self.power.to(device, non_blocking=True), self.lengths.to(device, non_blocking=True)
        return Spectrum(power, lengths, self.rate, self.sample_rate, self.n_fft)

    def __len__(self) -> int:
        return self.power.shape[0]

    def __getitem__(self, rows: slice) -> Spectrum:
        return Spectrum(self.power[rows], self.lengths[rows], self.rate, self.sample_rate, self.n_fft)


class SpectralFrontEnd(FrontEnd):
    """Base of the front ends made of windowed frames, their power spectra and mel filters.

    On a CPU without gradients, clips are processed one at a time in blocks of frames that fit the cache: a clip's
    features are bit for bit the same in any batch. Elsewhere the batch is processed at once, and they are the same to
    rounding. Autocast never lowers the precision.

    A clip shorter than one window is zero-padded at its end to one window, so every clip has at least one frame.

    Attributes:
        n_fft: samples in the Fourier transform.
        bins: K = n_fft / 2 + 1.
        window_samples: W, samples in a frame, at most n_fft.
        hop_samples: samples between the starts of two frames.
        margin: samples that `condition` adds to a clip, both ends together.
        filters: `(K, F)` float64 mel filters.
        statistics: `(mean, scale)`: normalised = (raw - mean) / scale; None: normalised = raw.
    """

    _BLOCK = 256  # frames; the three buffers of a block then take about one megabyte at n_fft = 512

    def __init__(
        self,
        config: FrontEndConfig,
        *,
        n_fft: int,
        window_samples: int,
        hop_samples: int,
        margin: int,
        filters: np.ndarray,
        statistics: tuple[float, float] | None,
    ) -> None:
        super().__init__(config, frame_rate=config.rate / hop_samples, width=filters.shape[1])
        self.n_fft = n_fft
        self.bins = n_fft // 2 + 1
        self.window_samples = window_samples
        self.hop_samples = hop_samples
        self.margin = margin
        self.filters = filters
        self._mel = MelBank(filters)
        self.statistics = statistics

    @cached_property
    def centres(self) -> np.ndarray:
        """Centre frequency of each mel band in Hz, `(F,)`; NaN for a band narrower than one bin."""
        hertz = np.arange(self.bins) * self.rate / self.n_fft
        total = self.filters.sum(0)
        return (self.filters * hertz[:, None]).sum(0) / np.where(total > 0, total, np.nan)

    @abstractmethod
    def condition(self, wave: Tensor, lengths: Tensor | None) -> Tensor:
        """Prepare whole clips `(B, S)`: mean removal, padding at both ends; differentiable.

        Returns at least `window_samples` samples per clip. A clip's valid frames depend on its own valid samples only.

        Args:
            wave: `(B, S)` samples.
            lengths: `(B,)` valid samples; None: all samples are valid.
        """

    @abstractmethod
    def frame_response(self, frames: Tensor) -> Tensor:
        """Apply the linear steps to frames `(..., W)`: DC removal, pre-emphasis, window; differentiable."""

    @abstractmethod
    def frame_response_into(self, frames: Tensor, out: Tensor) -> None:
        """Write `frame_response(frames)` of `(T, W)` frames into `out (T, W)`; without gradients."""

    @abstractmethod
    def log(self, energies: Tensor) -> Tensor:
        """Return the floored natural logarithm of mel energies; differentiable."""

    @abstractmethod
    def log_(self, energies: Tensor) -> Tensor:
        """Apply `log` in place; without gradients."""

    def frames(self, samples: int) -> int:
        padded = max(samples, self.window_samples) + self.margin
        return 1 + (padded - self.window_samples) // self.hop_samples

    def power(self, audio: Audio) -> Spectrum:
        """Return the power spectrum of each frame, `(B, T, K)`.

        Raises:
            ConfigError: the audio has another sample rate.
        """
        wave, lengths = self._accept(audio)
        counts = self._counts(lengths)
        if _by_clip(wave):
            power = wave.new_empty(len(audio), self.frames(wave.shape[1]), self.bins)
            for row, clip, samples in zip(power, wave, lengths.tolist(), strict=True):
                row[self.frames(samples) :] = 0
                for start, block in self._power_blocks(clip[:samples]):
                    row[start : start + block.shape[0]] = block
        else:
            with _full_precision(wave.device):
                frames = self.frame_response(self._frame(self.condition(wave, lengths)))
                # Padding here is several times faster on a CPU than inside rfft.
                frames = nn.functional.pad(frames, (0, self.n_fft - self.window_samples))
                power = torch.view_as_real(torch.fft.rfft(frames)).square().sum(-1)
                power = _fill_beyond(power, counts, 0.0)
        return Spectrum(power, counts, self.frame_rate, self.rate, self.n_fft)

    def log_mel(self, spectrum: Spectrum) -> Features:
        """Return raw features `(B, T, F)`: mel filters, floor, natural logarithm; zeros beyond a clip's length.

        Raises:
            ConfigError: the spectrum is of another sample rate or transform length.
        """
        if (spectrum.sample_rate, spectrum.n_fft) != (self.rate, self.n_fft):
            raise ConfigError(
                f"a spectrum of {spectrum.sample_rate} Hz and n_fft {spectrum.n_fft} met a front end of {self.rate} Hz "
                f"and n_fft {self.n_fft}; take power() and log_mel() from the same front end"
            )
        power, counts = spectrum.power, spectrum.lengths
        if _by_clip(power):
            x = power.new_empty(*power.shape[:2], self.width)
            for row, clip, count in zip(x, power, counts.tolist(), strict=True):
                row[count:] = 0
                for start in range(0, count, self._BLOCK):
                    stop = min(start + self._BLOCK, count)
                    self._mel.into(clip[start:stop], row[start:stop])
                    self.log_(row[start:stop])
        else:
            with _full_precision(power.device):
                x = _fill_beyond(self.log(self._mel(power)), counts, 0.0)
        return Features(x, counts, spectrum.rate)

    def normalise(self, features: Features) -> Features:
        """Return `(x - mean) / scale`, and `pad` with it; unchanged without statistics."""
        if self.statistics is None:
            return features
        mean, scale = self.statistics
        return Features((features.x - mean) / scale, features.lengths, features.rate, (features.pad - mean) / scale)

    def raw(self, audio: Audio) -> Features:
        return self._features(audio, None)

    def forward(self, audio: Audio) -> Features:
        return self._features(audio, self.statistics)

    def white_noise_power(self) -> np.ndarray:
        """Return the expected power `(K,)` (float64) in each bin for white noise of unit variance."""
        impulses = torch.eye(self.window_samples, dtype=torch.float64)
        response = torch.fft.rfft(self.frame_response(impulses), n=self.n_fft)
        return response.abs().square().sum(0).numpy()

    def _features(self, audio: Audio, statistics: tuple[float, float] | None) -> Features:
        wave, lengths = self._accept(audio)
        if not _by_clip(wave):
            features = self.log_mel(self.power(audio))
            return features if statistics is None else self.normalise(features)
        mean, scale = (0.0, 1.0) if statistics is None else statistics
        pad = -mean / scale
        x = wave.new_empty(len(audio), self.frames(wave.shape[1]), self.width)
        for row, clip, samples in zip(x, wave, lengths.tolist(), strict=True):
            row[self.frames(samples) :] = pad
            for start, power in self._power_blocks(clip[:samples]):
                block = row[start : start + power.shape[0]]
                self._mel.into(power, block)
                self.log_(block)
                if statistics is not None:
                    block.sub_(mean).div_(scale)
        return Features(x, self._counts(lengths), self.frame_rate, pad)

    def _power_blocks(self, clip: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield `(first frame, power (<= block, K))` of one clip `(S,)`; the next block overwrites the last."""
        frames = self._frame(self.condition(clip[None], None))[0]
        block = min(self._BLOCK, frames.shape[0])
        windowed = clip.new_zeros(block, self.n_fft)
        power = clip.new_empty(block, self.bins)
        for start in range(0, frames.shape[0], block):
            part = frames[start : start + block]
            n = part.shape[0]
            self.frame_response_into(part, windowed[:n, : self.window_samples])
            squares = torch.view_as_real(torch.fft.rfft(windowed[:n])).square_()
            yield start, torch.add(squares[..., 0], squares[..., 1], out=power[:n])

    def _frame(self, wave: Tensor) -> Tensor:
        return wave.unfold(-1, self.window_samples, self.hop_samples)

    def _accept(self, audio: Audio) -> tuple[Tensor, Tensor]:
        self.check_rate(audio)
        wave = audio.wave if audio.wave.dtype in (torch.float32, torch.float64) else audio.wave.float()
        return wave, audio.lengths

    def _counts(self, samples: Tensor) -> Tensor:
        padded = samples.clamp(min=self.window_samples) + self.margin
        return 1 + (padded - self.window_samples) // self.hop_samples


def _by_clip(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and not (torch.is_grad_enabled() and tensor.requires_grad)


def _full_precision(device: torch.device) -> AbstractContextManager[None]:
    """Disable autocast: near the floor, bfloat16 is off by whole units of log-mel."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def _fill_beyond(x: Tensor, counts: Tensor, value: float) -> Tensor:
    """Fill the frames of `(B, T, ...)` beyond each clip's count."""
    beyond = torch.arange(x.shape[1], device=x.device) >= counts[:, None]
    return x.masked_fill(beyond[..., None], value)
