"""Operators that reshape or disturb log-mel features: random resize crop, linear fader, noise, circular roll.

The first two are BYOL-A's (arXiv 2103.06695, 2204.07402). Letters in shapes: B clips, T frames, F mel bands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from auricle.audio.batch import Features
from auricle.audio.frontends.frontend import SpectralFrontEnd
from auricle.audio.ops.feature_op import FeatureOp, FeatureOpConfig, remade, valid_frames
from auricle.errors import ConfigError

_CUBIC = -0.75
"""The free parameter of the cubic convolution kernel (Keys, 1981) that image libraries use."""


def _check_range(owner: str, name: str, values: tuple[float, float], least: float, most: float) -> None:
    if len(values) != 2 or not least <= values[0] <= values[1] <= most:
        raise ConfigError(
            f"{owner}.{name} is {values}; give (lowest, highest) in this order, between {least:g} and {most:g}"
        )


@dataclass(frozen=True)
class ResizeCropConfig(FeatureOpConfig):
    """Random resize crop on a virtual canvas (BYOL-A; ATST): a crop of the clip, or more than it, resized to its shape.

    The clip is pasted into the middle of a canvas of zeros (the corpus's mean level, not silence). A box of random size
    and place is cut from it and resized by bicubic interpolation.

    Attributes:
        canvas: size of the canvas over that of the clip, (frequency, time), each at least 1.
        frequency_scale: range of the box's height over the clip's; heights are clipped to 1 ... the clip's.
        time_scale: range of the box's width over the clip's; widths are clipped to 1 ... the canvas's. `(1, 1)` with a
            canvas of width 1: frequency only, and time keeps its place (ATST-Frame, arXiv 2306.04186).
    """

    canvas: tuple[float, float] = (1.0, 1.5)
    frequency_scale: tuple[float, float] = (0.6, 1.5)
    time_scale: tuple[float, float] = (0.6, 1.5)

    def __post_init__(self) -> None:
        """Refuse settings out of range."""
        for value in self.canvas:
            if not 1 <= value <= 10:
                raise ConfigError(f"ResizeCropConfig.canvas is {self.canvas}; expected both between 1 and 10")
        _check_range("ResizeCropConfig", "frequency_scale", self.frequency_scale, 0.01, 10.0)
        _check_range("ResizeCropConfig", "time_scale", self.time_scale, 0.01, 10.0)

    @property
    def moves_time(self) -> bool:
        """Whether time is cropped or stretched."""
        return self.time_scale != (1.0, 1.0) or self.canvas[1] != 1.0

    def build(self, frontend: SpectralFrontEnd) -> ResizeCrop:
        """Make the operator."""
        return ResizeCrop(self)


class ResizeCrop(FeatureOp):
    """Crops and resizes; certificate: `crop_band`, `crop_bands`, `crop_frame`, `crop_frames`: the box on the canvas."""

    def __init__(self, config: ResizeCropConfig) -> None:
        super().__init__()
        self.config = config

    @torch.no_grad()
    def forward(self, features: Features, generator: torch.Generator) -> tuple[Features, Mapping[str, Tensor]]:
        """Crop and resize each clip; a padded clip's own frames take the place of the canvas's."""
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
    """Read stretches of one dimension of `(B, T, F)` and resize them to the clip's own size by cubic interpolation.

    Ends are aligned (the first and last of what is made are the first and last of the stretch), and beyond the ends of
    a stretch its end values go on, as in a bicubic resize of the stretch alone. Outside the clip there are zeros.

    Args:
        x: `(B, T, F)`.
        first: `(B,)` where each stretch starts; may be negative.
        length: `(B,)` of each stretch.
        size: `(B,)` what of the dimension belongs to the clip, and how long the result is; what follows is arbitrary.
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
        gain: both values are drawn evenly from -gain ... gain.
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        """Refuse settings out of range."""
        if self.gain <= 0:
            raise ConfigError(f"LinearFaderConfig.gain is {self.gain}; expected above 0")

    def build(self, frontend: SpectralFrontEnd) -> LinearFader:
        """Make the operator."""
        return LinearFader(self)


class LinearFader(FeatureOp):
    """Fades linearly; certificate: `head`, `tail`."""

    def __init__(self, config: LinearFaderConfig) -> None:
        super().__init__()
        self.config = config

    @torch.no_grad()
    def forward(self, features: Features, generator: torch.Generator) -> tuple[Features, Mapping[str, Tensor]]:
        """Add the slope."""
        head, tail = self.config.gain * (2 * torch.rand(2, len(features), generator=generator) - 1)
        return remade(features, faded(features, head, tail)), {"head": head, "tail": tail}


def faded(features: Features, head: Tensor, tail: Tensor) -> Tensor:
    """Return `(B, T, F)` with a line added that goes from head to tail, `(B,)` each, over a clip's frames."""
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

    sigma: tuple[float, float] = (0.0, 0.2)

    def __post_init__(self) -> None:
        """Refuse settings out of range."""
        _check_range("FeatureNoiseConfig", "sigma", self.sigma, 0.0, 1e3)

    def build(self, frontend: SpectralFrontEnd) -> FeatureNoise:
        """Make the operator."""
        return FeatureNoise(self)


class FeatureNoise(FeatureOp):
    """Adds noise; certificate: `feature_noise`, its standard deviation."""

    def __init__(self, config: FeatureNoiseConfig) -> None:
        super().__init__()
        self.config = config

    @torch.no_grad()
    def forward(self, features: Features, generator: torch.Generator) -> tuple[Features, Mapping[str, Tensor]]:
        """Add it."""
        low, high = self.config.sigma
        sigma = low + (high - low) * torch.rand(len(features), generator=generator)
        noise = torch.randn(features.x.shape, generator=generator).to(features.x)
        return remade(features, features.x + sigma.to(features.x)[:, None, None] * noise), {"feature_noise": sigma}


@dataclass(frozen=True)
class FeatureRollConfig(FeatureOpConfig):
    """The clip's frames rolled circularly by an evenly drawn number (Audio-MAE does it on the waveform)."""

    @property
    def moves_time(self) -> bool:
        """True."""
        return True

    def build(self, frontend: SpectralFrontEnd) -> FeatureRoll:
        """Make the operator."""
        return FeatureRoll()


class FeatureRoll(FeatureOp):
    """Rolls frames to the right; certificate: `roll_frames`."""

    @torch.no_grad()
    def forward(self, features: Features, generator: torch.Generator) -> tuple[Features, Mapping[str, Tensor]]:
        """Roll."""
        x = features.x
        shift = (torch.rand(len(x), generator=generator, dtype=torch.float64) * features.lengths.cpu()).long()
        place = torch.arange(x.shape[1], device=x.device)
        lengths = features.lengths.to(x.device)[:, None]
        source = torch.where(
            valid_frames(features)[..., 0], (place - shift.to(x.device)[:, None]) % lengths.clamp(min=1), place
        )
        return remade(features, x.gather(1, source[..., None].expand_as(x))), {"roll_frames": shift}
