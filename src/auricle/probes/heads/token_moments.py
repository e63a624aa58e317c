"""Mean and standard deviation of a head's inputs, measured once over the training clips."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from auricle.errors import ConfigError
from auricle.probes.contract import Inputs, ProbeHead


def training_moments(inputs: Iterable[Inputs]) -> tuple[Tensor, Tensor]:
    """Measure each dimension over all training clips (vectors) or all their valid tokens (token maps).

    Returns:
        `(D,)` float64 mean and `(D,)` float64 deviation (population). The deviation of a constant dimension is
        infinite, so that dividing by it keeps rounding noise out.

    Raises:
        ConfigError: there is nothing to measure.
    """
    count, shift = 0, None
    for piece in inputs:
        x = (piece.x.flatten(0, -2) if piece.valid is None else piece.x[piece.valid]).double()
        if shift is None:
            # Sums of squares around a first mean stay exact where the mean is large beside the spread.
            shift, peak = x.mean(0), torch.zeros_like(x[0])
            total, squares = torch.zeros_like(shift), torch.zeros_like(shift)
        count += len(x)
        peak = torch.maximum(peak, x.abs().amax(0))
        x = x - shift
        total += x.sum(0)
        squares += x.square().sum(0)
    if shift is None:
        raise ConfigError("no training clips to measure the tokens' mean and deviation on; check the split")
    std = (squares / count - (total / count).square()).clamp(min=0).sqrt()
    moves = std > 1e-6 * peak.clamp(min=1e-12)
    return shift + total / count, std.masked_fill(~moves, torch.inf)


class StandardisedHead(ProbeHead):
    """Base of heads whose inputs `(..., width)` are standardised by the training clips, alike for every setting.

    Attributes:
        mean: `(S, width)` of the training clips.
        scale: `(S, width)`, one over their deviation; 0 for constant dimensions.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int, settings: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(settings, width))
        self.register_buffer("scale", torch.ones(settings, width))

    def calibrate(self, inputs: Iterable[Inputs]) -> None:
        mean, std = training_moments(inputs)
        self.mean.copy_(mean.to(self.mean).expand_as(self.mean))
        self.scale.copy_((1 / std).to(self.scale).expand_as(self.scale))
