"""Cutting a spectrogram into patches: where they lie, which of them hold audio, and their values as vectors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from auricle.errors import ConfigError


@dataclass(frozen=True)
class Patches:
    """Patches of a spectrogram, side by side or overlapping.

    Patches that lie side by side cover every frame: the last one is filled up with padding. Of overlapping ones only
    whole patches count, as a strided convolution has them (AST, arXiv 2104.01778): up to `step - 1` last
    frames (and highest bins) are seen by none. A clip shorter than a patch is filled up to one.

    Attributes:
        size: (frames, mel bins) of a patch.
        step: (frames, mel bins) from one patch to the next, at most the size.
    """

    size: tuple[int, int]
    step: tuple[int, int]

    def check(self, mels: int, frames: int) -> None:
        """Refuse patches that do not fit a spectrogram of so many mel bins and frames.

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
        """Return T, the time columns of an input of so many frames."""
        size, step = self.size[0], self.step[0]
        return -(-frames // size) if step == size else 1 + max(0, frames - size) // step

    def rows(self, mels: int) -> int:
        """Return F, the patches over so many mel bins."""
        return 1 + (mels - self.size[1]) // self.step[1]

    def filled(self, lengths: Tensor, columns: int) -> Tensor:
        """Return `(B, T)` bool: the columns that clips of `lengths (B,)` frames have when they are cut alone."""
        size, step = self.size[0], self.step[0]
        place = torch.arange(columns, device=lengths.device)
        # The first frame that a column must reach to count: its own first one, or, if overlapping, its last one.
        need = place * size + 1 if step == size else place * step + size * (place > 0) + (place == 0)
        return need <= lengths.unsqueeze(1)

    def missing(self, frames: int) -> int:
        """Return how many frames of padding fill up the last patch."""
        if self.step[0] == self.size[0]:
            return -frames % self.size[0]
        return max(0, self.size[0] - frames)

    def cut(self, x: Tensor, pad: float) -> Tensor:
        """Cut `x (B, T', F')` into `(B, T * F, size[0] * size[1])`: time-major tokens, time-major inside a patch.

        Args:
            x: the features.
            pad: what frames that are missing hold.
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
