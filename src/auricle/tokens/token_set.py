"""Frozen tokens of many clips, ragged: what probes read, from memory or from a memory-mapped cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from auricle.encoders.contract import Grid
from auricle.errors import ConfigError


@dataclass(frozen=True)
class TokenBatch:
    """Some clips' tokens, padded to the longest.

    Attributes:
        x: `(B, N, D)` float32, zeros beyond a clip's tokens.
        valid: `(B, N)` bool, False where a token is padding; each clip has at least one valid token.
        cls: `(B, P, D)` class tokens, or None.
        pooled: `(B, D')` the encoder's own clip vector (its width may differ from D).
        grid: the grid of the longest clip; token index = t * grid.freq + f.
    """

    x: Tensor
    valid: Tensor
    cls: Tensor | None
    pooled: Tensor
    grid: Grid

    def to(self, device: torch.device | str) -> TokenBatch:
        """Move to a device."""
        cls = None if self.cls is None else self.cls.to(device)
        return TokenBatch(self.x.to(device), self.valid.to(device), cls, self.pooled.to(device), self.grid)


@dataclass(frozen=True)
class TokenShape:
    """What a probe must know of the tokens it reads: widths, class tokens, frequency rows."""

    width: int
    pooled_width: int
    cls: int
    freq: int


@dataclass(frozen=True)
class TokenSet:
    """Tokens of `n` clips in one ragged table; padding is not stored, or is marked invalid.

    Attributes:
        tokens: `(M, D)` tokens of all clips in a row (fp16 memory map, or an array), time-major within a clip.
        valid: `(M,)` bool.
        start: `(n,)` int64, a clip's first row in `tokens`.
        time: `(n,)` int64, a clip's time columns; it has `time * freq` tokens.
        freq: F, frequency rows of every clip.
        rate: time columns per second (Hz).
        pooled: `(n, D')` clip vectors.
        cls: `(n, P, D)` class tokens, or None.
        encoder: fingerprint of the encoder that made the tokens ('' if unknown).
        corpus: fingerprint of the corpus they were made of ('' if unknown).
        layer: the layer they were taken from.
    """

    tokens: np.ndarray
    valid: np.ndarray
    start: np.ndarray
    time: np.ndarray
    freq: int
    rate: float
    pooled: np.ndarray
    cls: np.ndarray | None = None
    encoder: str = ""
    corpus: str = ""
    layer: int = 0

    @classmethod
    def from_tensors(
        cls,
        x: Tensor,
        *,
        valid: Tensor | None = None,
        pooled: Tensor | None = None,
        class_tokens: Tensor | None = None,
        freq: int = 1,
        rate: float = 1.0,
        encoder: str = "",
    ) -> Self:
        """Wrap dense tokens `(n, N, D)`; `pooled` defaults to the mean of the valid tokens.

        Raises:
            ConfigError: N is no multiple of `freq`, or a clip has no valid token.
        """
        n, N, D = x.shape
        if N % freq:
            raise ConfigError(f"{N} tokens a clip do not fill a grid of {freq} frequency rows; give the right `freq`")
        valid = torch.ones(n, N, dtype=torch.bool) if valid is None else valid
        if not bool(valid.any(1).all()):
            raise ConfigError("a clip has no valid token; leave such clips out")
        if pooled is None:
            weight = valid.unsqueeze(-1).to(x.dtype)
            pooled = (x * weight).sum(1) / weight.sum(1)
        return cls(
            tokens=x.reshape(n * N, D).numpy(),
            valid=valid.reshape(n * N).numpy(),
            start=np.arange(n, dtype=np.int64) * N,
            time=np.full(n, N // freq, dtype=np.int64),
            freq=freq,
            rate=rate,
            pooled=pooled.numpy(),
            cls=None if class_tokens is None else class_tokens.numpy(),
            encoder=encoder,
        )

    def __len__(self) -> int:
        return len(self.start)

    @property
    def shape(self) -> TokenShape:
        """Widths and counts that a probe is built for."""
        count = 0 if self.cls is None else self.cls.shape[1]
        return TokenShape(self.tokens.shape[1], self.pooled.shape[1], count, self.freq)

    @property
    def counts(self) -> np.ndarray:
        """Tokens of each clip, `(n,)` int64."""
        return self.time * self.freq

    def select(self, places: Sequence[int] | np.ndarray) -> Self:
        """Return the clips at `places` (positions in this set), in that order; tokens are not copied."""
        places = np.asarray(places, dtype=np.int64)
        return replace(
            self,
            start=self.start[places],
            time=self.time[places],
            pooled=self.pooled[places],
            cls=None if self.cls is None else self.cls[places],
        )

    def join(self, other: Self) -> Self:
        """Return these clips and then the other's; tokens are copied only if the two lie in different tables.

        Raises:
            ConfigError: they are tokens of different encoders, layers or shapes.
        """
        if (self.shape, self.rate, self.encoder, self.layer) != (other.shape, other.rate, other.encoder, other.layer):
            raise ConfigError("tokens of different encoders, layers or shapes can't be joined; extract both alike")
        tokens, valid, shift = self.tokens, self.valid, 0
        if other.tokens is not tokens:
            tokens, valid = np.concatenate([tokens, other.tokens]), np.concatenate([valid, other.valid])
            shift = len(self.tokens)
        cls = None if self.cls is None or other.cls is None else np.concatenate([self.cls, other.cls])
        return replace(
            self,
            tokens=tokens,
            valid=valid,
            start=np.concatenate([self.start, other.start + shift]),
            time=np.concatenate([self.time, other.time]),
            pooled=np.concatenate([self.pooled, other.pooled]),
            cls=cls,
        )

    def batch(self, places: Sequence[int] | np.ndarray) -> TokenBatch:
        """Read the clips at `places` in that order, as float32, padded to the longest of them."""
        places = np.asarray(places, dtype=np.int64)
        counts = self.counts[places]
        longest = int(counts.max(initial=0))
        x = np.zeros((len(places), longest, self.tokens.shape[1]), dtype=np.float32)
        valid = np.zeros((len(places), longest), dtype=bool)
        for i, (start, count) in enumerate(zip(self.start[places], counts, strict=True)):
            x[i, :count] = self.tokens[start : start + count]
            valid[i, :count] = self.valid[start : start + count]
        # What an encoder left at masked places is arbitrary, even NaN: zero times anything must stay zero downstream.
        x[~valid] = 0
        cls = None if self.cls is None else torch.from_numpy(self.cls[places].astype(np.float32))
        pooled = torch.from_numpy(self.pooled[places].astype(np.float32))
        grid = Grid(longest // self.freq, self.freq, self.rate)
        return TokenBatch(torch.from_numpy(x), torch.from_numpy(valid), cls, pooled, grid)
