"""Mel scales, triangular filter banks, and their product with power spectra."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from auricle.audio.frontends.constant import Constant
from auricle.errors import ConfigError

MelScale = Literal["htk", "slaney", "kaldi"]

# Slaney's Auditory Toolbox: linear below 1 kHz (200/3 Hz a mel), logarithmic above (27 steps per factor of 6.4).
_SLANEY_HZ_PER_MEL = 200 / 3
_SLANEY_BREAK_HZ = 1000.0
_SLANEY_BREAK_MEL = _SLANEY_BREAK_HZ / _SLANEY_HZ_PER_MEL
_SLANEY_LOG_STEP = np.log(6.4) / 27


def hz_to_mel(hz: np.ndarray, scale: MelScale) -> np.ndarray:
    """Turn frequencies in Hz into mels.

    `htk`: 2595 log10(1 + f/700); `kaldi`: 1127 ln(1 + f/700), nearly the same curve; `slaney`: linear below 1 kHz.
    """
    hz = np.asarray(hz, dtype=np.float64)
    if scale == "htk":
        return 2595.0 * np.log10(1.0 + hz / 700.0)
    if scale == "kaldi":
        return 1127.0 * np.log1p(hz / 700.0)
    above = np.log(np.maximum(hz, _SLANEY_BREAK_HZ) / _SLANEY_BREAK_HZ) / _SLANEY_LOG_STEP
    return np.where(hz < _SLANEY_BREAK_HZ, hz / _SLANEY_HZ_PER_MEL, _SLANEY_BREAK_MEL + above)


def mel_to_hz(mel: np.ndarray, scale: MelScale) -> np.ndarray:
    """Turn mels into frequencies in Hz; the inverse of `hz_to_mel`."""
    mel = np.asarray(mel, dtype=np.float64)
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    if scale == "kaldi":
        return 700.0 * np.expm1(mel / 1127.0)
    above = _SLANEY_BREAK_HZ * np.exp(_SLANEY_LOG_STEP * (np.maximum(mel, _SLANEY_BREAK_MEL) - _SLANEY_BREAK_MEL))
    return np.where(mel < _SLANEY_BREAK_MEL, mel * _SLANEY_HZ_PER_MEL, above)


def mel_filters(
    *, bands: int, n_fft: int, rate: int, low: float, high: float, scale: MelScale, area_norm: bool = False
) -> np.ndarray:
    """Make triangular filters whose corners are equally spaced in mels.

    The sides of the triangles are straight in Hz; for `kaldi` in mels, and the Nyquist bin is zero.

    Args:
        bands: F, the number of filters.
        n_fft: samples in the Fourier transform.
        rate: sample rate in Hz.
        low: lowest corner in Hz.
        high: highest corner in Hz.
        scale: mel scale.
        area_norm: divide each filter by half its width in Hz (Slaney), so that all have the same area.

    Returns:
        `(K, F)` float64 weights, K = n_fft / 2 + 1. A filter narrower than the bins may be all zeros.

    Raises:
        ConfigError: the corners do not fit between 0 and half the sample rate, or there are no bands.
    """
    if bands < 1:
        raise ConfigError(f"{bands} mel bands; at least one is needed")
    if not 0 <= low < high <= rate / 2:
        raise ConfigError(
            f"mel bands from {low:g} to {high:g} Hz do not fit audio of {rate} Hz; need 0 <= low < high <= {rate / 2:g}"
        )
    bin_hz = np.arange(n_fft // 2 + 1) * (rate / n_fft)
    corner_mel = np.linspace(hz_to_mel(np.array(low), scale), hz_to_mel(np.array(high), scale), bands + 2)
    corner_hz = mel_to_hz(corner_mel, scale)
    position, corners = (hz_to_mel(bin_hz, scale), corner_mel) if scale == "kaldi" else (bin_hz, corner_hz)
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    rising = (position[:, None] - left) / (centre - left)
    falling = (right - position[:, None]) / (right - centre)
    filters = np.maximum(0.0, np.minimum(rising, falling))
    if scale == "kaldi":
        filters[-1] = 0.0
    if area_norm:
        filters *= 2.0 / (corner_hz[2:] - corner_hz[:-2])
    return filters


class MelBank:
    """The product of power spectra and mel filters.

    A filter covers few of the bins. On a CPU the product is taken in groups of neighbouring bands, each with the bins
    that its bands cover: about a third of the work of the full product at 128 bands.
    """

    _GROUP = 32

    def __init__(self, filters: np.ndarray) -> None:
        """Keep `(K, F)` filters."""
        self._full = Constant(filters)
        self._groups: list[tuple[slice, slice, Constant]] = []
        for first in range(0, filters.shape[1], self._GROUP):
            bands = slice(first, min(first + self._GROUP, filters.shape[1]))
            used = np.flatnonzero(filters[:, bands].any(axis=1))
            bins = slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 1)
            self._groups.append((bands, bins, Constant(np.ascontiguousarray(filters[bins, bands]))))

    def __call__(self, power: Tensor) -> Tensor:
        """Return mel energies `(..., F)` of power spectra `(..., K)`; differentiable."""
        return power @ self._full.like(power)

    def into(self, power: Tensor, out: Tensor) -> None:
        """Write the mel energies of `(T, K)` power spectra into `out (T, F)`; without gradients."""
        for bands, bins, filters in self._groups:
            torch.mm(power[:, bins], filters.like(power), out=out[:, bands])
