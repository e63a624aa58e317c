"""An encoder with a codebook at its end: a tokenizer that turns audio into codes, one a token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from auricle.audio.batch import Features
from auricle.encoders.beats import BEATsConfig
from auricle.encoders.contract import Ability, Encoder, EncoderConfig, Grid, Tokens
from auricle.encoders.parts.codebook import Codebook, CodebookConfig, Coded


@dataclass(frozen=True)
class CodingEncoderConfig(EncoderConfig):
    """Any encoder with a codebook at its end (BEATs' tokenizer, arXiv 2212.09058, section 3.2).

    Attributes:
        body: the encoder.
        codebook: what its output is quantised by.
    """

    body: EncoderConfig = field(default_factory=BEATsConfig)
    codebook: CodebookConfig = field(default_factory=CodebookConfig)

    def build(self, generator: torch.Generator | None = None) -> CodingEncoder:
        """Build the encoder with fresh weights, drawn from `generator` (None: one seeded with 0)."""
        return CodingEncoder(self, generator)


class CodingEncoder(Encoder):
    """Encodes as its body does, and offers codes beside: everything else, abilities included, is the body's.

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
        self.abilities = body.abilities | {Ability.CODES}  # type: ignore[misc]  # the body's, and this
        self.entries = config.codebook.codes
        self.codebook = Codebook(config.codebook, body.width, generator)

    @property
    def pooled_width(self) -> int:
        """Size of the body's clip vector."""
        return self.body.pooled_width

    def grid(self, frames: int) -> Grid:
        """Return the body's token grid of an input of so many frames (or samples)."""
        return self.body.grid(frames)

    def tokenize(self, features: Features) -> Tokens:
        """Turn features into the body's tokens before context."""
        return self.body.tokenize(features)

    def contextualize(self, tokens: Tokens, layers: Sequence[int] = ()) -> Tokens:
        """Let the body's tokens see each other; they are not quantised."""
        return self.body.contextualize(tokens, layers)

    def pool(self, tokens: Tokens) -> Tensor:
        """Return the body's clip vector."""
        return self.body.pool(tokens)

    def quantise(self, tokens: Tokens) -> Coded:
        """Quantise tokens from `contextualize`."""
        coded: Coded = self.codebook(tokens.x)
        return coded

    def codes(self, tokens: Tokens) -> Tensor:
        """Return the codes `(B, N, 1)` int64 of tokens from `tokenize`."""
        return self.codebook.nearest(self.codebook.project(self.contextualize(tokens).x)).unsqueeze(-1)
