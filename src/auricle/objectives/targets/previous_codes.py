"""Codes of a tokenizer that the previous stage trained, as a target: BEATs' second and later iterations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from auricle.config import ShareBelowOne
from auricle.encoders.coding_encoder import CodingEncoder
from auricle.encoders.contract import Encoder, Grid
from auricle.errors import ConfigError
from auricle.objectives.contract import Preparation, clean_audio
from auricle.objectives.targets.previous_encoder import PreviousEncoderConfig
from auricle.objectives.targets.target import Lifecycle, MaskedBatch, Target, TargetConfig

# Tokens for each code that the perplexity is measured on.
_TOKENS_PER_CODE = 30


@dataclass(frozen=True)
class PreviousCodesTargetConfig(TargetConfig):
    """The codes that the tokenizer of the previous stage gives to the clean clip.

    They are computed in each step, from the encoder's own crop: nothing is cached, nothing can be stale or out of step.
    Source: BEATs (arXiv 2212.09058, section 3.1).

    Attributes:
        previous: model of the previous stage: an encoder that gives codes (`CodingEncoderConfig`).
        gate: share of the number of codes (or of tokens, where they are fewer) that their perplexity must reach before
            the first step, on plain windows of the corpus; 0: none. Nothing can be learned from a tokenizer that gives
            nearly every token one code.
    """

    previous: PreviousEncoderConfig
    gate: ShareBelowOne = 0.125


class PreviousCodesTarget(Target):
    """Codes `(B, N, 1)` int64 of the clean waveform behind the view."""

    lifecycle: ClassVar[Lifecycle] = "cached"
    codebooks = 1
    prepares = True

    def __init__(self, config: PreviousCodesTargetConfig, encoder: Encoder, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.previous = config.previous.build()
        self.size = tokenizer_of(self.previous.encoder).entries

    @torch.no_grad()
    def prepare(self, encoder: Encoder, preparation: Preparation) -> None:
        self.previous.adopt(preparation.previous, "PreviousCodesTargetConfig")
        if preparation.previous is not None:
            name, fingerprint = preparation.previous.name, preparation.previous.fingerprint
            used, tokens = self._perplexity(preparation)
            expected = self.config.gate * min(self.size, tokens)
            preparation.note(
                f"targets: {self.size} codes of the tokenizer {name} ({fingerprint}), perplexity {used:.1f}"
            )
            if used < expected:
                raise ConfigError(
                    f"the codes of the tokenizer {name} have a perplexity of {used:.1f} of {self.size} on this corpus; "
                    f"expected at least {expected:g}, as there is little to learn from fewer. "
                    "Train a tokenizer longer and name its run by --previous, or set --objective.terms.0.target.gate 0 "
                    "to use these codes all the same"
                )

    def _perplexity(self, preparation: Preparation) -> tuple[float, int]:
        """Return exp of the entropy of the codes of plain windows, as this stage gets them, and the tokens' number."""
        counts = torch.zeros(self.size)
        for view in preparation.views(preparation.clips):
            tokens = self.previous(clean_audio(view, "PreviousCodesTargetConfig"))
            codes = tokenizer_of(self.previous.encoder).quantise(tokens).codes
            codes = codes.flatten() if tokens.valid is None else codes[tokens.valid]
            counts += torch.bincount(codes, minlength=self.size).cpu()
            if counts.sum() >= _TOKENS_PER_CODE * self.size:
                break
        return float(torch.special.entr(counts / counts.sum()).sum().exp()), int(counts.sum())

    @torch.no_grad()
    def forward(self, masked_batch: MaskedBatch) -> Tensor:
        tokens = self.previous(clean_audio(masked_batch.clean, "PreviousCodesTargetConfig"))
        check_grid(tokens.grid, masked_batch.grid, "the tokenizer")
        return tokenizer_of(self.previous.encoder).quantise(tokens).codes.unsqueeze(-1)


def tokenizer_of(encoder: Encoder) -> CodingEncoder:
    """Return the encoder as one with a codebook.

    Raises:
        ConfigError: the encoder is no `CodingEncoder`.
    """
    if not isinstance(encoder, CodingEncoder):
        raise ConfigError(
            f"found {type(encoder).__name__}, which gives no codes; expected a tokenizer: wrap the encoder in "
            "CodingEncoderConfig(body=...)"
        )
    return encoder


def check_grid(found: Grid, expected: Grid, what: str) -> None:
    """Refuse another token grid than the encoder's.

    Args:
        found: grid of the previous stage's model.
        expected: the encoder's.
        what: names that model in the message.

    Raises:
        ConfigError: naming both grids, and the rate that would fit.
    """
    if (found.time, found.freq) != (expected.time, expected.freq):
        raise ConfigError(
            f"{what} has {found.time} x {found.freq} tokens at {found.rate:g} time steps per second, the encoder "
            f"{expected.time} x {expected.freq} at {expected.rate:g}, and both must have one grid: choose an encoder "
            f"with {found.rate:g} time steps per second and {found.freq} rows of tokens, or a previous stage with "
            f"{expected.rate:g} and {expected.freq}"
        )
