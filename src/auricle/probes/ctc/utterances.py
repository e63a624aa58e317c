"""Clips with their symbols, and which of them have enough frames for these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auricle.errors import ConfigError
from auricle.probes.ctc.decode import BLANK
from auricle.tokens.token_set import TokenSet

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Utterances:
    """Tokens of clips with the symbols spoken in each.

    Attributes:
        tokens: `n` clips.
        labels: for each its symbols, numbers from 1 on (0 is the blank).

    Raises:
        ConfigError: there is no clip, the counts differ, or a clip has no symbol or a blank.
    """

    tokens: TokenSet
    labels: tuple[Labels, ...]

    def __post_init__(self) -> None:
        if len(self.tokens) == 0 or len(self.tokens) != len(self.labels):
            raise ConfigError(f"{len(self.tokens)} clips with {len(self.labels)} strings; expected as many, at least 1")
        if any(len(one) == 0 or one.min() <= BLANK for one in self.labels):
            raise ConfigError("an utterance has no symbol, or a symbol below 1; leave such clips out")

    def select(self, places: NDArray[np.int64]) -> Utterances:
        """Return some of the utterances."""
        return Utterances(self.tokens.select(places), tuple(self.labels[i] for i in places.tolist()))


def feasible(tokens: TokenSet, labels: Sequence[Labels], upsample: int) -> NDArray[np.bool_]:
    """Return which utterances have enough frames for their symbols, `(n,)` bool.

    A string needs a frame for each symbol, and one for the blank between two equal neighbours.
    """
    frames = np.array([tokens.valid_columns(i).sum() for i in range(len(tokens))], dtype=np.int64) * upsample
    needed = np.array([len(one) + int((one[1:] == one[:-1]).sum()) for one in labels], dtype=np.int64)
    enough: NDArray[np.bool_] = frames >= needed
    return enough
