"""The contract of a probe: a head over frozen tokens, trained at many settings at once.

Letters in shapes: S settings (one learning rate and weight decay each), B clips, N tokens, D width, C classes. Every
parameter and buffer of a head has a leading settings axis, so that one pass over the tokens trains all settings, and
row s of each is the head of setting s.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from auricle.config import Config
from auricle.errors import ConfigError
from auricle.tokens.token_set import TokenBatch, TokenSet, TokenShape


@dataclass(frozen=True)
class Inputs:
    """Inputs of a head for a batch, made once a clip where memory allows.

    Attributes:
        x: `(B, ...)` float32.
        valid: `(B, N)` bool, or None where every token counts (or tokens are pooled already).
    """

    x: Tensor
    valid: Tensor | None = None


@dataclass(frozen=True)
class Labelled:
    """Tokens with their targets.

    Attributes:
        tokens: `n` clips.
        targets: `(n,)` int64 class indices (single label), or `(n, C)` float32 of zeros and ones (multi-label).

    Raises:
        ConfigError: the counts differ, or there is no clip.
    """

    tokens: TokenSet
    targets: Tensor

    def __post_init__(self) -> None:
        if len(self.tokens) != len(self.targets):
            raise ConfigError(
                f"{len(self.tokens)} clips but {len(self.targets)} targets; pass one target for each clip"
            )
        if len(self.tokens) == 0:
            raise ConfigError("no clips to train or validate a probe on; check the split")


class ProbeHead(nn.Module, ABC):
    """Base of all probe heads: `Head(config, shape, classes, settings, generator)` (see `ProbeConfig.build`)."""

    @property
    def settings(self) -> int:
        """S, the number of settings trained at once."""
        return next(self.parameters()).shape[0]

    @property
    def params(self) -> int:
        """Trainable parameters of one setting."""
        return sum(p[0].numel() for p in self.parameters())

    @abstractmethod
    def read(self, batch: TokenBatch) -> Inputs:
        """Return the inputs of a batch, after pooling and scaling without parameters; masked tokens never count."""

    def calibrate(self, inputs: Iterable[Inputs]) -> None:
        """Measure fixed statistics on the training clips, in one pass before training."""

    @abstractmethod
    def forward(self, inputs: Inputs, generator: torch.Generator | None = None) -> Tensor:
        """Return logits `(S, B, C)`; the generator is for dropout, in training mode."""

    def keep(self, rows: Tensor) -> None:
        """Keep the settings at `rows (K,)` int64 and drop the others."""
        for module in self.modules():
            for name, p in list(module.named_parameters(recurse=False)):
                module.register_parameter(name, nn.Parameter(p.detach()[rows].clone()))
            for name, b in list(module.named_buffers(recurse=False)):
                module.register_buffer(name, b[rows].clone())

    def watch(self) -> dict[str, Tensor]:
        """Return values to record at the end of an epoch, each `(S,)`."""
        return {}


@dataclass(frozen=True)
class ProbeConfig(Config):
    """Base of probe settings.

    Attributes:
        lr_range: learning rates that the search covers (arXiv 2509.24901, training protocol).
        reads: the encoder's output (`tokens`), or the stack of its layers' outputs (`layers`).
    """

    lr_range: ClassVar[tuple[float, float]] = (1e-4, 7e-3)
    reads: ClassVar[Literal["tokens", "layers"]] = "tokens"

    @property
    def grid_range(self) -> tuple[float, float]:
        """Ends of the learning rates of the default grid; those of the paper, unless a probe needs a wider range."""
        return self.lr_range

    def build(self, shape: TokenShape, classes: int, *, settings: int, generator: torch.Generator) -> ProbeHead:
        """Build the head with `settings` equal copies of one random start.

        Args:
            shape: of the tokens that it will read.
            classes: C.
            settings: S.
            generator: of the random start.

        Raises:
            ConfigError: the settings don't fit the tokens' shape, such as a class token that the encoder lacks.

        Examples:
            >>> from auricle.probes import PROBES
            >>> shape = TokenShape(width=8, pooled_width=8, cls=0, freq=1)
            >>> PROBES["linear"].build(shape, 3, settings=2, generator=torch.Generator()).params
            27
        """
        head: ProbeHead = self.built_class()(self, shape, classes, settings, generator)
        return head


def linear_init(shape: tuple[int, ...], fan_in: int, generator: torch.Generator) -> Tensor:
    """Draw a start as `nn.Linear` does: uniform in +-1/sqrt(fan_in)."""
    bound = fan_in**-0.5
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)


def linear_layer(
    outputs: int, inputs: int, settings: int, generator: torch.Generator
) -> tuple[nn.Parameter, nn.Parameter]:
    """Return weight `(S, outputs, inputs)` and bias `(S, outputs)` of a linear layer, see `linear_init`."""
    weight = repeat(linear_init((outputs, inputs), inputs, generator), settings)
    return weight, repeat(linear_init((outputs,), inputs, generator), settings)


def repeat(start: Tensor, settings: int) -> nn.Parameter:
    """Copy one start `(...)` for all settings, `(S, ...)`, so that they differ by their optimiser alone."""
    return nn.Parameter(start.unsqueeze(0).repeat(settings, *[1] * start.dim()))


def classify(pooled: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Apply each setting's linear layer: `(S, B, D)`, `(S, C, D)`, `(S, C)` -> `(S, B, C)`."""
    return torch.baddbmm(bias.unsqueeze(1), pooled, weight.transpose(1, 2))


def drop(h: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
    """Dropout on `h (S, B, D)`: one mask for all settings, so that they differ by their optimiser alone."""
    if share == 0:
        return h
    keep = torch.rand(h.shape[1:], generator=generator, device=h.device) >= share
    return h * keep / (1 - share)
