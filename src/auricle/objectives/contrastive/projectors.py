"""Projectors between a clip's vector and a loss that compares clips. They are dropped after training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from auricle.config import Config, Count
from auricle.encoders.conv_encoder import draw_weights


@dataclass(frozen=True)
class ProjectorConfig(Config, section="projector"):
    """Settings of a projector; the defaults are AudioMosaic's (arXiv 2605.14231).

    Others: BYOL's projector and predictor (arXiv 2006.07733) are `hidden=(4096,), out=256, end="none", bias=True,
    draw="uniform"`; COLA's (arXiv 2010.10915) is `hidden=(), out=512, end="layer_tanh", bias=True, draw="uniform"`.

    Attributes:
        hidden: widths of the hidden layers, each followed by `norm` and ReLU; none: one linear layer.
        out: width of the projection.
        norm: after each hidden linear layer.
        end: after the last one: nothing; `batch`: BatchNorm with a learned scale and no shift; `layer_tanh`: LayerNorm,
            then tanh.
        bias: whether the linear layers have one.
        draw: first weights: `normal`: truncated, standard deviation 0.02, biases zero; `uniform`: within
            1 / sqrt(inputs), PyTorch's default.
    """

    hidden: tuple[Count, ...] = (512,)
    out: Count = 128
    norm: Literal["none", "batch"] = "batch"
    end: Literal["none", "batch", "layer_tanh"] = "batch"
    bias: bool = False
    draw: Literal["normal", "uniform"] = "normal"

    def build(self, width: int, generator: torch.Generator | None = None) -> nn.Sequential:
        """Build the map `(n, width) -> (n, out)`, its weights drawn from `generator` (None: one seeded with 1)."""
        generator = torch.Generator().manual_seed(1) if generator is None else generator
        layers: list[nn.Module] = []
        for hidden in self.hidden:
            layers.append(nn.Linear(width, hidden, bias=self.bias))
            if self.norm == "batch":
                layers.append(nn.BatchNorm1d(hidden))
            layers.append(nn.ReLU())
            width = hidden
        layers.append(nn.Linear(width, self.out, bias=self.bias))
        if self.end == "batch":
            last = nn.BatchNorm1d(self.out)
            # No shift: moving all projections alike does not help a loss on directions.
            last.bias.requires_grad_(False)
            layers.append(last)
        elif self.end == "layer_tanh":
            layers += [nn.LayerNorm(self.out), nn.Tanh()]
        projector = nn.Sequential(*layers)
        if self.draw == "uniform":
            draw_weights(projector, generator, "uniform")
            return projector
        for layer in layers:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02, a=-2.0, b=2.0, generator=generator)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        return projector
