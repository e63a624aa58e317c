"""What every probe promises: a head over frozen tokens, trained at many settings at once.

Letters in shapes: S settings (one learning rate and weight decay each), B clips, N tokens, D width, C classes. Every
parameter and every buffer of a head has the settings axis in front, so one pass over the tokens trains all settings,
and a setting can be cut out of a head by taking a row of each.
"""

from __future__ import annotations

import typing
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from auricle.config import Config, nearest
from auricle.errors import ConfigError
from auricle.tokens.token_set import TokenBatch, TokenSet, TokenShape


@dataclass(frozen=True)
class Inputs:
    """What a head reads of a batch, made once a clip where memory allows.

    Attributes:
        x: `(B, ...)` float32.
        valid: `(B, N)` bool, or None where every token counts (or where tokens were already pooled).
    """

    x: Tensor
    valid: Tensor | None = None


@dataclass(frozen=True)
class Labelled:
    """Tokens with their targets.

    Attributes:
        tokens: `n` clips.
        targets: `(n,)` int64 class indices (single label), or `(n, C)` float32 of zeros and ones (multi-label).
    """

    tokens: TokenSet
    targets: Tensor

    def __post_init__(self) -> None:
        """Check that there is one target a clip.

        Raises:
            ConfigError: the counts differ or there is no clip.
        """
        if len(self.tokens) != len(self.targets):
            raise ConfigError(f"{len(self.tokens)} clips but {len(self.targets)} targets; give one target a clip")
        if len(self.tokens) == 0:
            raise ConfigError("no clips to train or validate a probe on; check the split")


class ProbeHead(nn.Module, ABC):
    """Base of all probe heads."""

    @property
    def settings(self) -> int:
        """S, how many settings are trained at once."""
        return next(self.parameters()).shape[0]

    @property
    def params(self) -> int:
        """Trainable parameters of one setting."""
        return sum(p[0].numel() for p in self.parameters())

    @abstractmethod
    def read(self, batch: TokenBatch) -> Inputs:
        """Do the work that needs no parameter (pooling, normalising); masked tokens never count."""

    def calibrate(self, inputs: Iterable[Inputs]) -> None:
        """Measure fixed statistics on the training clips, in one pass before training."""

    @abstractmethod
    def forward(self, inputs: Inputs, generator: torch.Generator | None = None) -> Tensor:
        """Return logits `(S, B, C)`. The generator is for dropout, which acts in training mode only."""

    def keep(self, rows: Tensor) -> None:
        """Keep the settings at `rows (K,)` int64 and forget the others."""
        for module in self.modules():
            for name, p in list(module.named_parameters(recurse=False)):
                module.register_parameter(name, nn.Parameter(p.detach()[rows].clone()))
            for name, b in list(module.named_buffers(recurse=False)):
                module.register_buffer(name, b[rows].clone())

    def watch(self) -> dict[str, Tensor]:
        """Return what is worth recording at the end of an epoch, each `(S,)`."""
        return {}


@dataclass(frozen=True)
class ProbeConfig(Config, ABC):
    """Base of probe settings.

    Attributes:
        lr_range: learning rates that the search covers (arXiv 2509.24901, training protocol).
        reads: the encoder's output (`tokens`), or the stack of its layers' outputs (`layers`).
    """

    lr_range: ClassVar[tuple[float, float]] = (1e-4, 7e-3)
    reads: ClassVar[Literal["tokens", "layers"]] = "tokens"

    def __post_init__(self) -> None:
        """Check every setting that is one of a few words.

        Raises:
            ConfigError: a word is unknown; names the nearest.
        """
        for name, hint in typing.get_type_hints(type(self)).items():
            if typing.get_origin(hint) is not Literal:
                continue
            known, value = typing.get_args(hint), getattr(self, name)
            if value not in known:
                raise ConfigError(f"{name} is {value!r}{nearest(str(value), [str(k) for k in known])}")

    @abstractmethod
    def build(self, shape: TokenShape, classes: int, *, settings: int, generator: torch.Generator) -> ProbeHead:
        """Build the head with `settings` equal copies of one random start.

        Args:
            shape: of the tokens that it will read.
            classes: C.
            settings: S.
            generator: of the random start.

        Raises:
            ConfigError: the settings don't fit the tokens' shape.
        """


def linear_init(shape: tuple[int, ...], fan_in: int, generator: torch.Generator) -> Tensor:
    """Draw what `nn.Linear` starts from: uniform in +-1/sqrt(fan_in)."""
    bound = fan_in**-0.5
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)


def repeat(start: Tensor, settings: int) -> nn.Parameter:
    """Copy one start `(...)` for all settings, `(S, ...)`: settings then differ by their optimiser alone."""
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
