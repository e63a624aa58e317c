"""First weights of linear layers, as the published codes draw them: they belong to a method like its mask."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

LinearInit = Literal["trunc_normal", "xavier_uniform", "xavier_weights", "fan_in"]
"""`trunc_normal`: standard deviation 0.02, zero biases (BERT, DeiT); `xavier_uniform`: variance 2 / (inputs + outputs),
zero biases (masked autoencoders); `fan_in`: weights and biases uniform within 1 / sqrt(inputs), PyTorch's default;
`xavier_weights`: weights as `xavier_uniform`, biases as `fan_in` (the patch projection of masked autoencoders)."""


@torch.no_grad()
def draw_linear(layer: nn.Linear, generator: torch.Generator, init: LinearInit = "trunc_normal") -> None:
    """Draw the weights of one linear layer, and its bias."""
    bound = layer.in_features**-0.5
    if init.startswith("xavier"):
        nn.init.xavier_uniform_(layer.weight, generator=generator)
    elif init == "fan_in":
        nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    else:
        nn.init.trunc_normal_(layer.weight, std=0.02, a=-2.0, b=2.0, generator=generator)
    if layer.bias is not None and init in ("fan_in", "xavier_weights"):
        nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    elif layer.bias is not None:
        nn.init.zeros_(layer.bias)


def initialise_linear(module: nn.Module, generator: torch.Generator, init: LinearInit = "trunc_normal") -> None:
    """Draw the weights of all linear layers of a module, itself included."""
    for child in module.modules():
        if isinstance(child, nn.Linear):
            draw_linear(child, generator, init)
