"""Feeds frame-wise heads, whose results have a row for each frame instead of one for each clip."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from auricle.probes.contract import Inputs
from auricle.probes.fitted import FittedProbe
from auricle.probes.frames.contract import FrameHead, valid_frames
from auricle.probes.search.feed import Feed
from auricle.tokens.token_set import TokenSet


class FrameFeed(Feed):
    """Inputs of a frame-wise head for the clips of one token set; see `Feed`."""

    @cached_property
    def frames(self) -> int:
        """M, valid frames of all clips together."""
        columns = sum(int(valid_frames(self.tokens, place).sum()) for place in range(len(self.tokens)))
        return columns * (self.head.upsample if isinstance(self.head, FrameHead) else 1)

    def gather(self, function: Callable[[Inputs], Tensor]) -> Tensor:
        """Return `(S, M, ...)`, what a function makes of all valid frames in a row, from each piece's `(S, m, ...)`."""
        out, at = torch.empty(0), 0
        for inputs in self.all():
            piece = function(inputs)
            if at == 0:
                # Allocated at once, as in `Feed`.
                out = piece.new_empty(piece.shape[0], self.frames, *piece.shape[2:])
            out[:, at : at + piece.shape[1]] = piece
            at += piece.shape[1]
        return out


class FittedFrames(FittedProbe):
    """A fitted frame-wise reader: `logits` and `predict` return `(M, C)`, the valid frames of all clips in a row."""

    def logits(self, tokens: TokenSet) -> Tensor:
        """Return logits `(M, C)` float32.

        Raises:
            ConfigError: the tokens are of another shape or another encoder than the reader was fitted on.
        """
        # No clip is read here: only whether these are its encoder's tokens is checked.
        nothing = super().logits(tokens.select([]))
        if len(tokens) == 0:
            return nothing
        with torch.no_grad():
            return FrameFeed(tokens, self.head, memory_mb=0).gather(self.head)[0]
