"""Targets computed from the input itself: its patches, or the features of a front end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from auricle.audio.frontends.frontend import FrontEndConfig
from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.encoders.contract import Encoder
from auricle.errors import ConfigError
from auricle.objectives.contract import clean_audio
from auricle.objectives.targets.alignment import Align, align_frames, patch_size, patches, sample_grid, whole_ratio
from auricle.objectives.targets.target import Lifecycle, MaskedBatch, Target, TargetConfig


@dataclass(frozen=True)
class PatchTargetConfig(TargetConfig):
    """The patch of the clean view's features at each token.

    Attributes:
        norm: `patch` standardises each patch by itself (masked autoencoders, arXiv 2111.06377, section 3): predicting
            each patch's mean then costs 1; `none` keeps the features as the front end gives them.
        eps: added to a patch's variance.
    """

    norm: Literal["patch", "none"] = "patch"
    eps: float = 1e-6


class PatchTarget(Target):
    """`(B, N, frames * bands)`: time-major inside a patch."""

    lifecycle: ClassVar[Lifecycle] = "formula"

    def __init__(self, config: PatchTargetConfig, encoder: Encoder, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.patch = patch_size(encoder)
        self.size = self.patch[0] * self.patch[1]

    @torch.no_grad()
    def forward(self, masked_batch: MaskedBatch) -> Tensor:
        x = patches(masked_batch.clean.features, masked_batch.grid, self.patch)
        if self.config.norm == "patch":
            # The unbiased variance, as in the published code.
            variance, mean = torch.var_mean(x, -1, keepdim=True)
            x = (x - mean) / (variance + self.config.eps).sqrt()
        return x


@dataclass(frozen=True)
class FrontEndTargetConfig(TargetConfig):
    """The features that a front end makes of the clean waveform behind the view, at the encoder's token rate.

    For encoders of samples, or where the target is another kind of feature than the input.

    Attributes:
        frontend: makes them; its frame rate must be a multiple of the token rate.
        align: `index`, `mean` or `stack` (see `alignment.align_frames`).
        norm: `clip` standardises each bin over a clip's frames; `none`.
    """

    frontend: FrontEndConfig = field(default_factory=LogMelConfig)
    align: Align = "stack"
    norm: Literal["clip", "none"] = "clip"


class FrontEndTarget(Target):
    """`(B, N, D)`, D the front end's width, times the frames of a token where they are stacked."""

    lifecycle: ClassVar[Lifecycle] = "formula"

    def __init__(self, config: FrontEndTargetConfig, encoder: Encoder, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.frontend = config.frontend.build()
        grid = sample_grid(encoder)
        if grid.freq != 1:
            raise ConfigError(
                f"{type(encoder).__name__} has {grid.freq} tokens a time step, expected 1 to predict frames; choose "
                "PatchTargetConfig"
            )
        ratio = whole_ratio(self.frontend.frame_rate, grid.rate, "the target's front end")
        self.size = self.frontend.width * (ratio if config.align == "stack" else 1)

    @torch.no_grad()
    def forward(self, masked_batch: MaskedBatch) -> Tensor:
        features = self.frontend(clean_audio(masked_batch.clean, "the target"))
        x: Tensor = features.x
        if self.config.norm == "clip":
            inside = (torch.arange(x.shape[1], device=x.device) < features.lengths[:, None]).unsqueeze(-1)
            count = inside.sum(1, keepdim=True).clamp(min=1)
            centred = (x - (x * inside).sum(1, keepdim=True) / count) * inside
            x = centred / (centred.square().sum(1, keepdim=True) / count + 1e-5).sqrt()
        return align_frames(x, self.frontend.frame_rate, masked_batch.grid, self.config.align)


@dataclass(frozen=True)
class FrameTargetConfig(TargetConfig):
    """The frames at each token, side by side, as the encoder reads them.

    For encoders of samples, the frames are those that `frontend` makes of the clean waveform, each bin standardised
    over the clip.

    Attributes:
        frontend: for encoders of samples; its frame rate must be a multiple of the token rate.
    """

    frontend: FrontEndConfig = field(default_factory=lambda: LogMelConfig(mels=80, n_fft=400, window=400))

    def build(self, encoder: Encoder, generator: torch.Generator) -> Target:
        if encoder.bands is None:
            return FrontEndTargetConfig(self.frontend).build(encoder, generator)
        return PatchTargetConfig(norm="none").build(encoder, generator)
