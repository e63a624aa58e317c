"""Linear probe: one vector a clip, one linear layer (arXiv 2509.24901, `linear`; time-mean with frequency kept)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from auricle.probes.contract import Inputs, ProbeConfig, classify, linear_init, repeat
from auricle.probes.heads.vectors import Source, VectorHead, pool, source_width
from auricle.tokens.token_set import TokenShape


@dataclass(frozen=True)
class LinearConfig(ProbeConfig):
    """Settings of the linear probe.

    Attributes:
        source: what the one vector is. `pooled`: as the encoder's own pre-training pools; `cls`: its class token
            (several are concatenated); `mean`, `max`, `std`: over the valid tokens; `mean_t_flat_f`: mean over time,
            frequency rows concatenated, `F * D` wide (as MSM-MAE and M2D).
        normalise: `train` standardises each dimension by mean and standard deviation over the training clips before
            the linear layer, as the parameter-free batch norm of MAE's linear probe does in the limit; `none` is the
            plain `W g + b` of the paper. Features of different encoders differ in scale by orders of magnitude, and
            the search range of learning rates is fixed, so the default is `train`.
    """

    source: Source = "pooled"
    normalise: Literal["train", "none"] = "train"

    def build(self, shape: TokenShape, classes: int, *, settings: int, generator: torch.Generator) -> Linear:
        """Build the head.

        Raises:
            ConfigError: `source` is `cls`, and the encoder has no class token.
        """
        return Linear(self, source_width(self.source, shape), classes, settings, generator)


class Linear(VectorHead):
    """`W g + b` at S settings; `C (D + 1)` parameters each."""

    def __init__(
        self, config: LinearConfig, width: int, classes: int, settings: int, generator: torch.Generator
    ) -> None:
        super().__init__(partial(pool, source=config.source), config.normalise, width, settings)
        self.weight = repeat(linear_init((classes, width), width, generator), settings)
        self.bias = repeat(linear_init((classes,), width, generator), settings)

    def forward(self, inputs: Inputs, generator: torch.Generator | None = None) -> Tensor:
        """Return logits `(S, B, C)`."""
        return classify(self.standardised(inputs), self.weight, self.bias)
