"""Linear probe: one vector a clip, one linear layer (arXiv 2509.24901, `linear`; time-mean with frequency kept)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from auricle.config import nearest
from auricle.errors import ConfigError
from auricle.probes.contract import Inputs, ProbeConfig, ProbeHead, classify, linear_init, repeat
from auricle.tokens.token_set import TokenBatch, TokenShape

SOURCES = ("pooled", "cls", "mean", "mean_t_flat_f")


@dataclass(frozen=True)
class LinearConfig(ProbeConfig):
    """Settings of the linear probe.

    Attributes:
        source: what the one vector is. `pooled`: as the encoder's own pre-training pools; `cls`: its class token
            (several are concatenated); `mean`: mean of the valid tokens; `mean_t_flat_f`: mean over time, frequency
            rows concatenated, `F * D` wide (as MSM-MAE and M2D).
        normalise: `train` standardises each dimension by mean and standard deviation over the training clips before
            the linear layer, as the parameter-free batch norm of MAE's linear probe does in the limit; `none` is the
            plain `W g + b` of the paper. Features of different encoders differ in scale by orders of magnitude, and
            the search range of learning rates is fixed, so the default is `train`.
    """

    source: Literal["pooled", "cls", "mean", "mean_t_flat_f"] = "pooled"
    normalise: Literal["train", "none"] = "train"

    def build(self, shape: TokenShape, classes: int, *, settings: int, generator: torch.Generator) -> Linear:
        """Build the head.

        Raises:
            ConfigError: `source` is unknown, or is `cls` and the encoder has no class token.
        """
        if self.source == "cls" and shape.cls == 0:
            raise ConfigError("source 'cls' needs a class token, and this encoder has none; use 'pooled' or 'mean'")
        widths = {
            "pooled": shape.pooled_width,
            "cls": shape.cls * shape.width,
            "mean": shape.width,
            "mean_t_flat_f": shape.freq * shape.width,
        }
        if self.source not in widths:
            raise ConfigError(f"unknown source {self.source!r}{nearest(self.source, SOURCES)}")
        return Linear(self, widths[self.source], classes, settings, generator)


class Linear(ProbeHead):
    """`W g + b` at S settings."""

    mean: Tensor
    scale: Tensor

    def __init__(
        self, config: LinearConfig, width: int, classes: int, settings: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.config = config
        self.weight = repeat(linear_init((classes, width), width, generator), settings)
        self.bias = repeat(linear_init((classes,), width, generator), settings)
        self.register_buffer("mean", torch.zeros(settings, width))
        self.register_buffer("scale", torch.ones(settings, width))

    def read(self, batch: TokenBatch) -> Inputs:
        """Pool to `(B, D)`."""
        return Inputs(_pool(batch, self.config.source))

    def calibrate(self, inputs: Iterable[Inputs]) -> None:
        """Measure mean and standard deviation of the training vectors; constant dimensions are left at zero."""
        if self.config.normalise == "none":
            return
        count, shift = 0, None
        for piece in inputs:
            x = piece.x.double()
            if shift is None:
                # Sums of squares around a first mean stay exact where the mean is large beside the spread.
                shift, peak = x.mean(0), torch.zeros_like(x[0])
                total, squares = torch.zeros_like(shift), torch.zeros_like(shift)
            count += len(x)
            total += (x - shift).sum(0)
            squares += (x - shift).square().sum(0)
            peak = torch.maximum(peak, x.abs().amax(0))
        if shift is None:
            raise ConfigError("no training clips to measure the vectors' mean and deviation on; check the split")
        mean = shift + total / count
        std = (squares / count - (total / count).square()).clamp(min=0).sqrt()
        # A dimension that never moves on the training clips says nothing: scale 0 keeps its rounding noise out.
        moves = std > 1e-6 * peak.clamp(min=1e-12)
        self.mean.copy_(mean.to(self.mean).expand_as(self.mean))
        self.scale.copy_(torch.where(moves, 1 / std, 0).to(self.scale).expand_as(self.scale))

    def forward(self, inputs: Inputs, generator: torch.Generator | None = None) -> Tensor:
        """Return logits `(S, B, C)`."""
        x = (inputs.x - self.mean.unsqueeze(1)) * self.scale.unsqueeze(1)
        return classify(x, self.weight, self.bias)


def _pool(batch: TokenBatch, source: str) -> Tensor:
    if source == "pooled":
        return batch.pooled
    if source == "cls":
        if batch.cls is None:
            raise ConfigError("source 'cls' needs class tokens, and these tokens come without; use 'pooled' or 'mean'")
        return batch.cls.flatten(1)
    weight = batch.valid.unsqueeze(-1).to(batch.x.dtype)
    # Not weight * x: what stands at a padded place is arbitrary, and 0 * NaN is NaN.
    x = batch.x.masked_fill(~batch.valid.unsqueeze(-1), 0)
    if source == "mean":
        return x.sum(1) / weight.sum(1)
    B, _, D = x.shape
    grid = (B, batch.grid.time, batch.grid.freq, -1)
    return (x.view(grid).sum(1) / weight.view(grid).sum(1).clamp(min=1)).reshape(B, batch.grid.freq * D)
