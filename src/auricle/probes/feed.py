"""Feeds a head with its inputs: read once and held where they fit in memory, read batch by batch where not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from auricle.probes.contract import Inputs, ProbeHead
from auricle.tokens.token_set import TokenSet

# Bytes of float32 tokens read at once outside training: evaluation and the pass that fills the memory.
_READ_BYTES = 2**26


class Feed:
    """Inputs of a head for the clips of one token set.

    Clips whose inputs have one shape (vectors, or token maps of one length without padding) are held in float32 if
    `memory_mb` allows. All others are read anew for each batch from the memory-mapped cache, which the operating
    system keeps in memory while it can: memory stays bounded for any corpus.

    Args:
        tokens: the clips.
        head: whose `read` makes the inputs.
        memory_mb: megabytes that held inputs may take.
        device: where batches go.
    """

    def __init__(
        self, tokens: TokenSet, head: ProbeHead, *, memory_mb: float = 2048, device: torch.device | str = "cpu"
    ) -> None:
        self.tokens, self.head, self.device = tokens, head, device
        self.held: torch.Tensor | None = None
        counts = tokens.counts
        probe = head.read(tokens.batch([0]))
        vectors = probe.valid is None and probe.x.dim() == 2
        uniform = bool((counts == counts[0]).all()) and all(
            tokens.valid[s : s + c].all() for s, c in zip(tokens.start, counts, strict=True)
        )
        size = probe.x[0].numel() * 4 * len(tokens)
        if (vectors or uniform) and size <= memory_mb * 1e6:
            self.held = torch.empty(len(tokens), *probe.x.shape[1:], device=device)
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
        """Go through all clips in order, in pieces of bounded size."""
        for piece in self._pieces():
            if self.held is None:
                yield self._read(np.arange(piece.start, piece.stop))
            else:
                yield Inputs(self.held[piece.start : piece.stop])

    def _pieces(self) -> list[range]:
        longest = int(self.tokens.counts.max()) * self.tokens.shape.width * 4
        step = max(1, _READ_BYTES // longest)
        return [range(i, min(i + step, len(self))) for i in range(0, len(self), step)]

    def _read(self, places: np.ndarray) -> Inputs:
        inputs = self.head.read(self.tokens.batch(places))
        return Inputs(inputs.x.to(self.device), None if inputs.valid is None else inputs.valid.to(self.device))
