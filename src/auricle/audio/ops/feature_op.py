"""The contract of operators on normalised spectral features: features in, features of the same shape out.

Operators act on log-mel values after the front end's normalisation, on their device; random parameters are drawn
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
from auricle.audio.frontends.spectral import SpectralFrontEnd
from auricle.config import Config


@dataclass(frozen=True)
class FeatureOpConfig(Config):
    """Base of the settings of operators on features."""

    @property
    def moves_time(self) -> bool:
        """Whether sounds move in time, so that no clean reference is left."""
        return False

    def build(self, frontend: SpectralFrontEnd) -> FeatureOp:
        """Make the operator for a front end."""
        operator: FeatureOp = self.built_class()(self, frontend)
        return operator


class FeatureOp(nn.Module, ABC):
    """An operator on a batch of features, without parameters or gradient."""

    def __init__(self, config: FeatureOpConfig, frontend: SpectralFrontEnd) -> None:
        super().__init__()
        self.config = config
        self.width = frontend.width

    @abstractmethod
    def forward(self, features: Features, generator: torch.Generator) -> tuple[Features, Mapping[str, Tensor]]:
        """Operate on a batch.

        Args:
            features: `(B, T, F)` float32, normalised.
            generator: on the CPU.

        Returns:
            Features of the same shape, lengths, rate and pad, and the certificate: tensors `(B, ...)` on the CPU.

        Raises:
            ConfigError: the operator can't act on these features.
        """

    def finish(self) -> None:
        """Called after all views of a batch are made; does nothing by default."""


def valid_frames(features: Features) -> Tensor:
    """Return `(B, T, 1)` bool, False in frames beyond a clip's length."""
    x = features.x
    return (torch.arange(x.shape[1], device=x.device) < features.lengths.to(x.device)[:, None])[..., None]


def remade(features: Features, x: Tensor) -> Features:
    """Return the features with other values; frames beyond a clip's length hold `pad`."""
    x = torch.where(valid_frames(features), x, features.pad)
    return Features(x, features.lengths, features.rate, features.pad)
