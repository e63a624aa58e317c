"""Random crops of a batch of clips, one for all views or one for each, with their positions kept.

Letters in shapes: B clips, V views, S samples, L samples of a crop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from auricle.audio.batch import Audio
from auricle.config import Config, NonNegative, Positive
from auricle.errors import ConfigError


@dataclass(frozen=True)
class CropConfig(Config):
    """How views crop their clip.

    Attributes:
        seconds: length of a crop; None: the whole window, not cropped.
        each: give every view its own crop (COLA, ATST-Clip), which needs windows longer than crops; False: all views
            share one (BYOL-A).
        overlap: 'any': draw the crops of a clip independently; 'none': without overlap. In a clip too short for that
            crops are spread evenly, as far apart as possible.
        step: start crops at multiples of this many seconds, so that labels at that rate stay aligned; 0: any sample.
        short: what a clip shorter than a crop becomes: 'pad': keep its length, padding follows; 'silence': count the
            appended silence as part of the clip (BYOL-A, COLA), for encoders of a fixed length.
    """

    seconds: Positive | None = None
    each: bool = False
    overlap: Literal["any", "none"] = "any"
    step: NonNegative = 0.0
    short: Literal["pad", "silence"] = "pad"

    def __post_init__(self) -> None:
        if self.seconds is None and (self.each or self.overlap == "none"):
            raise ConfigError("crop.each and crop.overlap need crop.seconds; set the length of a crop")
        if self.overlap == "none" and not self.each:
            raise ConfigError("crop.overlap is 'none' but all views share one crop; set crop.each")

    def check_window(self, seconds: float) -> None:
        """Refuse windows in which all crops of a clip would be the same sound.

        Args:
            seconds: length of a window; of the longest if windows vary.

        Raises:
            ConfigError: every view has its own crop, and a window is no longer than one.
        """
        if self.each and self.seconds is not None and seconds <= self.seconds:
            raise ConfigError(
                f"every view has its own crop of {self.seconds:g} s, and windows are only {seconds:g} s long: all views"
                " of a clip would be the same sound; take longer windows (--window.seconds), shorter crops "
                "(--augment.crop.seconds), or one crop for all views (--augment.crop.no-each)"
            )

    def starts(self, audio: Audio, views: int, generator: torch.Generator) -> Tensor:
        """Draw the starts of crops, `(V, B)` int64 samples on the CPU; zeros if nothing is cropped.

        Raises:
            ConfigError: a crop is shorter than a sample.
        """
        rows = len(audio)
        if self.seconds is None:
            return torch.zeros(views, rows, dtype=torch.int64)
        samples = self.samples(audio.rate)
        crops = views if self.each else 1
        spare = (audio.lengths.cpu() - samples).clamp(min=0)
        uniform = torch.rand(crops, rows, generator=generator, dtype=torch.float64)
        order = torch.rand(crops, rows, generator=generator).argsort(0)
        step = max(1, round(self.step * audio.rate))
        if self.overlap == "any":
            start = (uniform * (spare // step + 1)).long() * step
        else:
            start = self._apart(spare, samples, step, uniform).gather(0, order)
        return start.expand(views, rows)

    def samples(self, rate: int) -> int:
        """Return the length of a crop in samples.

        Raises:
            ConfigError: nothing is cropped, or a crop is shorter than a sample.
        """
        samples = 0 if self.seconds is None else round(self.seconds * rate)
        if samples < 1:
            raise ConfigError(f"crop.seconds is {self.seconds}: no crop of at least one sample at {rate} Hz")
        return samples

    def cut(self, audio: Audio, start: Tensor) -> Audio:
        """Cut one crop of each clip at `start (B,)`; the whole window if nothing is cropped."""
        if self.seconds is None:
            return audio
        samples = self.samples(audio.rate)
        wave = cut_out(audio, start, samples)
        lengths = (audio.lengths - start.to(audio.lengths.device)).clamp(min=0, max=samples)
        if self.short == "silence":
            lengths = torch.full_like(lengths, samples)
        return Audio(wave, lengths, audio.rate)

    @staticmethod
    def _apart(spare: Tensor, samples: int, step: int, uniform: Tensor) -> Tensor:
        """Return starts `(V, B)` in rising order, without overlap if the clip is long enough."""
        crops = len(uniform)
        pitch = -(-samples // step) * step
        index = torch.arange(crops)[:, None]
        slack = spare - (crops - 1) * pitch
        drawn = uniform.sort(0).values * (slack.clamp(min=0) // step + 1)
        apart = drawn.long() * step + index * pitch
        spread = spare * index // max(crops - 1, 1) // step * step
        return torch.where(slack >= 0, apart, spread)


def cut_out(audio: Audio, start: Tensor, samples: int) -> Tensor:
    """Return `(B, samples)` of each clip from `start (B,)` on; zeros where the clip has ended."""
    wave = audio.wave
    source = start.to(wave.device)[:, None] + torch.arange(samples, device=wave.device)
    inside = source < audio.lengths.to(wave.device)[:, None]
    return wave.gather(1, source.clamp(max=max(wave.shape[1] - 1, 0))) * inside
