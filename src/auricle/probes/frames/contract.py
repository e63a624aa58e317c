"""Frame-wise reading: one row of logits for each frame of a clip instead of one for the clip.

A frame is a time column of the token map, or one of the U equal parts that a head splits each column into, where
events are shorter than columns. A frame counts if any token of its column is valid.

Letters in shapes: S settings, B clips, T columns, U frames a column, C classes, M valid frames of all clips in a row
(clip after clip, in the order of time).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auricle.errors import ConfigError
from auricle.probes.contract import Inputs, Labelled, ProbeConfig, ProbeHead
from auricle.probes.heads.token_moments import training_moments
from auricle.probes.losses import LossConfig, Name
from auricle.tokens.token_set import TokenBatch, TokenSet

# Pieces that training clips are cut into have at least so many seconds: neighbours must keep their context.
SHORTEST, LONGEST = 1.0, 10.0


@dataclass(frozen=True)
class FrameConfig(ProbeConfig):
    """Base of the settings of frame-wise readers.

    Attributes:
        lr_range: learning rates that the search covers. Higher than those of clips: on sed_synth validation frames
            (linear, conv) 3e-3 to 1e-2 was best, the upper end of the range that is published for clips.
        upsample: U, frames that each time column is split into; each has its own output of the last linear layer.
    """

    lr_range: ClassVar[tuple[float, float]] = (3e-4, 3e-2)
    upsample: int = 1

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ConfigError: a word is unknown, or `upsample` is below one.
        """
        super().__post_init__()
        if self.upsample < 1:
            raise ConfigError(f"upsample is {self.upsample}; a column has at least one frame")


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
    """

    padded: Tensor

    def __post_init__(self) -> None:
        """Check that targets and tokens speak of the same frames.

        Raises:
            ConfigError: the counts differ, or there is no clip.
        """
        if len(self.tokens) == 0:
            raise ConfigError("no clips to train or validate a frame-wise reader on; check the split")
        valid = int((~self.padded[..., 0].isnan()).sum())
        if len(self.padded) != len(self.tokens) or valid != len(self.targets):
            raise ConfigError(
                f"{len(self.tokens)} pieces with {valid} valid frames, but {len(self.padded)} tables and "
                f"{len(self.targets)} targets; give one row of targets a frame"
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
    """A probe's loss over frames: the mean over all valid frames and classes; `bce` unless told otherwise."""

    name: Name = "bce"

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each setting, `(S,)`.

        Args:
            logits: `(S, M, C)`.
            targets: `(M, C)`, or `(B, T U, C)` with NaN where a frame does not count.
        """
        rows = targets if targets.dim() == 2 else targets[~targets[..., 0].isnan()]
        return super().__call__(logits, rows)


class StandardisedFrames(FrameHead):
    """Base of heads that read one vector a column, standardised by the training clips' columns.

    Args:
        rows: `flat`: the column's tokens, frequency rows concatenated (`F D` wide); `mean`: their mean (`D` wide).
        freq: F.
        width: of the vector.
        settings: S.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, rows: str, freq: int, width: int, settings: int) -> None:
        super().__init__()
        self._rows, self._freq = rows, freq
        self.register_buffer("mean", torch.zeros(settings, width))
        self.register_buffer("scale", torch.ones(settings, width))

    def read(self, batch: TokenBatch) -> Inputs:
        """Return columns `(B, T, width)` and which of them are valid."""
        B, N, D = batch.x.shape
        valid = batch.valid.view(B, N // self._freq, self._freq)
        x = batch.x.view(B, N // self._freq, self._freq, D)
        if self._rows == "flat":
            x = x.flatten(2)
        else:
            weight = valid.unsqueeze(-1).to(x.dtype)
            x = x.sum(2) / weight.sum(2).clamp(min=1)
        counts = valid.any(2)
        return Inputs(x, None if bool(counts.all()) else counts)

    def calibrate(self, inputs: Iterable[Inputs]) -> None:
        """Measure mean and deviation over the valid training columns; constant dimensions are left at zero."""
        mean, std = training_moments(inputs)
        self.mean.copy_(mean.to(self.mean).expand_as(self.mean))
        self.scale.copy_((1 / std).to(self.scale).expand_as(self.scale))


def split_columns(logits: Tensor, upsample: int) -> Tensor:
    """Turn one row a column `(S, M, U C)` into one row a frame `(S, M U, C)`."""
    S, M, wide = logits.shape
    return logits.reshape(S, M * upsample, wide // upsample)


def valid_frames(tokens: TokenSet, place: int, upsample: int = 1) -> NDArray[np.bool_]:
    """Return which frames `(time * upsample,)` of the clip at `place` count."""
    start, time = int(tokens.start[place]), int(tokens.time[place])
    columns = np.asarray(tokens.valid[start : start + time * tokens.freq]).reshape(time, tokens.freq).any(1)
    return np.repeat(columns, upsample)


def cut_pieces(
    tokens: TokenSet, tables: Sequence[np.ndarray], upsample: int, *, pieces: int
) -> tuple[TokenSet, list[np.ndarray]]:
    """Cut training clips into about equal pieces of time, so that few long recordings make enough batches.

    Nothing is copied. Pieces last from `SHORTEST` to `LONGEST` seconds; a clip that is about as long as a piece stays
    whole. Pieces without any valid frame are left out.

    Args:
        tokens: the clips.
        tables: `(time * upsample, C)` targets of each.
        upsample: U.
        pieces: how many there should be, about.
    """
    seconds = float(tokens.time.sum()) / tokens.rate
    columns = float(np.clip(seconds / max(pieces, 1), SHORTEST, LONGEST)) * tokens.rate
    place, first, length = [], [], []
    for i, time in enumerate(tokens.time.tolist()):
        edges = np.linspace(0, time, max(1, round(time / columns)) + 1).round().astype(np.int64)
        counts = valid_frames(tokens, i)
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
