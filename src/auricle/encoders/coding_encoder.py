"""An encoder with a codebook at its end: a tokenizer that turns audio into codes, one per token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from auricle.audio.batch import Features
from auricle.encoders.beats import BEATsConfig
from auricle.encoders.contract import Ability, Encoder, EncoderConfig, Grid, Tokens
from auricle.encoders.parts.quantisers.codebook import Codebook, CodebookConfig, Coded


@dataclass(frozen=True)
class CodingEncoderConfig(EncoderConfig):
    """Any encoder with a codebook at its end (BEATs' tokenizer, arXiv 2212.09058, section 3.2).

    Attributes:
        body: the encoder.
        codebook: quantises its output.
    """

    body: EncoderConfig = field(default_factory=BEATsConfig)
    codebook: CodebookConfig = field(default_factory=CodebookConfig)


class CodingEncoder(Encoder):
    """Its body with codes in addition; `contextualize` returns the body's tokens, not quantised.

    Attributes:
        entries: K, number of codes.
    """

    def __init__(self, config: CodingEncoderConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        self.config = config
        self.body = config.body.build(generator)
        body = self.body
        self.width, self.depth, self.bands, self.input_rate = body.width, body.depth, body.bands, body.input_rate
        self.max_frames, self.least_frames = body.max_frames, body.least_frames
        self.abilities = body.abilities | {Ability.CODES}
        self.entries = config.codebook.codes
        self.codebook = Codebook(config.codebook, body.width, generator)

    @property
    def pooled_width(self) -> int:
        return self.body.pooled_width

    def grid(self, frames: int) -> Grid:
        return self.body.grid(frames)

    def tokenize(self, features: Features) -> Tokens:
        return self.body.tokenize(features)

    def contextualize(self, tokens: Tokens, layers: Sequence[int] = ()) -> Tokens:
        return self.body.contextualize(tokens, layers)

    def pool(self, tokens: Tokens) -> Tensor:
        return self.body.pool(tokens)

    def quantise(self, tokens: Tokens) -> Coded:
        """Quantise tokens from `contextualize`."""
        coded: Coded = self.codebook(tokens.x)
        return coded

    def codes(self, tokens: Tokens) -> Tensor:
        """Return the codes `(B, N, 1)` int64 of tokens from `tokenize`."""
        return self.codebook.nearest(self.codebook.project(self.contextualize(tokens).x)).unsqueeze(-1)
