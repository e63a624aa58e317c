"""Change of duration without change of pitch, and of pitch without change of duration, on batched waveforms.

A phase vocoder (Flanagan and Golden, 1966; Laroche and Dolson, 1999) with two analysis frames per output frame: one
where the output frame reads the input, one a synthesis hop before it. Their phase difference is the phase advance
over exactly one synthesis hop, so that no phase is unwrapped. The bins around a spectral peak turn with it (identity
phase locking), which keeps the shape of transients and the level of noise. Letters: B clips, S samples, T frames, K
bins.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

_OVERLAP = 4
_TAPS = 64
_PHASES = 512
_KAISER_BETA = 6.0
_SILENT = 1e-18


def stretch(wave: Tensor, factor: Tensor, samples: int, *, rate: int) -> Tensor:
    """Play clips faster or slower at the same pitch.

    Output time u holds what the input has at time u * factor. What lies beyond the input is silent.

    Args:
        wave: `(B, S)`.
        factor: `(B,)` positive; above 1 is faster and shorter.
        samples: length of the output.
        rate: sample rate in Hz; sets the window, the power of two nearest to 0.12 s.

    Returns:
        `(B, samples)`.
    """
    n_fft = 2 ** round(math.log2(0.12 * rate))
    hop = n_fft // _OVERLAP
    frames = math.ceil(samples / hop) + _OVERLAP + 1
    window = torch.hann_window(n_fft, periodic=True, dtype=wave.dtype, device=wave.device)
    # Output frame t is centred at (t - half the overlap) hops; the input frame is centred at that times the factor.
    centres = (torch.arange(frames) - _OVERLAP // 2) * hop
    starts = (centres.double() * factor.double().cpu()[:, None]).round().long() - n_fft // 2
    margin = n_fft + hop
    reach = max(int(starts.max()) + n_fft - wave.shape[1], 0) if starts.numel() else 0
    first = max(-int(starts.min()), 0) if starts.numel() else 0
    padded = F.pad(wave, (first + margin, reach + margin))
    starts = starts.to(wave.device)
    here = _frames_at(padded, starts + first + margin, n_fft, window)
    before = _frames_at(padded, starts + first + margin - hop, n_fft, window)
    nearest = _nearest_peaks(here.abs())
    past = before.conj()
    spectra = torch.empty_like(here)
    for t in range(frames):
        # The rotation that makes the frame go on where the last one ended; none where either is silent.
        turn = spectra[:, t - 1] * past[:, t] if t else torch.zeros_like(here[:, 0])
        size = turn.abs()
        turn = torch.where(size > _SILENT, turn / size.clamp(min=_SILENT), 1)
        spectra[:, t] = here[:, t] * turn.gather(1, nearest[:, t])
    pieces = torch.fft.irfft(spectra, n=n_fft) * window
    return _overlap_add(pieces, window, hop)[:, n_fft // 2 + (_OVERLAP // 2) * hop :][:, :samples]


def shift_pitch(wave: Tensor, ratio: Tensor, *, rate: int) -> Tensor:
    """Scale all frequencies of clips by a ratio, durations unchanged: stretch, then resample.

    Args:
        wave: `(B, S)`.
        ratio: `(B,)`, frequency after over frequency before.
        rate: sample rate in Hz.

    Returns:
        `(B, S)`; frequencies that would pass half the rate are gone.
    """
    S = wave.shape[1]
    longest = math.ceil(S * float(ratio.max())) + _TAPS if ratio.numel() else S
    return resample(stretch(wave, 1 / ratio.double(), longest, rate=rate), ratio, S)


def resample(wave: Tensor, ratio: Tensor, samples: int) -> Tensor:
    """Read clips at positions n * ratio by windowed-sinc interpolation (64 taps, Kaiser window), without aliasing.

    Args:
        wave: `(B, S)`.
        ratio: `(B,)` input samples per output sample.
        samples: length of the output.

    Returns:
        `(B, samples)`.
    """
    # Positions need double precision, which some devices lack.
    ratio = ratio.double().cpu()[:, None]
    position = torch.arange(samples, dtype=torch.float64) * ratio
    whole = position.floor()
    row = ((position - whole) * _PHASES).round().long().to(wave.device)
    index = whole.long().to(wave.device)
    padded = F.pad(wave, (_TAPS // 2 - 1, _TAPS // 2 + 1))
    last = padded.shape[1] - _TAPS
    kernels = _kernels(ratio[:, 0]).to(wave)
    inside = index <= last
    index = index.clamp(max=last)
    out = wave.new_zeros(index.shape)
    for tap in range(_TAPS):
        out.addcmul_(padded.gather(1, index + tap), kernels[:, :, tap].gather(1, row))
    return out * inside


def _kernels(ratio: Tensor) -> Tensor:
    """Return `(B, phases + 1, taps)` low-pass interpolation kernels; cut-off at the lower of both half rates."""
    cutoff = (1 / ratio).clamp(max=1.0)[:, None, None]
    fraction = torch.arange(_PHASES + 1, device=ratio.device, dtype=torch.float64) / _PHASES
    offset = torch.arange(_TAPS, device=ratio.device, dtype=torch.float64) - (_TAPS // 2 - 1) - fraction[:, None]
    inside = (1 - (offset / (_TAPS / 2)) ** 2).clamp(min=0).sqrt()
    window = torch.special.i0(_KAISER_BETA * inside) / torch.special.i0(offset.new_tensor(_KAISER_BETA))
    return cutoff * torch.sinc(cutoff * offset) * window


def _frames_at(padded: Tensor, starts: Tensor, n_fft: int, window: Tensor) -> Tensor:
    """Return the spectra `(B, T, K)` of windows that start at the given samples `(B, T)`."""
    views = padded.unfold(1, n_fft, 1)
    rows = torch.arange(padded.shape[0], device=padded.device)[:, None]
    return torch.fft.rfft(views[rows, starts] * window)


def _nearest_peaks(magnitude: Tensor) -> Tensor:
    """Return for each bin of `(B, T, K)` the bin of the nearest peak: a bin that no neighbour within two exceeds."""
    B, T, K = magnitude.shape
    highest = F.max_pool1d(magnitude.reshape(B * T, 1, K), 5, stride=1, padding=2).reshape(B, T, K)
    bins = torch.arange(K, device=magnitude.device)
    peak = magnitude == highest
    below = torch.where(peak, bins, -2 * K).cummax(-1).values
    above = torch.where(peak, bins, 3 * K).flip(-1).cummin(-1).values.flip(-1)
    return torch.where(bins - below <= above - bins, below, above)


def _overlap_add(pieces: Tensor, window: Tensor, hop: int) -> Tensor:
    B, T, _ = pieces.shape
    summed = pieces.new_zeros(B, T + _OVERLAP - 1, hop)
    weight = pieces.new_zeros(T + _OVERLAP - 1, hop)
    for k in range(_OVERLAP):
        part = slice(k * hop, (k + 1) * hop)
        summed[:, k : k + T] += pieces[:, :, part]
        weight[k : k + T] += window[part].square()
    return (summed / weight.clamp(min=1e-3)).flatten(1)
