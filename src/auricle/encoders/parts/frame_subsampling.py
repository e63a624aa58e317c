"""From log-mel frames to tokens at a lower rate, in front of the blocks of speech encoders.

Sources: convolutional subsampling by four, Conformer, arXiv 2005.08100, section 2; stacking four frames, BEST-RQ, arXiv
2202.01855. Neither says how the edges are padded; see `FrameSubsampling` for the choice here.
"""

from __future__ import annotations

from typing import Literal, TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

from auricle.encoders.contract import valid_positions

Subsampling = Literal["conv2d", "conv2d_valid", "stack", "none"]
Frames = TypeVar("Frames", int, Tensor)


class FrameSubsampling(nn.Module):
    """Frames `(B, T', F)` to `(B, T, D)`.

    `conv2d`: two 3 x 3 convolutions of stride 2 with ReLU over time and frequency, then a linear layer over channels
    and bins. The image is padded with a zero on each side, so that T = ceil(T' / 4) and token t ends with frame 4t + 3:
    aligned with stacks of four frames, from which some targets are made. `conv2d_valid`: the same without
    padding, T = ((T' - 1) // 2 - 1) // 2, as in most speech recognisers. `stack`: four frames side by side, the last
    stack completed with the features' pad value, and a linear layer. `none`: a linear layer, T = T'.

    Padding is zeroed before each convolution, so that it never changes a token.

    Args:
        how: one of the four.
        mels: F.
        width: D.
        channels: of the convolutions.
        causal: make only tokens whose frames are complete: T = T' // 4 for `conv2d` and `stack` (the other two always
            do).
    """

    def __init__(self, how: Subsampling, mels: int, width: int, channels: int, causal: bool = False) -> None:
        super().__init__()
        self.how, self.causal = how, causal
        self.factor = 1 if how == "none" else 4
        if how in ("conv2d", "conv2d_valid"):
            bins = ((mels - 1) // 2 - 1) // 2 if how == "conv2d_valid" else -(-mels // 4)
            self.conv1 = nn.Conv2d(1, channels, 3, stride=2)
            self.conv2 = nn.Conv2d(channels, channels, 3, stride=2)
            self.project = nn.Linear(channels * bins, width)
        else:
            self.project = nn.Linear(mels * self.factor, width)

    @property
    def least_frames(self) -> int:
        """Fewest frames that give a token."""
        if self.how == "conv2d_valid":
            return 7
        return self.factor if self.causal else 1

    def count(self, frames: int) -> int:
        """Return T for T' frames."""
        return max(self.counts(frames), 0)

    def counts(self, frames: Frames) -> Frames:
        """Return T for T' frames, a number or a tensor; 0 or less where there is no token."""
        if self.how == "conv2d_valid":
            return ((frames - 1) // 2 - 1) // 2
        return (frames if self.causal else frames + self.factor - 1) // self.factor

    def forward(self, x: Tensor, lengths: Tensor, pad: float) -> Tensor:
        """Return the tokens `(B, T, D)` of frames `x (B, T', F)`, whose padding holds `pad`."""
        if self.how == "none":
            return self.project(x)
        if self.how == "stack":
            rest = x.shape[1] % 4
            x = x[:, : x.shape[1] - rest] if self.causal else F.pad(x, (0, 0, 0, -rest % 4), value=pad)
            return self.project(x.unflatten(1, (-1, 4)).flatten(2))
        y = self._convolve(self.conv1, x.unsqueeze(1), lengths)
        y = self._convolve(self.conv2, y, (lengths + 1) // 2)
        return self.project(y.transpose(1, 2).flatten(2))

    def _convolve(self, conv: nn.Conv2d, x: Tensor, lengths: Tensor) -> Tensor:
        if self.how == "conv2d":
            valid = valid_positions(lengths, x.shape[2])
            if valid is not None:
                x = x.masked_fill(~valid[:, None, :, None], 0.0)
            x = F.pad(x, (1, 1, 1, 0) if self.causal else (1, 1, 1, 1))
        return F.relu(conv(x))
