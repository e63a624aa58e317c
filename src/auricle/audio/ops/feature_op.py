"""What every operator on normalised spectral features promises: features in, features of the same shape out.

Operators act on log-mel values after the front end's normalisation, on their device; what chance decides is drawn
first, on the CPU. Frames beyond a clip's length keep the value `pad`.

Letters in shapes: B clips, T frames, F mel bands.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from auricle.audio.batch import Features
from auricle.audio.frontends.frontend import SpectralFrontEnd
from auricle.config import Config


@dataclass(frozen=True)
class FeatureOpConfig(Config, ABC):
    """Base of the settings of operators on features."""

    @property
    def moves_time(self) -> bool:
        """Whether what happens at a time of the clip is elsewhere afterwards, so that no clean reference is left."""
        return False

    @abstractmethod
    def build(self, frontend: SpectralFrontEnd) -> FeatureOp:
        """Make the operator for a front end."""


class FeatureOp(nn.Module, ABC):
    """An operator on a batch of features, without parameters or gradient."""

    @abstractmethod
    def forward(self, features: Features, generator: torch.Generator) -> tuple[Features, Mapping[str, Tensor]]:
        """Operate on a batch.

        Args:
            features: `(B, T, F)` float32, normalised.
            generator: on the CPU.

        Returns:
            Features of the same shape, lengths, rate and pad, and the certificate: tensors `(B, ...)` on the CPU.
        """

    def finish(self) -> None:
        """Do what follows when all views of a batch are made. Nothing by default."""


def valid_frames(features: Features) -> Tensor:
    """Return `(B, T, 1)` bool, False in frames beyond a clip's length."""
    x = features.x
    return (torch.arange(x.shape[1], device=x.device) < features.lengths.to(x.device)[:, None])[..., None]


def remade(features: Features, x: Tensor) -> Features:
    """Return the features with other values; frames beyond a clip's length hold `pad`."""
    x = torch.where(valid_frames(features), x, features.pad)
    return Features(x, features.lengths, features.rate, features.pad)
