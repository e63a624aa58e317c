"""Heads: small maps from tokens to predictions of a target."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.config import Config, Count, Positive
from auricle.encoders.parts.first_weights import LinearInit, initialise_linear
from auricle.errors import ConfigError


@dataclass(frozen=True)
class HeadConfig(Config, ABC):
    """Base of the settings of heads."""

    @abstractmethod
    def build(self, width: int, size: int, generator: torch.Generator) -> nn.Module:
        """Build a map `(..., width) -> (..., size)`, its weights drawn from the generator.

        Raises:
            ConfigError: the widths of an identity differ.
        """


@dataclass(frozen=True)
class LinearHeadConfig(HeadConfig):
    """One linear layer.

    Attributes:
        init: its first weights.
    """

    init: LinearInit = "trunc_normal"

    def build(self, width: int, size: int, generator: torch.Generator) -> nn.Module:
        head = nn.Linear(width, size)
        initialise_linear(head, generator, self.init)
        return head


@dataclass(frozen=True)
class IdentityHeadConfig(HeadConfig):
    """The identity: the target has the tokens' width."""

    def build(self, width: int, size: int, generator: torch.Generator) -> nn.Module:
        if width != size:
            raise ConfigError(f"no head can't map width {width} to a target of width {size}; choose a linear head")
        return nn.Identity()


@dataclass(frozen=True)
class MlpHeadConfig(HeadConfig):
    """Linear layers with a nonlinearity between them.

    Attributes:
        hidden: widths of the hidden layers.
        activation: between them.
        norm: after each hidden linear layer: `layer` (before the nonlinearity), `none`, or `after`
            (LayerNorm behind it, as BERT's head has it).
        init: first weights of the linear layers.
    """

    hidden: tuple[Count, ...] = (768,)
    activation: Literal["gelu", "relu", "tanh"] = "gelu"
    norm: Literal["none", "layer", "after"] = "none"
    init: LinearInit = "trunc_normal"

    def build(self, width: int, size: int, generator: torch.Generator) -> nn.Module:
        parts: list[nn.Module] = []
        for hidden in self.hidden:
            parts.append(nn.Linear(width, hidden))
            if self.norm == "layer":
                parts.append(nn.LayerNorm(hidden))
            parts.append({"gelu": nn.GELU, "relu": nn.ReLU, "tanh": nn.Tanh}[self.activation]())
            if self.norm == "after":
                parts.append(nn.LayerNorm(hidden, eps=1e-12))  # BERT's
            width = hidden
        head = nn.Sequential(*parts, nn.Linear(width, size))
        initialise_linear(head, generator, self.init)
        return head


@dataclass(frozen=True)
class CosineHeadConfig(HeadConfig):
    """Cosine similarity to learned code vectors, over a temperature (HuBERT, arXiv 2106.07447, equation 3).

    Attributes:
        dim: width that tokens are projected to, and of the code vectors.
        temperature: divides the cosine.
    """

    dim: Count = 256
    temperature: Positive = 0.1

    def build(self, width: int, size: int, generator: torch.Generator) -> nn.Module:
        return CosineHead(width, size, self, generator)


class CosineHead(nn.Module):
    """Logits `cos(W x, e_c) / temperature`, computed in float32."""

    def __init__(self, width: int, size: int, config: CosineHeadConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.temperature = config.temperature
        self.proj = nn.Linear(width, config.dim)
        initialise_linear(self, generator)
        self.codes = nn.Parameter(torch.rand(size, config.dim, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        """Map `(..., width)` to logits `(..., size)`."""
        with torch.autocast(x.device.type, enabled=False):
            y = F.normalize(F.linear(x.to(self.proj.weight.dtype), self.proj.weight, self.proj.bias), dim=-1)
            return y @ F.normalize(self.codes, dim=-1).T / self.temperature
