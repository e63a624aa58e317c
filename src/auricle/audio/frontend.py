"""What every front end promises: a batch of waveforms in, a batch of features with their lengths out.

Spectral front ends work in three steps, because augmentation acts between the first two:

    power(audio)          -> Spectrum   power spectrum of each frame, before the mel filters
    log_mel(spectrum)     -> Features   raw: natural logarithm of the mel energies
    normalise(features)   -> Features   (x - mean) / (divisor * std)

Letters in shapes: B clips, S samples, T frames, F mel bands, K = n_fft / 2 + 1 frequency bins.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from auricle.audio.batch import Audio, Features
from auricle.audio.mel import BandedProduct
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

    Without gradients on a CPU a clip at a time goes through all steps, so that it stays in the cache and its features are
    bit for bit those that it has alone. Elsewhere the batch goes through at once.

    A clip shorter than one window is zero-padded at its end to one window, so every clip has at least one frame.

    Attributes:
        n_fft: samples in the Fourier transform.
        bins: K = n_fft / 2 + 1.
        window_samples: samples in a window, at most n_fft.
        hop_samples: samples between the starts of two frames.
    """

    def __init__(
        self,
        config: FrontEndConfig,
        *,
        n_fft: int,
        window_samples: int,
        hop_samples: int,
        filters: np.ndarray,
        statistics: tuple[float, float] | None,
    ) -> None:
        """Keep the constants.

        Args:
            config: the settings.
            n_fft: samples in the Fourier transform.
            window_samples: samples in a window.
            hop_samples: samples between two frames.
            filters: `(K, F)` float64 mel filters.
            statistics: `(mean, scale)`: normalised = (raw - mean) / scale; None: normalised = raw.
        """
        super().__init__(config, frame_rate=config.rate / hop_samples, width=filters.shape[1])
        self.n_fft = n_fft
        self.bins = n_fft // 2 + 1
        self.window_samples = window_samples
        self.hop_samples = hop_samples
        self._mel = BandedProduct(filters)
        self._statistics = statistics

    # What a kind of front end defines.

    @abstractmethod
    def windowed(self, wave: Tensor, lengths: Tensor) -> Tensor:
        """Cut `(B, S)` into windowed frames `(B, T, W)`, W <= n_fft, T = `frames(S)`; differentiable.

        `wave` has at least `window_samples` samples and zeros beyond `lengths`. Valid frames depend on their own clip's
        valid samples only; the others may hold anything finite.
        """

    @abstractmethod
    def log(self, energies: Tensor, *, in_place: bool = False) -> Tensor:
        """Return the floored natural logarithm of mel energies."""

    # What all of them share.

    def power(self, audio: Audio) -> Spectrum:
        """Return the power spectrum of each frame.

        Raises:
            ConfigError: the audio has another sample rate.
        """
        self.check_rate(audio)
        wave = self._prepare(audio.wave)
        if _clip_by_clip(wave):
            counts = self._counts(audio.lengths)
            power = wave.new_empty(wave.shape[0], self.frames(wave.shape[1]), self.bins)
            for i, (row, samples) in enumerate(zip(wave, audio.lengths.tolist(), strict=True)):
                power[i, : counts[i]] = self._clip_power(row, samples)
                power[i, counts[i] :] = 0
            return self._spectrum(power, torch.tensor(counts))
        lengths = self._frame_lengths(audio.lengths)
        with torch.autocast(wave.device.type, enabled=False):
            frames = self.windowed(wave, audio.lengths.clamp(max=wave.shape[1]))
            spectrum = torch.view_as_real(torch.fft.rfft(frames, n=self.n_fft))
            power = spectrum.square().sum(-1)
        return self._spectrum(_fill_beyond(power, lengths, 0.0), lengths)

    def log_mel(self, spectrum: Spectrum) -> Features:
        """Return raw features `(B, T, F)` of power spectra: mel filters, floor, natural logarithm; zeros beyond lengths.

        Raises:
            ConfigError: the spectrum is of another sample rate or transform length.
        """
        if (spectrum.sample_rate, spectrum.n_fft) != (self.rate, self.n_fft):
            raise ConfigError(
                f"a spectrum of {spectrum.sample_rate} Hz and n_fft {spectrum.n_fft} met a front end of {self.rate} Hz "
                f"and n_fft {self.n_fft}; take power() and log_mel() from one front end"
            )
        power = spectrum.power
        if _clip_by_clip(power):
            counts = spectrum.lengths.tolist()
            x = power.new_empty(*power.shape[:2], self.width)
            for row, clip, count in zip(x, power, counts, strict=True):
                self._mel.into(clip[:count], row[:count])
                self.log(row[:count], in_place=True)
                row[count:] = 0
            return Features(x, spectrum.lengths, spectrum.rate)
        with torch.autocast(power.device.type, enabled=False):
            x = self.log(self._mel(power))
        return Features(_fill_beyond(x, spectrum.lengths, 0.0), spectrum.lengths, spectrum.rate)

    def normalise(self, features: Features) -> Features:
        """Return `(x - mean) / scale`, and `pad` with it; unchanged where there are no statistics."""
        if self._statistics is None:
            return features
        mean, scale = self._statistics
        x = (features.x - mean) * (1 / scale)
        return Features(x, features.lengths, features.rate, (features.pad - mean) / scale)

    def raw(self, audio: Audio) -> Features:
        """Return log-mel features before normalisation; zeros beyond lengths."""
        return self.log_mel(self.power(audio))

    def forward(self, audio: Audio) -> Features:
        """Return `normalise(log_mel(power(audio)))`.

        Raises:
            ConfigError: the audio has another sample rate.
        """
        return self.normalise(self.raw(audio))

    def white_noise_power(self) -> np.ndarray:
        """Return the expected power `(K,)` (float64) of white noise of unit variance in each frequency bin."""
        W = self.window_samples
        impulses = torch.eye(W, dtype=torch.float64)
        frames = self.frame_response(impulses)
        return torch.fft.rfft(frames, n=self.n_fft).abs().square().sum(0).numpy()

    @abstractmethod
    def frame_response(self, frames: Tensor) -> Tensor:
        """Apply to cut-out frames `(N, W)` what is linear in each: DC removal, pre-emphasis, window."""

    def _prepare(self, wave: Tensor) -> Tensor:
        if wave.dtype not in (torch.float32, torch.float64):
            wave = wave.float()
        missing = self.window_samples - wave.shape[1]
        return nn.functional.pad(wave, (0, missing)) if missing > 0 else wave

    def _frame_lengths(self, samples: Tensor) -> Tensor:
        """Vectorised `frames`."""
        raise NotImplementedError

    def _spectrum(self, power: Tensor, lengths: Tensor) -> Spectrum:
        return Spectrum(power, lengths, self.frame_rate, self.rate, self.n_fft)


