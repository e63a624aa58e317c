"""Spectra and cepstra with one frame in the middle of every hop: targets of regression workers (PASE).

Frame t is centred on the middle of hop t, so a clip of S samples has ceil(S / hop) frames, as many as an encoder of
that hop has tokens. Sources: PASE, arXiv 1904.03416, section 2.2; PASE+, arXiv 2001.09239, section 2; gammatone
filters: Glasberg and Moore 1990 (bandwidths), Slaney 1993 (order 4).

Letters in shapes: B clips, S samples, T frames, K = n_fft / 2 + 1 bins, F values of a frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor

from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.constant import Constant
from auricle.audio.frontends.frontend import FrontEnd, FrontEndConfig
from auricle.audio.frontends.mel import mel_filters
from auricle.config import Count, Natural, Positive
from auricle.errors import ConfigError


@dataclass(frozen=True)
class FrameSpectrumConfig(FrontEndConfig):
    """Settings of spectra in the middle of hops.

    Attributes:
        rate: sample rate in Hz.
        bands: `linear`: every bin of the transform; `mel` or `gammatone` filters.
        count: number of filters.
        cepstra: coefficients of the orthonormal cosine transform of the log energies (MFCC from mel filters);
            0: the log energies themselves.
        n_fft: samples in the Fourier transform.
        window: samples of the Hann window, centred in the transform's.
        hop: samples between two frames.
        low: lowest frequency of the filters in Hz.
        high: highest; None: half the sample rate.
        floor: added to the energies.
    """

    bands: Literal["linear", "mel", "gammatone"] = "linear"
    count: Count = 40
    cepstra: Natural = 0
    n_fft: int = 2048
    window: Annotated[int, Ge(2)] = 400
    hop: Count = 160
    low: float = 20.0
    high: float | None = None
    floor: Positive = 1e-8

    def __post_init__(self) -> None:
        if self.window > self.n_fft:
            raise ConfigError(f"window is {self.window} and n_fft is {self.n_fft}; expected window <= n_fft")
        if self.cepstra > self.values:
            raise ConfigError(f"cepstra is {self.cepstra}; expected at most {self.values}, the number of energies")

    @property
    def values(self) -> int:
        """Energies of a frame."""
        return self.n_fft // 2 + 1 if self.bands == "linear" else self.count


class FrameSpectrum(FrontEnd):
    """`Audio (B, S)` to `Features (B, ceil(S / hop), F)`: natural logarithms of energies, or their cepstra."""

    config: FrameSpectrumConfig

    def __init__(self, config: FrameSpectrumConfig) -> None:
        super().__init__(config, frame_rate=config.rate / config.hop, width=config.cepstra or config.values)
        self._filters = None
        high = config.rate / 2 if config.high is None else config.high
        if config.bands == "mel":
            filters = mel_filters(
                bands=config.count, n_fft=config.n_fft, rate=config.rate, low=config.low, high=high, scale="htk",
                area_norm=False,
            )  # fmt: skip
            self._filters = Constant(filters)
        elif config.bands == "gammatone":
            self._filters = Constant(gammatone_filters(config.count, config.n_fft, config.rate, config.low, high))
        self._cosines = Constant(cosine_transform(config.values, config.cepstra)) if config.cepstra else None
        window = np.zeros(config.n_fft)
        first = (config.n_fft - config.window) // 2
        place = np.arange(config.window)
        window[first : first + config.window] = 0.5 - 0.5 * np.cos(2 * np.pi * place / config.window)
        self._window = Constant(window)

    def frames(self, samples: int) -> int:
        return max(1, -(-samples // self.config.hop))

    def forward(self, audio: Audio) -> Features:
        return self.raw(audio)

    def raw(self, audio: Audio) -> Features:
        self.check_rate(audio)
        wave = audio.wave if audio.wave.dtype == torch.float64 else audio.wave.float()
        with torch.autocast(wave.device.type, enabled=False):
            frames = centred_frames(wave, self.config.n_fft, self.config.hop)
            spectrum = torch.view_as_real(torch.fft.rfft(frames * self._window.like(wave))).square().sum(-1)
            if self._filters is not None:
                spectrum = spectrum @ self._filters.like(wave)
            x = (spectrum + self.config.floor).log()
            if self._cosines is not None:
                x = x @ self._cosines.like(wave)
        return cut_features(x, audio, self.config.hop)


def centred_frames(wave: Tensor, size: int, hop: int) -> Tensor:
    """Return `(B, ceil(S / hop), size)` frames of waves `(B, S)`, frame t centred on the middle of hop t."""
    count = max(1, -(-wave.shape[1] // hop))
    left = (size - hop) // 2
    need = (count - 1) * hop + size
    padded = F.pad(wave, (max(0, left), max(0, need - max(0, left) - wave.shape[1])))
    return padded[:, max(0, -left) :].unfold(1, size, hop)[:, :count]


def cut_features(x: Tensor, audio: Audio, hop: int) -> Features:
    """Return features with zeros beyond each clip's length."""
    lengths = ((audio.lengths + hop - 1) // hop).clamp(min=1)
    beyond = torch.arange(x.shape[1], device=x.device) >= lengths.to(x.device)[:, None]
    return Features(x.masked_fill(beyond.unsqueeze(-1), 0.0), lengths, audio.rate / hop)


def gammatone_filters(count: int, n_fft: int, rate: int, low: float, high: float) -> np.ndarray:
    """Return `(K, count)` power responses of gammatone filters of order 4, evenly spaced on the scale of ERB numbers.

    Their sum over bins is 1 for each filter.
    """
    if not 0 < low < high <= rate / 2:
        raise ConfigError(
            f"gammatone filters from {low:g} to {high:g} Hz at {rate} Hz; expected 0 < low < high <= rate / 2"
        )
    numbers = np.linspace(_erb_number(low), _erb_number(high), count)
    centres = (10 ** (numbers / 21.4) - 1) / 4.37e-3
    widths = 1.019 * 24.7 * (4.37e-3 * centres + 1)
    frequencies = np.arange(n_fft // 2 + 1) * rate / n_fft
    response = (1 + ((frequencies[:, None] - centres) / widths) ** 2) ** -4.0
    filters: np.ndarray = response / response.sum(0)
    return filters


def _erb_number(frequency: float) -> float:
    return float(21.4 * np.log10(4.37e-3 * frequency + 1))


def cosine_transform(values: int, kept: int) -> np.ndarray:
    """Return the orthonormal cosine transform of type 2, `(values, kept)`."""
    place = (np.arange(values) + 0.5)[:, None] * np.arange(kept)
    basis: np.ndarray = np.cos(np.pi * place / values) * np.sqrt(2 / values)
    basis[:, 0] /= np.sqrt(2)
    return basis
