"""What every front end promises: a batch of waveforms in, a batch of features with their lengths out.

Spectral front ends work in three steps, because augmentation acts between the first two:

    power(audio)          -> Spectrum   power spectrum of each frame, before the mel filters
    log_mel(spectrum)     -> Features   raw: natural logarithm of the mel energies
    normalise(features)   -> Features   (x - mean) / (divisor * std)

Letters in shapes: B clips, S samples, T frames, F mel bands, K = n_fft / 2 + 1 frequency bins.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.mel import MelBank
from auricle.config import Config
from auricle.errors import ConfigError


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


@dataclass(frozen=True)
class FrontEndConfig(Config, ABC):
    """Settings of a front end.

    Attributes:
        rate: sample rate in Hz of the audio that it takes.
    """

    rate: int = 16000

    uses_statistics: ClassVar[bool] = True
    """Whether `with_statistics` changes anything: False where nothing is normalised by a corpus's statistics."""

    def __post_init__(self) -> None:
        """Refuse a rate that is not positive."""
        if self.rate <= 0:
            raise ConfigError(f"rate is {self.rate} Hz; a sample rate is a positive number of samples per second")

    @abstractmethod
    def build(self) -> FrontEnd:
        """Make the front end."""

    @abstractmethod
    def with_statistics(self, mean: float, std: float) -> Self:
        """Return these settings with a corpus's mean and standard deviation of the raw features.

        Where `uses_statistics` is False the settings come back unchanged.

        Raises:
            ConfigError: the standard deviation is not positive, or a value is not finite.
        """


class FrontEnd(nn.Module, ABC):
    """Base of all front ends. Without parameters; works on the device and in the precision of the audio.

    Attributes:
        config: the settings that it was built from.
        rate: sample rate in Hz of the audio that it takes.
        frame_rate: frames per second (the sample rate itself for the waveform).
        width: F, values per frame (1 for the waveform).
    """

    config: FrontEndConfig
    rate: int
    frame_rate: float
    width: int

    def __init__(self, config: FrontEndConfig, *, frame_rate: float, width: int) -> None:
        super().__init__()
        self.config = config
        self.rate = config.rate
        self.frame_rate = frame_rate
        self.width = width

    @abstractmethod
    def forward(self, audio: Audio) -> Features:
        """Turn audio into normalised features; what lies beyond a clip's length holds `Features.pad`.

        Raises:
            ConfigError: the audio has another sample rate.
        """

    @abstractmethod
    def raw(self, audio: Audio) -> Features:
        """Return the features before normalisation, for measuring statistics; `pad` is 0."""

    @abstractmethod
    def frames(self, samples: int) -> int:
        """Return how many frames a clip of so many samples has; at least one."""

    def check_rate(self, audio: Audio) -> None:
        """Refuse audio of another sample rate.

        Raises:
            ConfigError: the rates differ.
        """
        if audio.rate != self.rate:
            raise ConfigError(
                f"audio of {audio.rate} Hz met a front end of {self.rate} Hz; "
                f"decode with rate={self.rate} or build the front end with rate={audio.rate}"
            )


class SpectralFrontEnd(FrontEnd):
    """Base of the front ends made of windowed frames, their power spectra and mel filters.

    Without gradients on a CPU one clip at a time goes through all steps in blocks of frames that fit the cache, and its
    features are bit for bit those that it has alone. Elsewhere the batch goes through at once, and a clip's features
    agree with those that it has alone to rounding. Autocast never lowers the precision of either.

    A clip shorter than one window is zero-padded at its end to one window, so every clip has at least one frame.

    Attributes:
        n_fft: samples in the Fourier transform.
        bins: K = n_fft / 2 + 1.
        window_samples: W, samples in a frame, at most n_fft.
        hop_samples: samples between the starts of two frames.
        margin: samples that `condition` adds to a clip, both ends together.
        filters: `(K, F)` float64 mel filters.
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
        """Keep the constants.

        Args:
            config: the settings.
            n_fft: samples in the Fourier transform.
            window_samples: samples in a frame.
            hop_samples: samples between two frames.
            margin: samples that `condition` adds to a clip, both ends together.
            filters: `(K, F)` float64 mel filters.
            statistics: `(mean, scale)`: normalised = (raw - mean) / scale; None: normalised = raw.
        """
        super().__init__(config, frame_rate=config.rate / hop_samples, width=filters.shape[1])
        self.n_fft = n_fft
        self.bins = n_fft // 2 + 1
        self.window_samples = window_samples
        self.hop_samples = hop_samples
        self.margin = margin
        self.filters = filters
        self._mel = MelBank(filters)
        self._statistics = statistics

    # What a kind of spectral front end defines.

    @abstractmethod
    def condition(self, wave: Tensor, lengths: Tensor | None) -> Tensor:
        """Do to clips `(B, S)` what concerns a clip as a whole: mean removal, padding at both ends; differentiable.

        Returns at least `window_samples` samples per clip. A clip's valid frames depend on its own valid samples only.

        Args:
            wave: `(B, S)` samples.
            lengths: `(B,)` valid samples; None: all samples are valid.
        """

    @abstractmethod
    def frame_response(self, frames: Tensor) -> Tensor:
        """Do to cut-out frames `(..., W)` what is linear in each: DC removal, pre-emphasis, window; differentiable."""

    @abstractmethod
    def frame_response_into(self, frames: Tensor, out: Tensor) -> None:
        """Write `frame_response(frames)` of `(T, W)` frames into `out (T, W)`; without gradients."""

    @abstractmethod
    def log(self, energies: Tensor) -> Tensor:
        """Return the floored natural logarithm of mel energies; differentiable."""

    @abstractmethod
    def log_(self, energies: Tensor) -> Tensor:
        """Do what `log` does, in place; without gradients."""

    # What all of them share.

    def frames(self, samples: int) -> int:
        """Return how many frames a clip of so many samples has; at least one."""
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
                frames = self.frame_response(self._cut(self.condition(wave, lengths)))
                # Padding here and not inside rfft, which is several times slower at it on a CPU.
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
        """Return `(x - mean) / scale`, and `pad` with it; unchanged where there are no statistics."""
        if self._statistics is None:
            return features
        mean, scale = self._statistics
        return Features((features.x - mean) / scale, features.lengths, features.rate, (features.pad - mean) / scale)

    def raw(self, audio: Audio) -> Features:
        """Return log-mel features before normalisation; zeros beyond a clip's length.

        Raises:
            ConfigError: the audio has another sample rate.
        """
        return self._features(audio, None)

    def forward(self, audio: Audio) -> Features:
        """Return `normalise(log_mel(power(audio)))`.

        Raises:
            ConfigError: the audio has another sample rate.
        """
        return self._features(audio, self._statistics)

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
        frames = self._cut(self.condition(clip[None], None))[0]
        block = min(self._BLOCK, frames.shape[0])
        windowed = clip.new_zeros(block, self.n_fft)
        power = clip.new_empty(block, self.bins)
        for start in range(0, frames.shape[0], block):
            part = frames[start : start + block]
            n = part.shape[0]
            self.frame_response_into(part, windowed[:n, : self.window_samples])
            squares = torch.view_as_real(torch.fft.rfft(windowed[:n])).square_()
            yield start, torch.add(squares[..., 0], squares[..., 1], out=power[:n])

    def _cut(self, wave: Tensor) -> Tensor:
        return wave.unfold(-1, self.window_samples, self.hop_samples)

    def _accept(self, audio: Audio) -> tuple[Tensor, Tensor]:
        self.check_rate(audio)
        wave = audio.wave if audio.wave.dtype in (torch.float32, torch.float64) else audio.wave.float()
        return wave, audio.lengths

    def _counts(self, samples: Tensor) -> Tensor:
        padded = samples.clamp(min=self.window_samples) + self.margin
        return 1 + (padded - self.window_samples) // self.hop_samples


def check_statistics(mean: float, std: float, divisor: float = 1.0) -> None:
    """Refuse statistics that can't normalise anything.

    Raises:
        ConfigError: a value is not finite, or the standard deviation or the divisor is not positive.
    """
    if not (math.isfinite(mean) and math.isfinite(std) and math.isfinite(divisor) and std > 0 and divisor > 0):
        raise ConfigError(
            f"normalisation by mean {mean}, std {std}, divisor {divisor}; expected finite numbers, "
            "std and divisor above 0: measure the statistics on clips that are not all silent"
        )


def _by_clip(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and not (torch.is_grad_enabled() and tensor.requires_grad)


def _full_precision(device: torch.device) -> AbstractContextManager[None]:
    """Keep autocast away: near the floor, bfloat16 would be off by whole units of log-mel."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def _fill_beyond(x: Tensor, counts: Tensor, value: float) -> Tensor:
    """Fill the frames of `(B, T, ...)` beyond each clip's count."""
    beyond = torch.arange(x.shape[1], device=x.device) >= counts[:, None]
    return x.masked_fill(beyond[..., None], value)
