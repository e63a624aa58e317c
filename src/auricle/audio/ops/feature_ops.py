"""Operators on log-mel features of one clip: random resize crop, linear fader, noise, circular roll.

The first two are BYOL-A's (arXiv 2103.06695, 2204.07402). Letters in shapes: B clips, T frames, F mel bands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor

from auricle.audio.batch import Features
from auricle.audio.ops.feature_op import FeatureOp, FeatureOpConfig, remade, valid_frames
from auricle.audio.ranges import Scales, check_ranges
from auricle.config import Positive

_CUBIC = -0.75
"""The free parameter of the cubic convolution kernel (Keys, 1981) that image libraries use."""

_Enlargement = Annotated[float, Ge(1), Le(10)]
_Sigma = Annotated[float, Ge(0), Le(1e3)]


@dataclass(frozen=True)
class ResizeCropConfig(FeatureOpConfig):
    """Random resize crop on a virtual canvas (BYOL-A; ATST): a part of the clip, or more than it, resized to its shape.

    The clip is pasted into the middle of a canvas of zeros (the corpus's mean level, not silence). A box of random size
    and position is cut from it and resized by bicubic interpolation.

    Attributes:
        canvas: size of the canvas over that of the clip, (frequency, time), each at least 1.
        frequency_scale: range of the box's height over the clip's; heights are clipped to 1 ... the clip's.
        time_scale: range of the box's width over the clip's; widths are clipped to 1 ... the canvas's. `(1, 1)` with a
            canvas of width 1 crops frequency only and does not move time (ATST-Frame, arXiv 2306.04186).
    """

    canvas: tuple[_Enlargement, _Enlargement] = (1.0, 1.5)
    frequency_scale: Scales = (0.6, 1.5)
    time_scale: Scales = (0.6, 1.5)

    def __post_init__(self) -> None:
        check_ranges(self, "frequency_scale", "time_scale")

    @property
    def moves_time(self) -> bool:
        return self.time_scale != (1.0, 1.0) or self.canvas[1] != 1.0


class ResizeCrop(FeatureOp):
    """Crops and resizes; certificate: `crop_band`, `crop_bands`, `crop_frame`, `crop_frames`: the box on the canvas."""

    config: ResizeCropConfig

    @torch.no_grad()
    def forward(self, features: Features, generator: torch.Generator) -> tuple[Features, Mapping[str, Tensor]]:
        frames = features.lengths.cpu()
        bands = torch.full_like(frames, features.x.shape[2])
        boxes = self.draw(frames, bands, generator)
        tall, wide = (
            (size * scale + 1e-9).long() for size, scale in zip((bands, frames), self.config.canvas, strict=True)
        )
        top, left = (tall - bands) // 2, (wide - frames) // 2
        x = resized(features.x, boxes["crop_frame"] - left, boxes["crop_frames"], frames, dim=1)
        x = resized(x, boxes["crop_band"] - top, boxes["crop_bands"], bands, dim=2)
        return remade(features, x), boxes

    def draw(self, frames: Tensor, bands: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw the boxes on the canvases of clips of `frames (B,)` by `bands (B,)`; see the certificate."""
        config, rows = self.config, len(frames)
        boxes = {}
        for name, size, scale, canvas, most in (
            ("crop_band", bands, config.frequency_scale, config.canvas[0], bands),
            ("crop_frame", frames, config.time_scale, config.canvas[1], (frames * config.canvas[1] + 1e-9).long()),
        ):
            u = torch.rand(2, rows, generator=generator, dtype=torch.float64)
            drawn = (((scale[1] - scale[0]) * u[0] + scale[0]) * size + 1e-9).long()
            length = drawn.clamp(min=1).minimum(most)
            boxes[name] = (u[1] * ((size * canvas + 1e-9).long() - length + 1)).long()
            boxes[f"{name}s"] = length
        return boxes


def resized(x: Tensor, first: Tensor, length: Tensor, size: Tensor, dim: int) -> Tensor:
    """Read a segment of one dimension of `(B, T, F)` and resize it to the clip's own size by cubic interpolation.

    Ends are aligned (the first and last values of the result are those of the segment), and the segment's end values
    are repeated beyond its ends, as in a bicubic resize of the segment alone. Outside the clip there are zeros.

    Args:
        x: `(B, T, F)`.
        first: `(B,)` start of each segment; may be negative.
        length: `(B,)` of each segment.
        size: `(B,)` valid length of the dimension in each clip, also of the result; values beyond are arbitrary.
        dim: 1 or 2.
    """
    out = torch.arange(x.shape[dim], dtype=torch.float64)
    step = (length - 1).double() / (size - 1).clamp(min=1)
    position = (out * step[:, None]).minimum((length - 1).double()[:, None])
    whole = position.floor()
    fraction = position - whole
    made = torch.zeros_like(x)
    for tap in range(-1, 3):
        place = (whole + tap).long().clamp(min=0).minimum(length[:, None] - 1) + first[:, None]
        inside = (place >= 0) & (place < size[:, None])
        weight = (_cubic_weight(fraction - tap) * inside).to(x)
        index = place.clamp(0, x.shape[dim] - 1).to(x.device)
        if dim == 1:
            made.addcmul_(x.gather(1, index[:, :, None].expand_as(x)), weight[:, :, None])
        else:
            made.addcmul_(x.gather(2, index[:, None, :].expand_as(x)), weight[:, None, :])
    return made


def _cubic_weight(distance: Tensor) -> Tensor:
    d, a = distance.abs(), _CUBIC
    near = ((a + 2) * d - (a + 3)) * d.square() + 1
    far = a * (((d - 5) * d + 8) * d - 4)
    return torch.where(d <= 1, near, torch.where(d < 2, far, 0.0))


@dataclass(frozen=True)
class LinearFaderConfig(FeatureOpConfig):
    """A slope added along time, between random values at both ends (BYOL-A version 2).

    Attributes:
        gain: both values are uniform from -gain to gain.
    """

    gain: Positive = 1.0


class LinearFader(FeatureOp):
    """Fades linearly; certificate: `head`, `tail`."""

    config: LinearFaderConfig

    @torch.no_grad()
    def forward(self, features: Features, generator: torch.Generator) -> tuple[Features, Mapping[str, Tensor]]:
        head, tail = self.config.gain * (2 * torch.rand(2, len(features), generator=generator) - 1)
        return remade(features, faded(features, head, tail)), {"head": head, "tail": tail}


def faded(features: Features, head: Tensor, tail: Tensor) -> Tensor:
    """Return `(B, T, F)` with a line added from head to tail, `(B,)` each, over a clip's frames."""
    x = features.x
    last = (features.lengths.to(x) - 1).clamp(min=1)[:, None]
    share = torch.arange(x.shape[1], device=x.device, dtype=x.dtype) / last
    head, tail = head.to(x)[:, None], tail.to(x)[:, None]
    return x + (head + (tail - head) * share)[..., None]


@dataclass(frozen=True)
class FeatureNoiseConfig(FeatureOpConfig):
    """White Gaussian noise on normalised features.

    Attributes:
        sigma: range of its standard deviation, drawn for each clip.
    """

    sigma: tuple[_Sigma, _Sigma] = (0.0, 0.2)

    def __post_init__(self) -> None:
        check_ranges(self, "sigma")


class FeatureNoise(FeatureOp):
    """Adds noise; certificate: `feature_noise`, its standard deviation."""

    config: FeatureNoiseConfig

    @torch.no_grad()
    def forward(self, features: Features, generator: torch.Generator) -> tuple[Features, Mapping[str, Tensor]]:
        low, high = self.config.sigma
        sigma = low + (high - low) * torch.rand(len(features), generator=generator)
        noise = torch.randn(features.x.shape, generator=generator).to(features.x)
        return remade(features, features.x + sigma.to(features.x)[:, None, None] * noise), {"feature_noise": sigma}


@dataclass(frozen=True)
class FeatureRollConfig(FeatureOpConfig):
    """A circular roll by a uniformly drawn number of frames (Audio-MAE rolls the waveform)."""

    @property
    def moves_time(self) -> bool:
        return True


class FeatureRoll(FeatureOp):
    """Rolls frames to the right; certificate: `roll_frames`."""

    @torch.no_grad()
    def forward(self, features: Features, generator: torch.Generator) -> tuple[Features, Mapping[str, Tensor]]:
        x = features.x
        shift = (torch.rand(len(x), generator=generator, dtype=torch.float64) * features.lengths.cpu()).long()
        place = torch.arange(x.shape[1], device=x.device)
        lengths = features.lengths.to(x.device)[:, None]
        source = torch.where(
            valid_frames(features)[..., 0], (place - shift.to(x.device)[:, None]) % lengths.clamp(min=1), place
        )
        return remade(features, x.gather(1, source[..., None].expand_as(x))), {"roll_frames": shift}
