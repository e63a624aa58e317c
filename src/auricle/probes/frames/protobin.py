"""Binarised prototypes, frame by frame: each prototype's best token of a column, then a linear layer a frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from auricle.config import Count, NonNegative, ShareBelowOne
from auricle.encoders.contract import Grid
from auricle.probes.contract import Inputs, classify, drop, linear_layer
from auricle.probes.frames.contract import FrameConfig, FrameHead, split_columns
from auricle.probes.heads.protobin import Protobin, ProtobinConfig
from auricle.tokens.token_set import TokenShape


@dataclass(frozen=True)
class FrameProtobinConfig(FrameConfig):
    """The prototypes of arXiv 2509.24901 with the maximum over frequency only, and the linear layer on each column.

    Attributes:
        lr_range: learning rates that the search covers; 0.2 was best on sed_synth validation frames, above the range
            published for clips: the best of 8 tokens is less informative than that of a clip's hundreds.
        per_class: J, prototypes for each class; all classes share them.
        init_std: of the latent prototypes.
        dropout: on the similarities, in training.
        precision: as in `ProtobinConfig`.
    """

    lr_range: ClassVar[tuple[float, float]] = (1e-2, 5e-1)
    per_class: Count = 20
    init_std: NonNegative = 0.02
    dropout: ShareBelowOne = 0.0
    precision: Literal["auto", "exact", "fast"] = "auto"


class FrameProtobin(Protobin, FrameHead):
    """`W max_f cos(z_tf, sign(P)) + b` for each column t; `P D + U C (P + 1)` parameters a setting, with `P = C J`."""

    def __init__(
        self, config: FrameProtobinConfig, shape: TokenShape, classes: int, settings: int, generator: torch.Generator
    ) -> None:
        plain = ProtobinConfig(
            per_class=config.per_class,
            init_std=config.init_std,
            dropout=config.dropout,
            precision=config.precision,
        )
        super().__init__(plain, shape, classes, settings, generator)
        self._freq, self.upsample = shape.freq, config.upsample
        # One output for each frame of a column instead of one a clip.
        count, wide = classes * config.per_class, config.upsample * classes
        self.weight, self.bias = linear_layer(wide, count, settings, generator)

    def forward(self, inputs: Inputs, generator: torch.Generator | None = None) -> Tensor:
        N = inputs.x.shape[1]
        h = self.frame_similarities(inputs, Grid(N // self._freq, self._freq, 1.0)).flatten(1, 2)
        if inputs.valid is not None:
            h = h[:, inputs.valid.view(-1, self._freq).any(1)]
        h = drop(h, self.dropout if self.training else 0.0, generator)
        return split_columns(classify(h, self.weight, self.bias), self.upsample)
