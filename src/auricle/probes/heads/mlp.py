"""Multi-layer perceptron on one vector a clip (arXiv 2509.24901, `mlp`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auricle.config import Count, ShareBelowOne
from auricle.probes.contract import Inputs, ProbeConfig, classify, drop, linear_layer
from auricle.probes.heads.vectors import Source, VectorHead, pool, source_width
from auricle.tokens.token_set import TokenShape


@dataclass(frozen=True)
class MlpConfig(ProbeConfig):
    """Settings of the perceptron on the vector of `linear`.

    The paper does not specify depth, width and activation. Chosen here: one hidden layer as wide as the vector, GELU,
    no dropout, `D^2 + D + C (D + 1)` parameters.

    Attributes:
        source: the vector, as in `LinearConfig`.
        normalise: `train` standardises the vector by the training clips, as in `LinearConfig`.
        hidden: width of the hidden layers; None: that of the vector.
        layers: hidden layers.
        activation: after each hidden layer.
        dropout: after each activation, in training.
    """

    source: Source = "pooled"
    normalise: Literal["train", "none"] = "train"
    hidden: Count | None = None
    layers: Count = 1
    activation: Literal["gelu", "relu"] = "gelu"
    dropout: ShareBelowOne = 0.0


class Mlp(VectorHead):
    """Hidden layers and a linear layer at S settings."""

    def __init__(
        self, config: MlpConfig, shape: TokenShape, classes: int, settings: int, generator: torch.Generator
    ) -> None:
        width = source_width(config.source, shape)
        super().__init__(partial(pool, source=config.source), config.normalise, width, settings)
        self.config = config
        self.hidden_weights, self.hidden_biases = nn.ParameterList(), nn.ParameterList()
        for _ in range(config.layers):
            hidden = config.hidden or width
            weight, bias = linear_layer(hidden, width, settings, generator)
            self.hidden_weights.append(weight)
            self.hidden_biases.append(bias)
            width = hidden
        self.weight, self.bias = linear_layer(classes, width, settings, generator)

    def forward(self, inputs: Inputs, generator: torch.Generator | None = None) -> Tensor:
        h = self.standardised(inputs)
        for weight, bias in zip(self.hidden_weights, self.hidden_biases, strict=True):
            h = classify(h, weight, bias)
            h = F.gelu(h) if self.config.activation == "gelu" else F.relu(h)
            h = drop(h, self.config.dropout if self.training else 0.0, generator)
        return classify(h, self.weight, self.bias)
