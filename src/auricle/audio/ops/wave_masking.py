"""Operators that mask spans of a waveform: one span, several chops, or whole hops to be predicted.

Letters in shapes: B clips, R chosen clips, S samples, N hops, K chops.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from auricle.audio.batch import Audio
from auricle.audio.ops.wave_op import Context, Drawn, WaveOp, WaveOpConfig, between, unit_noise
from auricle.audio.ranges import Seconds, Shares, check_ranges
from auricle.config import Count, InnerShare, NonNegative, Positive, Share
from auricle.errors import ConfigError


@dataclass(frozen=True)
class WaveTimeMaskConfig(WaveOpConfig):
    """One silenced span of the clip (CLAR, arXiv 2010.09542; the length is not specified).

    Attributes:
        fraction: range of the span's length as a share of the clip.
    """

    fraction: Shares = (0.0, 0.125)

    def __post_init__(self) -> None:
        check_ranges(self, "fraction")


class WaveTimeMask(WaveOp):
    """Silences one span; certificate: `mask_start`, `mask_seconds`."""

    config: WaveTimeMaskConfig

    def draw(self, audio: Audio, generator: torch.Generator) -> Drawn:
        seconds = audio.lengths.cpu() / audio.rate
        length = between(*self.config.fraction, len(audio), generator) * seconds
        return {"mask_start": torch.rand(len(audio), generator=generator) * (seconds - length), "mask_seconds": length}

    def operate(self, clips: Audio, drawn: Drawn, context: Context) -> Tensor:
        return clips.wave * ~_spans(clips, drawn["mask_start"][:, None], drawn["mask_seconds"][:, None])


@dataclass(frozen=True)
class ChopsConfig(WaveOpConfig):
    """Short silenced spans, as of a bad connection (PASE+: p 0.2; numbers and lengths are not specified).

    Attributes:
        most: greatest number of chops of a clip; numbers are uniform from 1.
        seconds: range of the length of each.
    """

    p: Share = 0.2
    most: Count = 5
    seconds: Seconds = (0.02, 0.1)

    def __post_init__(self) -> None:
        check_ranges(self, "seconds")


class Chops(WaveOp):
    """Silences several spans, which may overlap; certificate: `chop_start`, `chop_seconds`, `(B, K)`, 0 s: none."""

    config: ChopsConfig

    def draw(self, audio: Audio, generator: torch.Generator) -> Drawn:
        rows, most = len(audio), self.config.most
        low, high = self.config.seconds
        lengths = low + (high - low) * torch.rand(rows, most, generator=generator)
        count = torch.randint(1, most + 1, (rows, 1), generator=generator)
        start = torch.rand(rows, most, generator=generator) * audio.lengths.cpu()[:, None] / audio.rate
        return {"chop_start": start, "chop_seconds": lengths * (torch.arange(most) < count)}

    def operate(self, clips: Audio, drawn: Drawn, context: Context) -> Tensor:
        return clips.wave * ~_spans(clips, drawn["chop_start"], drawn["chop_seconds"])


@dataclass(frozen=True)
class HopMaskConfig(WaveOpConfig):
    """Whole hops of the waveform replaced by noise, to be predicted (MusicFM, arXiv 2311.03318, as released).

    The certificate names the masked hops, from which token masks follow. The reference stays clean.

    Attributes:
        hop_seconds: length of a hop; hop i covers the time from i to i + 1 hops.
        hidden: probability that a hop is hidden.
        sigma: standard deviation of the noise, in units of the samples.
    """

    hop_seconds: Positive = 0.4
    hidden: InnerShare = 0.6
    sigma: NonNegative = 0.1


class HopMask(WaveOp):
    """Hides hops; certificate: `hidden` `(B, N)` bool, False beyond the clip, and `hop_seconds` `(B,)`."""

    config: HopMaskConfig

    def draw(self, audio: Audio, generator: torch.Generator) -> Drawn:
        hop = self._hop(audio)
        hops = -(-audio.wave.shape[1] // hop)
        hidden = torch.rand(len(audio), hops, generator=generator) < self.config.hidden
        within = torch.arange(hops) * hop < audio.lengths.cpu()[:, None]
        return {"hidden": hidden & within, "hop_seconds": torch.full((len(audio),), hop / audio.rate)}

    def operate(self, clips: Audio, drawn: Drawn, context: Context) -> Tensor:
        wave, hop = clips.wave, self._hop(clips)
        hidden = drawn["hidden"].to(wave.device).repeat_interleave(hop, 1)[:, : wave.shape[1]]
        return torch.where(hidden, self.config.sigma * unit_noise(wave, context.generator), wave)

    def _hop(self, audio: Audio) -> int:
        hop = round(self.config.hop_seconds * audio.rate)
        if hop < 1:
            raise ConfigError(f"hop_mask.hop_seconds is {self.config.hop_seconds}, less than a sample; raise it")
        return hop


def _spans(clips: Audio, start: Tensor, seconds: Tensor) -> Tensor:
    """Return `(R, S)` bool, True inside any of the spans `(R, K)`."""
    wave = clips.wave
    place = torch.arange(wave.shape[1], device=wave.device)
    inside = torch.zeros(wave.shape, dtype=torch.bool, device=wave.device)
    first = (start * clips.rate).round().long()
    last = first + (seconds * clips.rate).round().long()
    for a, b in zip(first.unbind(1), last.unbind(1), strict=True):
        inside |= (place >= a.to(wave.device)[:, None]) & (place < b.to(wave.device)[:, None])
    return inside
