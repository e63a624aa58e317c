"""Log-mel spectrograms of the short-time Fourier transform: the input of BYOL-A and many later methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor, nn

from auricle.audio.frontends.constant import Constant
from auricle.audio.frontends.frontend import FrontEndConfig
from auricle.audio.frontends.mel import mel_filters
from auricle.audio.frontends.spectral import Mean, SpectralFrontEnd
from auricle.config import Count, Positive
from auricle.errors import ConfigError


@dataclass(frozen=True)
class LogMelConfig(FrontEndConfig):
    """Settings of the log-mel front end; the defaults are BYOL-A v1's (arXiv 2103.06695, through torchaudio).

    BYOL-A v2 (arXiv 2204.07402) has `scale="slaney", area_norm=True`. The two differ by 4.5 on white noise: measure the
    statistics with the front end in use.

    Attributes:
        rate: sample rate in Hz.
        mels: F, mel bands.
        n_fft: samples in the Fourier transform.
        window: samples of the periodic Hann window, centred in the transform's.
        hop: samples between two frames.
        low: lowest corner of the mel bands in Hz.
        high: highest corner in Hz; None: half the sample rate.
        scale: mel scale.
        area_norm: divide each mel filter by half its width in Hz.
        centre: frames are centred on multiples of the hop, the clip reflected at its ends; otherwise the first frame
            starts with the clip and the last ends within it.
        floor: keeps the logarithm finite.
        floor_mode: 'add': ln(energy + floor); 'clamp': ln(max(energy, floor)).
        mean: mean of the raw features over the corpus; None, with `std` None: nothing is normalised.
        std: their standard deviation.
        divisor: normalised = (raw - mean) / (divisor * std).
    """

    mels: int = 64
    n_fft: int = 1024
    window: Annotated[int, Ge(2)] = 1024
    hop: Count = 160
    low: float = 60.0
    high: float | None = 7800.0
    scale: Literal["htk", "slaney"] = "htk"
    area_norm: bool = False
    centre: bool = True
    floor: Positive = 1.1920928955078125e-07
    floor_mode: Literal["add", "clamp"] = "add"
    mean: Mean | None = None
    std: Positive | None = None
    divisor: Positive = 1.0

    uses_statistics: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.window > self.n_fft:
            raise ConfigError(f"window is {self.window} and n_fft is {self.n_fft}; expected window <= n_fft")
        if (self.mean is None) != (self.std is None):
            raise ConfigError(f"mean is {self.mean} and std is {self.std}; set both, or neither")


class LogMel(SpectralFrontEnd):
    """Logarithm of mel energies of the short-time Fourier transform.

    Frames of n_fft samples times a periodic Hann window, squared magnitude, mel filters, natural logarithm.

    `forward`: `Audio (B, S)` -> `Features (B, T, F)`; T = 1 + S // hop if centred (and n_fft even), else
    1 + (S - n_fft) // hop. A clip shorter than n_fft is first zero-padded to n_fft.
    """

    config: LogMelConfig

    def __init__(self, config: LogMelConfig) -> None:
        filters = mel_filters(
            bands=config.mels,
            n_fft=config.n_fft,
            rate=config.rate,
            low=config.low,
            high=config.rate / 2 if config.high is None else config.high,
            scale=config.scale,
            area_norm=config.area_norm,
        )
        self._reach = config.n_fft // 2 if config.centre else 0
        statistics = None
        if config.mean is not None and config.std is not None:
            statistics = (config.mean, config.divisor * config.std)
        super().__init__(
            config,
            n_fft=config.n_fft,
            window_samples=config.n_fft,
            hop_samples=config.hop,
            margin=2 * self._reach,
            filters=filters,
            statistics=statistics,
        )
        window = np.zeros(config.n_fft)
        first = (config.n_fft - config.window) // 2
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(config.window) / config.window)
        window[first : first + config.window] = hann
        self._window = Constant(window)

    def condition(self, wave: Tensor, lengths: Tensor | None) -> Tensor:
        wave = nn.functional.pad(wave, (0, max(0, self.n_fft - wave.shape[1])))
        if lengths is None:
            return nn.functional.pad(wave, (self._reach, self._reach), mode="reflect") if self._reach else wave
        place = torch.arange(-self._reach, wave.shape[1] + self._reach, device=wave.device)
        wave = wave * (place[self._reach : self._reach + wave.shape[1]] < lengths[:, None])
        last = lengths.clamp(min=self.n_fft)[:, None] - 1
        # |place| reflects the start, last - |last - place| the end; samples past a whole reflection are never valid.
        source = (last - (last - place.abs()).abs()).clamp(min=0)
        return wave.gather(1, source)

    def frame_response(self, frames: Tensor) -> Tensor:
        return frames * self._window.like(frames)

    def frame_response_into(self, frames: Tensor, out: Tensor) -> None:
        torch.mul(frames, self._window.like(frames), out=out)

    def log(self, energies: Tensor) -> Tensor:
        if self.config.floor_mode == "add":
            return (energies + self.config.floor).log()
        return energies.clamp(min=self.config.floor).log()

    def log_(self, energies: Tensor) -> Tensor:
        if self.config.floor_mode == "add":
            return energies.add_(self.config.floor).log_()
        return energies.clamp_(min=self.config.floor).log_()
