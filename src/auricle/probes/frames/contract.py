"""The contract of frame-wise probes: a row of logits for each frame of a clip.

A frame is a time column of the token map, or one of the U equal parts that a head splits each column into, for events
shorter than columns. A frame is valid if any token of its column is.

Letters in shapes: S settings, B clips, T columns, U frames a column, C classes, M valid frames of all clips in a row
(clip after clip, in the order of time).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auricle.config import Count
from auricle.errors import ConfigError
from auricle.probes.contract import Labelled, ProbeConfig, ProbeHead
from auricle.probes.losses import LossConfig, Name
from auricle.tokens.token_set import TokenBatch, TokenSet

# Seconds of the pieces that training clips are cut into: shorter ones lose their context.
SHORTEST, LONGEST = 1.0, 10.0

Rows = Literal["flat", "mean"]
"""A column's vector: its frequency rows concatenated, `F D` wide (MSM-MAE, M2D), or their mean, `D` wide."""


@dataclass(frozen=True)
class FrameConfig(ProbeConfig):
    """Base of the settings of frame-wise probes.

    Attributes:
        lr_range: learning rates that the search covers. Higher than those of clips: on sed_synth validation frames
            (linear, conv) 3e-3 to 1e-2 was best, the upper end of the range published for clips.
        upsample: U, frames that each time column is split into; each has its own output of the last linear layer.
    """

    lr_range: ClassVar[tuple[float, float]] = (3e-4, 3e-2)
    upsample: Count = 1


class FrameHead(ProbeHead):
    """Base of frame-wise heads: `forward` returns `(S, M, C)`, the valid frames of all clips in a row.

    Attributes:
        upsample: U, frames of each column.
    """

    upsample: int


@dataclass(frozen=True)
class FrameLabelled(Labelled):
    """Tokens of clips (or of pieces of them) with the targets of each frame.

    Attributes:
        tokens: `n` pieces.
        targets: `(M, C)` float32 zeros and ones of the valid frames, piece after piece.
        padded: `(n, T U, C)` the same piece by piece, NaN at frames that are not valid or beyond a piece.

    Raises:
        ConfigError: the counts of frames differ, or there is no clip.
    """

    padded: Tensor

    def __post_init__(self) -> None:
        if len(self.tokens) == 0:
            raise ConfigError("no clips to train or validate a frame-wise probe on; check the split")
        valid = int((~self.padded[..., 0].isnan()).sum())
        if len(self.padded) != len(self.tokens) or valid != len(self.targets):
            raise ConfigError(
                f"{len(self.tokens)} pieces with {valid} valid frames, but {len(self.padded)} tables and "
                f"{len(self.targets)} targets; expected one row of targets a frame"
            )

    @classmethod
    def of(cls, tokens: TokenSet, tables: Sequence[np.ndarray], upsample: int = 1) -> Self:
        """Label clips.

        Args:
            tokens: n clips.
            tables: for each clip `(time * upsample, C)` zeros and ones.
            upsample: U.

        Raises:
            ConfigError: a table has another number of frames than its clip.
        """
        longest = int(tokens.time.max(initial=1)) * upsample
        classes = tables[0].shape[1] if tables else 1
        padded = np.full((len(tables), longest, classes), np.nan, dtype=np.float32)
        for i, (table, time) in enumerate(zip(tables, tokens.time.tolist(), strict=True)):
            if table.shape != (time * upsample, classes):
                raise ConfigError(f"clip {i} has {time} x {upsample} frames, its targets have shape {table.shape}")
            frames = valid_frames(tokens, i, upsample)
            padded[i, : len(table)][frames] = table[frames]
        held = torch.from_numpy(padded)
        return cls(tokens, held[~held[..., 0].isnan()], held)


@dataclass(frozen=True)
class FrameLossConfig(LossConfig):
    """A probe's loss over frames: the mean over all valid frames and classes; `bce` by default."""

    name: Name = "bce"

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        # Logits (S, M, C); targets (M, C), or (B, T U, C) with NaN where a frame is not valid.
        rows = targets if targets.dim() == 2 else targets[~targets[..., 0].isnan()]
        return super().__call__(logits, rows)


def token_columns(batch: TokenBatch, freq: int, rows: Rows) -> tuple[Tensor, Tensor]:
    """Return the time columns of a batch, `(B, T, W)`, and which are valid, `(B, T)` bool (see `Rows`)."""
    B, N, D = batch.x.shape
    valid = batch.valid.view(B, N // freq, freq)
    x = batch.x.view(B, N // freq, freq, D)
    if rows == "flat":
        return x.flatten(2), valid.any(2)
    weight = valid.unsqueeze(-1).to(x.dtype)
    return (x * weight).sum(2) / weight.sum(2).clamp(min=1), valid.any(2)


def split_columns(logits: Tensor, upsample: int) -> Tensor:
    """Turn one row a column `(S, M, U C)` into one row a frame `(S, M U, C)`."""
    S, M, wide = logits.shape
    return logits.reshape(S, M * upsample, wide // upsample)


def valid_frames(tokens: TokenSet, place: int, upsample: int = 1) -> NDArray[np.bool_]:
    """Return which frames `(time * upsample,)` of the clip at `place` are valid."""
    return np.repeat(tokens.valid_columns(place), upsample)


def cut_pieces(
    tokens: TokenSet, tables: Sequence[np.ndarray], upsample: int, *, pieces: int
) -> tuple[TokenSet, list[np.ndarray]]:
    """Cut training clips into about equal pieces, so that few long recordings make enough batches.

    Nothing is copied. Pieces last from `SHORTEST` to `LONGEST` seconds; a clip of about that length stays whole.
    Pieces without any valid frame are left out.

    Args:
        tokens: the clips.
        tables: `(time * upsample, C)` targets of each.
        upsample: U.
        pieces: their number, about.

    Raises:
        ConfigError: the encoder has no time axis.
    """
    if tokens.rate <= 0:
        raise ConfigError(
            "the encoder returns one vector for a whole clip, and events are found in tokens along time; expected an "
            "encoder with a time axis"
        )
    seconds = float(tokens.time.sum()) / tokens.rate
    columns = float(np.clip(seconds / max(pieces, 1), SHORTEST, LONGEST)) * tokens.rate
    place, first, length = [], [], []
    for i, time in enumerate(tokens.time.tolist()):
        edges = np.linspace(0, time, max(1, round(time / columns)) + 1).round().astype(np.int64)
        counts = tokens.valid_columns(i)
        for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            if counts[a:b].any():
                place.append(i)
                first.append(a)
                length.append(b - a)
    chosen = tokens.select(np.array(place, dtype=np.int64))
    shift = np.array(first, dtype=np.int64)
    cut = replace(chosen, start=chosen.start + shift * tokens.freq, time=np.array(length, dtype=np.int64), stack=())
    parts = [tables[i][a * upsample : (a + n) * upsample] for i, a, n in zip(place, first, length, strict=True)]
    return cut, parts
