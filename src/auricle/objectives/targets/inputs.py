"""Targets that are computed from the input itself: its patches, or the features of a front end. Free, and exact."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from auricle.audio.frontends.frontend import FrontEndConfig
from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.encoders.contract import Encoder
from auricle.errors import ConfigError
from auricle.objectives.targets.alignment import Align, align_frames, patch_size, patches, whole_ratio
from auricle.objectives.targets.target import Lifecycle, MaskedBatch, Target, TargetConfig


@dataclass(frozen=True)
class PatchTargetConfig(TargetConfig):
    """The features of the clean view that each token stands for.

    Attributes:
        norm: `patch` standardises each patch by itself (masked autoencoders, arXiv 2111.06377, section 3): its loss is
            then 1 for who predicts each patch's mean; `none` leaves the features as the front end gives them.
        eps: added to a patch's variance.
    """

    norm: Literal["patch", "none"] = "patch"
    eps: float = 1e-6

    def __post_init__(self) -> None:
        if self.norm not in ("patch", "none"):
            raise ConfigError(f"unknown norm {self.norm!r} of patches; choose patch or none")


class PatchTarget(Target):
    """`(B, N, frames * bands)`: time-major inside a patch."""

    lifecycle: ClassVar[Lifecycle] = "formula"

    def __init__(self, config: PatchTargetConfig, encoder: Encoder) -> None:
        super().__init__()
        self.config = config
        self.patch = patch_size(encoder)
        self.size = self.patch[0] * self.patch[1]

    def forward(self, masked_batch: MaskedBatch) -> Tensor:
        with torch.no_grad():
            x = patches(masked_batch.clean.features, masked_batch.grid, self.patch)
            if self.config.norm == "patch":
                # The variance of a sample, as the published code has it.
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

    def __init__(self, config: FrontEndTargetConfig, encoder: Encoder) -> None:
        super().__init__()
        self.config = config
        self.frontend = config.frontend.build()
        grid = encoder.grid(max(encoder.least_frames, round(encoder.input_rate)))
        if grid.freq != 1:
            raise ConfigError(
                f"{type(encoder).__name__} has {grid.freq} tokens a time step; frames can be predicted for one only"
            )
        ratio = whole_ratio(self.frontend.frame_rate, grid.rate, "the target's front end")
        self.size = self.frontend.width * (ratio if config.align == "stack" else 1)

    def forward(self, masked_batch: MaskedBatch) -> Tensor:
        return align_frames(
            reference_features(masked_batch, self.frontend, self.config.norm),
            self.frontend.frame_rate,
            masked_batch.grid,
            self.config.align,
        )


@torch.no_grad()
def reference_features(masked_batch: MaskedBatch, frontend: torch.nn.Module, norm: str) -> Tensor:
    """Return a front end's features `(B, T', D)` of the clean waveform behind the view, each bin standardised if asked.

    Raises:
        ConfigError: the view has no clean waveform in step with it.
    """
    audio = masked_batch.clean.reference
    if audio is None:
        raise ConfigError(
            "this target is computed from the clean waveform, and the view was moved or stretched in time; choose an "
            "augmentation that keeps time (PlainViewsConfig, or a plan without rolling and stretching)"
        )
    features = frontend(audio)
    x: Tensor = features.x
    if norm == "clip":
        inside = (torch.arange(x.shape[1], device=x.device) < features.lengths[:, None]).unsqueeze(-1)
        count = inside.sum(1, keepdim=True).clamp(min=1)
        centred = (x - (x * inside).sum(1, keepdim=True) / count) * inside
        x = centred / (centred.square().sum(1, keepdim=True) / count + 1e-5).sqrt()
    return x
