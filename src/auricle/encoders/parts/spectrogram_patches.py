"""Patches of a spectrogram: cutting it into patches, and putting the tokens of a time step side by side.

Frames of frequency tokens are those of MSM-MAE, arXiv 2204.12260, and M2D, arXiv 2210.14648 (5 tokens of 768 make
frames of 3840).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from auricle.encoders.contract import Grid, Tokens
from auricle.errors import ConfigError


@dataclass(frozen=True)
class Patches:
    """Patches of a spectrogram, side by side or overlapping.

    Patches side by side cover every frame: the last one is completed with padding. Of overlapping ones only whole
    patches count, as in a strided convolution (AST, arXiv 2104.01778): up to `step - 1` last frames (and highest bins)
    are dropped. A clip shorter than a patch is padded to one.

    Attributes:
        size: (frames, mel bins) of a patch.
        step: (frames, mel bins) from one patch to the next, at most the size.
    """

    size: tuple[int, int]
    step: tuple[int, int]

    def check(self, mels: int, frames: int) -> None:
        """Refuse patches that do not fit a spectrogram of `frames` frames of `mels` bins.

        Raises:
            ConfigError: naming the numbers that do not fit.
        """
        (time, freq), (over, up) = self.size, self.step
        if min(time, freq, over, up) < 1 or over > time or up > freq:
            raise ConfigError(f"found patch {self.size} and stride {self.step}, expected 1 <= stride <= patch")
        if freq > mels or (up == freq and mels % freq):
            raise ConfigError(f"mels {mels} must be a multiple of the patch height {freq}")
        if frames < time or (over == time and frames % time):
            raise ConfigError(f"frames {frames} must be a multiple of the patch length {time}")

    def columns(self, frames: int) -> int:
        """Return T, the time columns of an input."""
        size, step = self.size[0], self.step[0]
        return -(-frames // size) if step == size else 1 + max(0, frames - size) // step

    def lengths(self, frames: Tensor) -> Tensor:
        """Return the time columns of clips of `frames (B,)` frames, each cut alone; 0 for an empty clip."""
        size, step = self.size[0], self.step[0]
        if step == size:
            return -(-frames // size)
        return (1 + (frames - size).clamp(min=0) // step) * (frames > 0)

    def rows(self, mels: int) -> int:
        """Return F, the patches along frequency."""
        return 1 + (mels - self.size[1]) // self.step[1]

    def missing(self, frames: int) -> int:
        """Return how many frames of padding complete the last patch."""
        if self.step[0] == self.size[0]:
            return -frames % self.size[0]
        return max(0, self.size[0] - frames)

    def cut(self, x: Tensor, pad: float) -> Tensor:
        """Cut `x (B, T', F')` into `(B, T * F, size[0] * size[1])`: time-major tokens, time-major inside a patch.

        Args:
            x: the features.
            pad: value of missing frames.
        """
        missing = self.missing(x.shape[1])
        if missing:
            x = F.pad(x, (0, 0, 0, missing), value=pad)
        if self.step == self.size:
            # A view and one copy; `unfold` would read every frame through longer strides.
            y = x.unflatten(2, (-1, self.size[1])).unflatten(1, (-1, self.size[0])).transpose(2, 3)
        else:
            y = x.unfold(1, self.size[0], self.step[0]).unfold(2, self.size[1], self.step[1])
        return y.flatten(3).flatten(1, 2)


def concatenate_frequency(tokens: Tokens) -> Tokens:
    """Turn tokens `(B, T * F, D)` into frames `(B, T, F * D)`: those of a time step side by side, lowest band first.

    Class tokens are kept; layers and positions are dropped. A frame is valid where all its tokens are.

    Raises:
        ConfigError: tokens were dropped.
    """
    if tokens.index is not None:
        raise ConfigError(
            f"found {tokens.x.shape[1]} of {tokens.grid.tokens} tokens, expected all: frames can't be made where "
            "tokens were dropped"
        )
    grid = tokens.grid
    x = tokens.x.unflatten(1, (grid.time, grid.freq)).flatten(2)
    valid = None if tokens.valid is None else tokens.valid.unflatten(1, (grid.time, grid.freq)).all(2)
    return replace(tokens, x=x, grid=Grid(grid.time, 1, grid.rate), valid=valid, layers=None, positions=None)


def frequency_means(tokens: Tokens) -> Tensor:
    """Return `(B, F * D)`: the mean over time of each band's valid tokens, bands side by side.

    Without dropped tokens this is the mean over time of `concatenate_frequency`. A band without any token yields zeros.
    """
    x, grid = tokens.x, tokens.grid
    if tokens.index is None and tokens.valid is None:
        return x.unflatten(1, (grid.time, grid.freq)).mean(1).flatten(1)
    place = torch.arange(grid.tokens, device=x.device).unsqueeze(0) if tokens.index is None else tokens.index
    band = (place % grid.freq).unsqueeze(2) == torch.arange(grid.freq, device=x.device)
    if tokens.valid is not None:
        band = band & tokens.valid.unsqueeze(2)
    weight = band.to(x.dtype).expand(x.shape[0], -1, -1)
    total = weight.transpose(1, 2) @ x
    return (total / weight.sum(1).clamp(min=1).unsqueeze(2)).flatten(1)
