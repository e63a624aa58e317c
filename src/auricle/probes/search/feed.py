"""Feeds a head with its inputs: held in memory where they fit, else read batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np
import torch

from auricle.probes.contract import Inputs, ProbeHead
from auricle.tokens.token_set import TokenSet

# Bytes of float32 tokens read at once; more only costs memory.
_READ_BYTES = 2**24


class Feed:
    """Inputs of a head for the clips of one token set.

    Inputs of one shape (vectors, or token maps of one length without padding) are held in float32 if `memory_mb`
    allows. All others are read again for each batch, so that memory stays bounded for any corpus.

    Args:
        tokens: the clips.
        head: whose `read` makes the inputs.
        memory_mb: most megabytes for held inputs.
        device: where batches go.

    Attributes:
        held_mb: megabytes of held inputs, 0 where they are streamed.
    """

    def __init__(
        self, tokens: TokenSet, head: ProbeHead, *, memory_mb: float = 1024, device: torch.device | str = "cpu"
    ) -> None:
        self.tokens, self.head, self.device = tokens, head, device
        self.held: torch.Tensor | None = None
        self.held_mb = 0.0
        probe = head.read(tokens.batch([0]))
        size = probe.x[0].numel() * 4 * len(tokens) / 1e6
        self._shape = tuple(probe.x.shape[1:]) if self._one_shape(probe) else None
        if size <= memory_mb and self._shape is not None:
            self.held = torch.empty(len(tokens), *probe.x.shape[1:], device=device)
            self.held_mb = size
            for piece in self._pieces():
                self.held[piece.start : piece.stop] = self._read(np.arange(piece.start, piece.stop)).x

    def __len__(self) -> int:
        return len(self.tokens)

    def batch(self, places: np.ndarray) -> Inputs:
        """Return the inputs of the clips at `places`, in that order."""
        if self.held is None:
            return self._read(places)
        return Inputs(self.held.index_select(0, torch.from_numpy(places).to(self.device)))

    def all(self) -> Iterator[Inputs]:
        """Yield the inputs of all clips in order, in pieces of bounded size."""
        for piece in self._pieces():
            if self.held is None:
                yield self._read(np.arange(piece.start, piece.stop))
            else:
                yield Inputs(self.held[piece.start : piece.stop])

    @cached_property
    def rows(self) -> int:
        """Rows of the result of `gather`: one a clip."""
        return len(self)

    def gather(self, function: Callable[[Inputs], torch.Tensor]) -> torch.Tensor:
        """Apply a function to all clips in order: `(S, n, ...)` from its `(S, B, ...)` of each piece."""
        out, at = torch.empty(0), 0
        for inputs in self.all():
            piece = function(inputs)
            if at == 0:
                # Allocated at once: kept pieces between large buffers would fragment the memory.
                out = piece.new_empty(piece.shape[0], self.rows, *piece.shape[2:])
            out[:, at : at + piece.shape[1]] = piece
            at += piece.shape[1]
        return out

    def _one_shape(self, probe: Inputs) -> bool:
        """Whether the inputs of all clips have the shape of the first one's, without padding."""
        if probe.valid is not None:
            return False
        # A head that pools has inputs without padding even where tokens are padded.
        unlike = self.tokens.unlike() if probe.x.dim() > 2 else []
        return not unlike or self.head.read(self.tokens.batch(unlike)).valid is None

    def _pieces(self) -> list[range]:
        step = self._step()
        return [range(i, min(i + step, len(self))) for i in range(0, len(self), step)]

    def _step(self) -> int:
        """Clips read at once."""
        sets = self.tokens.stack or (self.tokens,)
        longest = sum(int(one.counts.max()) for one in sets) * self.tokens.shape.width * 4
        return max(1, _READ_BYTES // longest)

    def _read(self, places: np.ndarray) -> Inputs:
        step = self._step()
        if self._shape is None or len(places) <= step:
            inputs = self.head.read(self.tokens.batch(places))
            return Inputs(inputs.x.to(self.device), None if inputs.valid is None else inputs.valid.to(self.device))
        # Tokens are in memory for a few clips at a time.
        x = torch.empty(len(places), *self._shape, device=self.device)
        for i in range(0, len(places), step):
            x[i : i + step] = self.head.read(self.tokens.batch(places[i : i + step])).x
        return Inputs(x)
