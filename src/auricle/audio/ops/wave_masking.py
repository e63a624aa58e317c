"""Operators that take stretches of time out of a waveform: one span, several chops, or whole hops to be predicted.

Letters in shapes: B clips, R chosen clips, S samples, N hops, K chops.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from auricle.audio.batch import Audio
from auricle.audio.ops.wave_op import Drawn, Scene, WaveOp, WaveOpConfig, between, unit_noise
from auricle.errors import ConfigError


@dataclass(frozen=True)
class WaveTimeMaskConfig(WaveOpConfig):
    """One span of the clip is silenced (CLAR, arXiv 2010.09542; its length there is not known to us: chosen).

    Attributes:
        fraction: range of the span's length as a share of the clip.
    """

    fraction: tuple[float, float] = (0.0, 0.125)

    def __post_init__(self) -> None:
        """Refuse settings out of range."""
        super().__post_init__()
        self._check_range("fraction", 0.0, 1.0)

    def build(self) -> WaveTimeMask:
        """Make the operator."""
        return WaveTimeMask(self)


class WaveTimeMask(WaveOp):
    """Silences one span; certificate: `mask_start`, `mask_seconds`."""

    config: WaveTimeMaskConfig

    def draw(self, audio: Audio, generator: torch.Generator) -> Drawn:
        """Draw the span, which lies inside the clip."""
        seconds = audio.lengths.cpu() / audio.rate
        length = between(*self.config.fraction, len(audio), generator) * seconds
        return {"mask_start": torch.rand(len(audio), generator=generator) * (seconds - length), "mask_seconds": length}

    def operate(self, clips: Audio, drawn: Drawn, scene: Scene) -> Tensor:
        """Silence it."""
        return clips.wave * ~_spans(clips, drawn["mask_start"][:, None], drawn["mask_seconds"][:, None])


@dataclass(frozen=True)
class ChopsConfig(WaveOpConfig):
    """Short stretches are cut to silence, as by a bad connection (PASE+: p 0.2; numbers and lengths are chosen).

    Attributes:
        most: chops of a clip: 1 ... most, evenly drawn.
        seconds: range of the length of each.
    """

    p: float = 0.2
    most: int = 5
    seconds: tuple[float, float] = (0.02, 0.1)

    def __post_init__(self) -> None:
        """Refuse settings out of range."""
        super().__post_init__()
        self._check_range("seconds", 0.0, 60.0)
        if self.most < 1:
            raise ConfigError(f"ChopsConfig.most is {self.most}; expected at least 1")

    def build(self) -> Chops:
        """Make the operator."""
        return Chops(self)


class Chops(WaveOp):
    """Silences several stretches; certificate: `chop_start`, `chop_seconds`, `(B, K)`, length 0 for chops not made."""

    config: ChopsConfig

    def draw(self, audio: Audio, generator: torch.Generator) -> Drawn:
        """Draw the chops; they may overlap, and end at the clip's end."""
        rows, most = len(audio), self.config.most
        low, high = self.config.seconds
        lengths = low + (high - low) * torch.rand(rows, most, generator=generator)
        count = torch.randint(1, most + 1, (rows, 1), generator=generator)
        start = torch.rand(rows, most, generator=generator) * audio.lengths.cpu()[:, None] / audio.rate
        return {"chop_start": start, "chop_seconds": lengths * (torch.arange(most) < count)}

    def operate(self, clips: Audio, drawn: Drawn, scene: Scene) -> Tensor:
        """Silence them."""
        return clips.wave * ~_spans(clips, drawn["chop_start"], drawn["chop_seconds"])


@dataclass(frozen=True)
class HopMaskConfig(WaveOpConfig):
    """Whole hops of the waveform are replaced by noise, to be predicted (MusicFM, arXiv 2311.03318, as released).

    The certificate says which hops are hidden: from it token masks follow. The reference stays clean.

    Attributes:
        hop_seconds: length of a hop; hop i covers the time from i to i + 1 hops.
        hidden: probability that a hop is hidden.
        sigma: standard deviation of the noise, in units of the samples.
    """

    hop_seconds: float = 0.4
    hidden: float = 0.6
    sigma: float = 0.1

    def __post_init__(self) -> None:
        """Refuse settings out of range."""
        super().__post_init__()
        if not self.hop_seconds > 0:
            raise ConfigError(f"HopMaskConfig.hop_seconds is {self.hop_seconds}; expected above 0")
        if not 0 < self.hidden < 1:
            raise ConfigError(f"HopMaskConfig.hidden is {self.hidden}; expected between 0 and 1, both excluded")
        if self.sigma < 0:
            raise ConfigError(f"HopMaskConfig.sigma is {self.sigma}; expected 0 or more")

    def build(self) -> HopMask:
        """Make the operator."""
        return HopMask(self)


class HopMask(WaveOp):
    """Hides hops; certificate: `hidden` `(B, N)` bool, False beyond the clip, and `hop_seconds` `(B,)`."""

    config: HopMaskConfig

    def draw(self, audio: Audio, generator: torch.Generator) -> Drawn:
        """Draw the hidden hops.

        Raises:
            ConfigError: a hop is shorter than a sample.
        """
        hop = self._hop(audio)
        hops = -(-audio.wave.shape[1] // hop)
        hidden = torch.rand(len(audio), hops, generator=generator) < self.config.hidden
        within = torch.arange(hops) * hop < audio.lengths.cpu()[:, None]
        return {"hidden": hidden & within, "hop_seconds": torch.full((len(audio),), hop / audio.rate)}

    def operate(self, clips: Audio, drawn: Drawn, scene: Scene) -> Tensor:
        """Replace them by noise."""
        wave, hop = clips.wave, self._hop(clips)
        hidden = drawn["hidden"].to(wave.device).repeat_interleave(hop, 1)[:, : wave.shape[1]]
        return torch.where(hidden, self.config.sigma * unit_noise(wave, scene.generator), wave)

    def _hop(self, audio: Audio) -> int:
        hop = round(self.config.hop_seconds * audio.rate)
        if hop < 1:
            raise ConfigError(f"HopMaskConfig.hop_seconds is {self.config.hop_seconds}: less than a sample")
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
