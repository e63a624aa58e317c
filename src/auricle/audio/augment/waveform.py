"""The augmentation chain on samples, as published: each view is a waveform, then goes through the front end.

This is audiomentations 0.43.1, batched: a stretched clip starts where the clip starts, is cut at the clip's length or
followed by silence; the noise is relative to the root mean square over that whole length; filters are causal and start
in the steady state of the first sample. Stretch and pitch shift use this package's own phase vocoder instead of
Signalsmith's.
"""

from __future__ import annotations

from collections.abc import Sequence

import scipy.fft
import torch
from torch import Tensor

from auricle.audio.augment.draws import Draws, Noise
from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.spectral import SpectralFrontEnd
from auricle.audio.ops.phase_vocoder import shift_pitch, stretch

_RING_SECONDS = 4
"""Longest response of a filter: this padding keeps the circular transform from wrapping it onto the clip."""


class WaveformChain:
    """The chain for one front end.

    Attributes:
        frontend: makes the features of the augmented waveforms.
    """

    def __init__(self, frontend: SpectralFrontEnd) -> None:
        self.frontend = frontend

    def __call__(self, audio: Audio, draws: Sequence[Draws], noise: Noise) -> tuple[Features, ...]:
        """Return the normalised features of each view."""
        return tuple(self.frontend(augment_wave(audio, view, noise)) for view in draws)


def augment_wave(audio: Audio, draws: Draws, noise: Noise) -> Audio:
    """Apply the chain to waveforms.

    Args:
        audio: `(B, S)`.
        draws: of one view.
        noise: of the batch.

    Returns:
        Audio of the same lengths. The mean is left for the front end to remove.
    """
    if audio.wave.device.type != "cpu":
        return Audio(_chain(audio, draws, noise), audio.lengths, audio.rate)
    wave = torch.zeros_like(audio.wave)
    for i, samples in enumerate(audio.lengths.tolist()):
        # One clip at a time fits the cache, and needs no padding to the longest.
        clip = Audio(audio.wave[i : i + 1, :samples], audio.lengths[i : i + 1], audio.rate)
        wave[i, :samples] = _chain(clip, draws[i : i + 1], noise)[0]
    return Audio(wave, audio.lengths, audio.rate)


def _chain(audio: Audio, draws: Draws, noise: Noise) -> Tensor:
    wave = audio.wave
    S = wave.shape[1]

    def along(values: Tensor) -> Tensor:
        return values.to(wave)[:, None]

    lengths = audio.lengths[:, None]
    place = torch.arange(S, device=wave.device)
    valid = place < lengths
    shift = torch.nan_to_num(draws.roll).long().to(wave.device)[:, None]
    wave = wave.gather(1, torch.where(valid, (place - shift) % lengths.clamp(min=1), place))
    wave = wave * along(draws.amplitude)

    rows = _rows(~draws.rate.isnan())
    if len(rows):
        wave[rows] = stretch(wave[rows], draws.rate[rows], S, rate=audio.rate) * valid[rows]
    rows = _rows(~draws.snr_db.isnan())
    if len(rows):
        rms = (wave[rows].square().sum(1) / audio.lengths[rows]).sqrt()
        starts = draws.noise_start[rows].long().to(wave.device)
        added = noise.wave[0].to(wave)[starts[:, None] + place]
        wave[rows] += added * valid[rows] * (rms * draws.noise_ratio[rows].to(wave))[:, None]
    wave = wave * along(draws.level)
    rows = _rows(~(draws.high_pass_hz.isnan() & draws.band_stop_low_hz.isnan()))
    if len(rows):
        wave[rows] = _filter(wave[rows], valid[rows], draws, rows, audio.rate)
    rows = _rows(~draws.semitones.isnan())
    if len(rows):
        wave[rows] = shift_pitch(wave[rows], draws.pitch_ratio[rows], rate=audio.rate) * valid[rows]
    return wave


def _rows(chosen: Tensor) -> Tensor:
    return chosen.nonzero()[:, 0]


def _filter(wave: Tensor, valid: Tensor, draws: Draws, rows: Tensor, rate: int) -> Tensor:
    """Filter causally, in the steady state of the first sample."""
    n = scipy.fft.next_fast_len(wave.shape[1] + _RING_SECONDS * rate, real=True)
    response = draws.response(torch.fft.rfftfreq(n, 1 / rate, dtype=torch.float64), rate)[rows]
    first = wave[:, :1]
    spectrum = torch.fft.rfft((wave - first) * valid, n=n) * response.to(wave.device, torch.complex64)
    settled = first * response[:, :1].real.to(wave)
    return (torch.fft.irfft(spectrum, n=n)[:, : wave.shape[1]] + settled) * valid
