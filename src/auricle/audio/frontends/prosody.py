"""Prosody of speech, one frame in the middle of every hop: pitch, voicing, energy, zero crossings.

The targets of PASE's prosody worker (arXiv 1904.03416, section 2.2). The paper does not specify the pitch tracker; here
pitch is the peak of the normalised autocorrelation (Boersma 1993, without his path search).

Letters in shapes: B clips, S samples, T frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.frame_spectrum import centred_frames, cut_features
from auricle.audio.frontends.frontend import FrontEnd, FrontEndConfig
from auricle.config import Count, InnerShare, Positive
from auricle.errors import ConfigError

# A shorter lag is preferred if its peak is nearly as high: every multiple of the period has a peak, too.
_NEARLY = 0.9
_SILENCE = 1e-6


@dataclass(frozen=True)
class ProsodyConfig(FrontEndConfig):
    """Settings of the four tracks.

    Attributes:
        rate: sample rate in Hz.
        window: samples that pitch is estimated from; at least two periods of the lowest pitch.
        hop: samples between two frames.
        lowest: pitch in Hz.
        highest: pitch in Hz.
        voiced: least normalised autocorrelation of a voiced frame.
    """

    window: int = 640
    hop: Count = 160
    lowest: Positive = 60.0
    highest: Positive = 400.0
    voiced: InnerShare = 0.5

    def __post_init__(self) -> None:
        if not self.lowest < self.highest < self.rate / 4:
            raise ConfigError(
                f"pitch from {self.lowest} to {self.highest} Hz at {self.rate} Hz; expected lowest < highest < rate / 4"
            )
        if self.window < 2 * self.rate / self.lowest:
            raise ConfigError(
                f"a window of {self.window} samples holds less than two periods of {self.lowest:g} Hz; expected at "
                f"least {math.ceil(2 * self.rate / self.lowest)}"
            )


class Prosody(FrontEnd):
    """`Audio (B, S)` to `Features (B, ceil(S / hop), 4)`.

    The tracks are the natural logarithm of the pitch in Hz (between voiced frames interpolated, constant before the
    first and after the last one, and at the middle of the range where nothing is voiced), voicing (0 or 1), the
    natural logarithm of the mean power, and zero crossings per sample.
    """

    config: ProsodyConfig

    def __init__(self, config: ProsodyConfig) -> None:
        super().__init__(config, frame_rate=config.rate / config.hop, width=4)

    def frames(self, samples: int) -> int:
        return max(1, -(-samples // self.config.hop))

    def forward(self, audio: Audio) -> Features:
        return self.raw(audio)

    def raw(self, audio: Audio) -> Features:
        self.check_rate(audio)
        wave = audio.wave if audio.wave.dtype == torch.float64 else audio.wave.float()
        with torch.autocast(wave.device.type, enabled=False):
            frames = centred_frames(wave, self.config.window, self.config.hop)
            power = frames.square().mean(-1)
            crossings = (frames[..., 1:].sign() * frames[..., :-1].sign() < 0).to(wave.dtype).mean(-1)
            pitch, height = self._pitch(frames)
            voiced = (height > self.config.voiced) & (power > _SILENCE)
            middle = math.log(math.sqrt(self.config.lowest * self.config.highest))
            tracks = [
                between_voiced(pitch.log(), voiced, middle),
                voiced.to(wave.dtype),
                (power + 1e-8).log(),
                crossings,
            ]
        return cut_features(torch.stack(tracks, -1), audio, self.config.hop)

    def _pitch(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pitch in Hz and the height of its autocorrelation peak, `(B, T)` each."""
        config, size = self.config, frames.shape[-1]
        x = frames - frames.mean(-1, keepdim=True)
        spectrum = torch.fft.rfft(x, n=2 * size)
        together = torch.fft.irfft(torch.view_as_real(spectrum).square().sum(-1), n=2 * size)[..., :size]
        # The energies of the two stretches that a lag compares: the frame without its end, and without its start.
        energy = torch.cat([x.new_zeros(*x.shape[:-1], 1), x.square().cumsum(-1)], -1)
        early, late = energy[..., 1:].flip(-1), energy[..., -1:] - energy[..., :-1]
        height = together / (early * late).clamp(min=1e-20).sqrt()
        low, high = int(config.rate / config.highest), math.ceil(config.rate / config.lowest)
        part = height[..., low - 1 : high + 2]
        peak = (part[..., 1:-1] >= part[..., :-2]) & (part[..., 1:-1] >= part[..., 2:])
        candidates = part[..., 1:-1].masked_fill(~peak, -1.0)
        best = candidates.amax(-1, keepdim=True)
        good = candidates >= _NEARLY * best
        first = good.to(torch.uint8).argmax(-1, keepdim=True)
        before, at, after = (part.gather(-1, first + k)[..., 0] for k in range(3))
        curve = before - 2 * at + after
        shift = torch.where(curve < 0, 0.5 * (before - after) / curve.clamp(max=-1e-12), 0.0).clamp(-0.5, 0.5)
        return config.rate / (first[..., 0] + low + shift), at


def between_voiced(track: Tensor, voiced: Tensor, fallback: float) -> Tensor:
    """Fill the unvoiced frames of a track `(B, T)` by straight lines between the voiced ones."""
    frames = track.shape[1]
    place = torch.arange(frames, device=track.device).expand_as(track)
    last = torch.where(voiced, place, -1).cummax(1).values
    following = torch.where(voiced, place, frames).flip(1).cummin(1).values.flip(1)
    one = torch.where(last >= 0, last, following).clamp(max=frames - 1)
    two = torch.where(following < frames, following, last).clamp(min=0)
    a, b = track.gather(1, one), track.gather(1, two)
    share = (place - one).to(track.dtype) / (two - one).clamp(min=1)
    filled = a + (b - a) * share.clamp(0, 1)
    return torch.where(voiced.any(1, keepdim=True), filled, fallback)
