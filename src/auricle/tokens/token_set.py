"""Frozen tokens of many clips, ragged: the input of probes, from memory or from a cache on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import numpy as np
import torch
from torch import Tensor

from auricle.encoders.contract import Grid
from auricle.errors import ConfigError
from auricle.tokens.row_file import RowFile
from auricle.tokens.token_batch import TokenBatch

Rows = np.ndarray | RowFile


@dataclass(frozen=True)
class TokenShape:
    """Shape of the tokens that a probe reads: widths, class tokens, frequency rows, layers of the stack."""

    width: int
    pooled_width: int
    cls: int
    freq: int
    layers: int = 1


@dataclass(frozen=True)
class TokenSet:
    """Tokens of `n` clips in one ragged table; padding is not stored, or is marked invalid.

    Tables are shared by all selections and may be on disk (`RowFile`), read when they are used.

    Attributes:
        tokens: `(M, D)` tokens of all clips in a row, time-major within a clip.
        valid: `(M,)` bool.
        start: `(n,)` int64, a clip's first row in `tokens`.
        time: `(n,)` int64, a clip's time columns; it has `time * freq` tokens.
        freq: F, frequency rows of every clip.
        rate: time columns per second (Hz).
        vectors: `(V, D')` table of clip vectors.
        row: `(n,)` int64, a clip's row in `vectors` and in `class_rows`.
        class_rows: `(V, P, D)` table of class tokens, or None.
        encoder: fingerprint of the encoder that made the tokens ('' if unknown).
        corpus: fingerprint of their corpus ('' if unknown).
        layer: their layer.
        stack: several layers of the same clips, each a `TokenSet`, if selected; else empty.
    """

    tokens: Rows
    valid: Rows
    start: np.ndarray
    time: np.ndarray
    freq: int
    rate: float
    vectors: Rows
    row: np.ndarray
    class_rows: Rows | None = None
    encoder: str = ""
    corpus: str = ""
    layer: int = 0
    stack: tuple[TokenSet, ...] = field(default=(), repr=False)

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
        layer: int = 0,
    ) -> Self:
        """Wrap dense tokens `(n, N, D)`; `pooled` defaults to the mean of the valid tokens.

        Raises:
            ConfigError: N is no multiple of `freq`, or a clip has no valid token.

        Examples:
            >>> tokens = TokenSet.from_tensors(torch.ones(3, 6, 8), freq=2)
            >>> len(tokens), tokens.select([2, 0]).batch([0]).grid.time
            (3, 3)
        """
        n, N, D = x.shape
        if N % freq:
            raise ConfigError(f"{N} tokens a clip do not fill a grid of {freq} frequency rows; set the right `freq`")
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
            vectors=pooled.numpy(),
            row=np.arange(n, dtype=np.int64),
            class_rows=None if class_tokens is None else class_tokens.numpy(),
            encoder=encoder,
            layer=layer,
        )

    @classmethod
    def of_layers(cls, layers: Sequence[Self]) -> Self:
        """Stack layers of the same clips, in order; the set itself then reads the last of them.

        Raises:
            ConfigError: there is none, or they differ in clips, width, class tokens or encoder.
        """
        if not layers:
            raise ConfigError("found no layers to stack; expected at least one")
        kinds = {(len(one), one.shape.width, one.shape.cls, one.encoder, one.corpus) for one in layers}
        if len(kinds) > 1:
            raise ConfigError(
                f"layers {[one.layer for one in layers]} differ in (clips, width, class tokens, encoder, corpus): "
                f"{sorted(kinds)}; stack layers of one encoder with the same clips, width and class tokens"
            )
        return replace(layers[-1], stack=tuple(replace(one, stack=()) for one in layers))

    def __len__(self) -> int:
        return len(self.start)

    @property
    def shape(self) -> TokenShape:
        """Widths and counts for which a probe is built."""
        count = 0 if self.class_rows is None else self.class_rows.shape[1]
        width, layers = self.tokens.shape[1], max(1, len(self.stack))
        return TokenShape(width, self.vectors.shape[1], count, self.freq, layers)

    @property
    def layers(self) -> tuple[int, ...]:
        """The stacked layers; the one layer where nothing is stacked."""
        return tuple(one.layer for one in self.stack) or (self.layer,)

    @property
    def counts(self) -> np.ndarray:
        """Tokens of each clip, `(n,)` int64."""
        return self.time * self.freq

    def valid_columns(self, place: int) -> np.ndarray:
        """Return which time columns of the clip at `place` have a valid token, `(time,)` bool."""
        start, time = int(self.start[place]), int(self.time[place])
        valid = np.asarray(self.valid[start : start + time * self.freq]).reshape(time, self.freq)
        return np.asarray(valid.any(1))

    @cached_property
    def pooled(self) -> np.ndarray:
        """Clip vectors `(n, D')`, read once."""
        return self.vectors[self.row]

    @cached_property
    def cls(self) -> np.ndarray | None:
        """Class tokens `(n, P, D)`, read once; None where there are none."""
        return None if self.class_rows is None else self.class_rows[self.row]

    def select(self, places: Sequence[int] | np.ndarray) -> Self:
        """Return the clips at `places` (positions in this set), in that order; nothing is copied."""
        places = np.asarray(places, dtype=np.int64)
        return replace(
            self,
            start=self.start[places],
            time=self.time[places],
            row=self.row[places],
            stack=tuple(one.select(places) for one in self.stack),
        )

    def batch(self, places: Sequence[int] | np.ndarray) -> TokenBatch:
        """Return the clips at `places` in that order, as float32, padded to the longest of them.

        Tokens, vectors and layers are read at their first use: a probe of clip vectors reads no tokens.
        """
        return _LazyBatch.of(self, np.asarray(places, dtype=np.int64))

    def unlike(self) -> list[int]:
        """Return places of clips that need padding in one dense array; empty if none do.

        They are two clips of different length, or one with an invalid token, in this set or in a stacked layer.
        """
        counts = self.counts
        if (counts != counts[:1]).any():
            return [int(counts.argmin()), int(counts.argmax())]
        for place, (start, count) in enumerate(zip(self.start, counts, strict=True)):
            if not self.valid[start : start + count].all():
                return [place]
        return next((found for one in self.stack if (found := one.unlike())), [])

    def _read(self, places: np.ndarray, longest: int | None = None) -> tuple[Tensor, Tensor]:
        counts = self.counts[places]
        longest = int(counts.max(initial=0)) if longest is None else longest
        x = torch.empty(len(places), longest, self.tokens.shape[1])
        valid = np.zeros((len(places), longest), dtype=bool)
        for i, (start, count) in enumerate(zip(self.start[places], counts, strict=True)):
            # torch widens fp16 several times faster than numpy.
            x[i, :count] = torch.from_numpy(_writeable(self.tokens[start : start + count]))
            x[i, count:] = 0
            valid[i, :count] = self.valid[start : start + count]
            # Tokens at masked places are arbitrary, even NaN: zero times anything must stay zero.
            if not valid[i, :count].all():
                x[i, torch.from_numpy(~valid[i])] = 0
        return x, torch.from_numpy(valid)


class _LazyBatch(TokenBatch):
    """A batch whose parts are read at their first use."""

    _set: TokenSet
    _places: np.ndarray

    @classmethod
    def of(cls, tokens: TokenSet, places: np.ndarray) -> _LazyBatch:
        """Return the clips at `places` of a token set."""
        # Not by the constructor, which needs everything read: the properties below replace its fields.
        self = object.__new__(cls)
        longest = int(tokens.time[places].max(initial=0))
        self.__dict__.update(_set=tokens, _places=places, grid=Grid(longest, tokens.freq, tokens.rate))
        return self

    @cached_property
    def _tokens(self) -> tuple[Tensor, Tensor]:
        return self._set._read(self._places)

    @cached_property
    def _stacked(self) -> tuple[Tensor, Tensor] | tuple[None, None]:
        stack = self._set.stack
        if not stack:
            return None, None
        B, D = len(self._places), stack[0].tokens.shape[1]
        longest = max(int(one.counts[self._places].max(initial=0)) for one in stack)
        x = torch.empty(B, len(stack), longest, D)
        valid = torch.empty(B, len(stack), longest, dtype=torch.bool)
        for place, one in enumerate(stack):
            x[:, place], valid[:, place] = one._read(self._places, longest)
        return x, valid

    @cached_property
    def x(self) -> Tensor:
        return self._tokens[0]

    @cached_property
    def valid(self) -> Tensor:
        return self._tokens[1]

    @cached_property
    def pooled(self) -> Tensor:
        return _floats(self._set.vectors[self._set.row[self._places]])

    @cached_property
    def cls(self) -> Tensor | None:
        rows = self._set.class_rows
        return None if rows is None else _floats(rows[self._set.row[self._places]])

    @cached_property
    def stack(self) -> Tensor | None:
        return self._stacked[0]

    @cached_property
    def stack_valid(self) -> Tensor | None:
        return self._stacked[1]

    @cached_property
    def stack_cls(self) -> Tensor | None:
        rows = [one.class_rows[one.row[self._places]] for one in self._set.stack if one.class_rows is not None]
        return torch.stack([_floats(one) for one in rows], 1) if rows else None

    @cached_property
    def stack_grids(self) -> tuple[Grid, ...]:
        return tuple(Grid(int(one.time[self._places].max(initial=0)), one.freq, one.rate) for one in self._set.stack)

    @cached_property
    def aligned(self) -> bool:
        stack = self._set.stack
        same = [(one.time[self._places] == stack[0].time[self._places]).all() for one in stack]
        return all(same) and len({one.freq for one in stack}) <= 1


def _writeable(rows: np.ndarray) -> np.ndarray:
    """Copy read-only rows, of which torch warns."""
    return rows if rows.flags.writeable else rows.copy()


def _floats(rows: np.ndarray) -> Tensor:
    return torch.from_numpy(rows.astype(np.float32))
