"""Kaldi's log-mel filter bank, batched: AudioMosaic's, AST's and BEATs' input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from auricle.audio.frontends.constant import Constant
from auricle.audio.frontends.frontend import FrontEndConfig
from auricle.audio.frontends.mel import mel_filters
from auricle.audio.frontends.spectral import Mean, SpectralFrontEnd
from auricle.config import Positive, Share
from auricle.errors import ConfigError

# Kaldi floors mel energies at the float32 epsilon, whatever the precision: silence is ln(eps) = -15.942385.
_FLOOR = 1.1920928955078125e-07


@dataclass(frozen=True)
class KaldiFbankConfig(FrontEndConfig):
    """Settings of the Kaldi filter bank; the defaults are AudioMosaic's (arXiv 2605.14231, released code, AudioSet).

    Attributes:
        rate: sample rate in Hz.
        mels: F, mel bands.
        window_seconds: length of a frame; the Fourier transform has the next power of two samples.
        hop_seconds: time between two frames.
        low: lowest corner of the mel bands in Hz.
        high: highest corner in Hz; None: half the sample rate.
        preemphasis: coefficient of y[n] = x[n] - c x[n-1] inside each frame.
        window: symmetric Hann, or Kaldi's own, which is Hann to the power 0.85.
        amplitude: factor on the waveform: 1, or 32768 where the original took 16-bit integers (BEATs).
        remove_clip_mean: subtract each clip's mean before cutting it into frames.
        mean: mean of the raw features over the corpus.
        std: their standard deviation.
        divisor: normalised = (raw - mean) / (divisor * std); 2 in AudioMosaic, AST and BEATs.
    """

    mels: int = 128
    window_seconds: float = 0.025
    hop_seconds: float = 0.010
    low: float = 20.0
    high: float | None = None
    preemphasis: Share = 0.97
    window: Literal["hanning", "povey"] = "hanning"
    amplitude: Positive = 1.0
    remove_clip_mean: bool = True
    mean: Mean = -4.2677393
    std: Positive = 4.5689974
    divisor: Positive = 2.0

    uses_statistics: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.hop_samples < 1 or self.window_samples < 2:
            raise ConfigError(
                f"frames of {self.window_seconds} s every {self.hop_seconds} s at {self.rate} Hz; "
                "expected a window of at least two samples and a hop of at least one"
            )

    @property
    def window_samples(self) -> int:
        """W, samples in a frame: rounded down, as in Kaldi."""
        return int(self.rate * self.window_seconds + 1e-6)

    @property
    def hop_samples(self) -> int:
        """Samples between the starts of two frames."""
        return int(self.rate * self.hop_seconds + 1e-6)


class KaldiFbank(SpectralFrontEnd):
    """Kaldi's filter bank (dither 0, snip_edges, power spectrum, no energy column).

    Clip: minus its mean (of valid samples), times amplitude. Frame: minus its mean, pre-emphasis (with the first sample
    repeated before it), window, zeros to a power of two. Then squared magnitude, mel triangles that are straight in
    mels over 1127 ln(1 + f/700), floor at the float32 epsilon, natural logarithm.

    `forward`: `Audio (B, S)` -> `Features (B, T, F)`, T = 1 + (S - W) // hop.
    """

    config: KaldiFbankConfig

    def __init__(self, config: KaldiFbankConfig) -> None:
        n_fft = 1 << (config.window_samples - 1).bit_length()
        filters = mel_filters(
            bands=config.mels,
            n_fft=n_fft,
            rate=config.rate,
            low=config.low,
            high=config.rate / 2 if config.high is None else config.high,
            scale="kaldi",
        )
        super().__init__(
            config,
            n_fft=n_fft,
            window_samples=config.window_samples,
            hop_samples=config.hop_samples,
            margin=0,
            filters=filters,
            statistics=(config.mean, config.divisor * config.std),
        )
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(config.window_samples) / (config.window_samples - 1))
        self._window = Constant(config.amplitude * (hann if config.window == "hanning" else hann**0.85))

    def condition(self, wave: Tensor, lengths: Tensor | None) -> Tensor:
        if self.config.remove_clip_mean and wave.shape[1]:
            if lengths is None:
                wave = wave - wave.mean(1, keepdim=True)
            else:
                valid = torch.arange(wave.shape[1], device=wave.device) < lengths[:, None]
                mean = (wave * valid).sum(1, keepdim=True) / lengths.clamp(min=1)[:, None]
                wave = (wave - mean) * valid
        return nn.functional.pad(wave, (0, max(0, self.window_samples - wave.shape[1])))

    def frame_response(self, frames: Tensor) -> Tensor:
        c = self.config.preemphasis
        frames = frames - frames.mean(-1, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], -1)
        return (frames - c * before) * self._window.like(frames)

    def frame_response_into(self, frames: Tensor, out: Tensor) -> None:
        c = self.config.preemphasis
        centred = frames - frames.mean(1, keepdim=True)
        torch.sub(centred[:, 1:], centred[:, :-1], alpha=c, out=out[:, 1:])
        torch.mul(centred[:, :1], 1 - c, out=out[:, :1])
        out.mul_(self._window.like(out))

    def log(self, energies: Tensor) -> Tensor:
        return energies.clamp(min=_FLOOR).log()

    def log_(self, energies: Tensor) -> Tensor:
        return energies.clamp_(min=_FLOOR).log_()
