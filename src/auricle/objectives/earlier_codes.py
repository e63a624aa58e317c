"""Codes of a tokenizer that an earlier stage trained, as a target: BEATs' second iteration and those after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from auricle.encoders.coding_encoder import Tokenizer
from auricle.encoders.contract import Encoder
from auricle.errors import ConfigError
from auricle.objectives.contract import Preparation
from auricle.objectives.earlier_stage import EarlierStage, EarlierStageConfig, check_grid
from auricle.objectives.target import Lifecycle, Scene, Target, TargetConfig


@dataclass(frozen=True)
class EarlierCodesTargetConfig(TargetConfig):
    """The codes that the tokenizer of the stage before gives to the clean clip.

    They are computed as they are needed, from the same crop that the encoder hears: nothing is cached, nothing can be
    stale or out of step.

    Attributes:
        earlier: the stage that holds the tokenizer: its encoder must give codes (`CodingEncoderConfig`).
    """

    earlier: EarlierStageConfig

    def build(self, encoder: Encoder, generator: torch.Generator) -> EarlierCodesTarget:
        """Build the target; its weights come with `prepare`.

        Raises:
            ConfigError: the stage's encoder gives no codes.
        """
        return EarlierCodesTarget(self)


class EarlierCodesTarget(Target):
    """Codes `(B, N, books)` int64 of the clean waveform behind the view."""

    lifecycle: ClassVar[Lifecycle] = "cached"
    prepares = True

    def __init__(self, config: EarlierCodesTargetConfig) -> None:
        super().__init__()
        self.earlier = EarlierStage(config.earlier)
        tokenizer = self.earlier.encoder
        if not isinstance(tokenizer, Tokenizer):
            raise ConfigError(
                f"the stage before has a {type(tokenizer).__name__}, which gives no codes; expected a tokenizer: an "
                "encoder wrapped in CodingEncoderConfig"
            )
        self.size, self.books = tokenizer.entries, tokenizer.books

    def prepare(self, encoder: Encoder, preparation: Preparation) -> None:
        """Take over the tokenizer.

        Raises:
            ConfigError: there is no stage before, or it is another than the settings say.
        """
        earlier = self.earlier.take(preparation)
        preparation.note(f"targets: {self.size} codes of the tokenizer {earlier.name} ({earlier.fingerprint})")

    @torch.no_grad()
    def forward(self, scene: Scene) -> Tensor:
        """Return the codes.

        Raises:
            ConfigError: the tokenizer's tokens do not lie where the encoder's do.
        """
        tokens = self.earlier.tokenize(scene.clean)
        check_grid(tokens.grid, scene.grid, "the tokenizer")
        tokenizer = self.earlier.encoder
        if not isinstance(tokenizer, Tokenizer):
            raise ConfigError(f"{type(tokenizer).__name__} gives no codes")
        with torch.autocast(tokens.x.device.type, enabled=False):
            return tokenizer.codes(tokens)
