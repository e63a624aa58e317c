"""Feature maps of convolutional nets with the length of each clip, so that padding never leaks into valid positions.

A clip in a padded batch must give the same output as alone, where a convolution reads zeros beyond the clip's end and a
pooling window reads nothing. In a batch these positions hold the output of earlier layers (the shift of a norm, a
bias): they are reset to zeros before each convolution wider than 1, and to minus infinity before each maximum.

Time is the last axis: `(B, C, F, T)` for spectrograms, `(B, C, T)` for samples and for maps without frequency.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.encoders.contract import Grid


@dataclass(frozen=True)
class Window:
    """Window of a convolution or a pooling along an axis: kernel, stride, and padding before and after the input."""

    kernel: int
    stride: int = 1
    left: int = 0
    right: int = 0

    @classmethod
    def centred(cls, kernel: int, stride: int = 1) -> Window:
        """Return a window of odd size with `kernel // 2` padding on both sides."""
        return cls(kernel, stride, kernel // 2, kernel // 2)

    def count(self, positions: int) -> int:
        """Return the number of output positions; 0 where the window does not fit once."""
        return max(0, (positions + self.left + self.right - self.kernel) // self.stride + 1)

    def counts(self, positions: Tensor) -> Tensor:
        """Return `count` of a tensor of lengths."""
        room = positions + self.left + self.right - self.kernel
        return (room.div(self.stride, rounding_mode="floor") + 1).clamp(min=0)

    def least(self, positions: int) -> int:
        """Return the smallest input that gives `positions` output positions."""
        return max(1, (positions - 1) * self.stride + self.kernel - self.left - self.right)


def count_through(windows: Sequence[Window], positions: int) -> int:
    """Return the number of output positions of a chain of windows."""
    for window in windows:
        positions = window.count(positions)
    return positions


def least_through(windows: Sequence[Window], positions: int = 1) -> int:
    """Return the smallest input that gives `positions` output positions of a chain of windows."""
    for window in reversed(windows):
        positions = window.least(positions)
    return positions


@dataclass(frozen=True)
class FeatureMap:
    """A batch of maps.

    Attributes:
        x: `(B, C, F, T)` or `(B, C, T)`.
        lengths: `(B,)` int64 valid time positions of each clip; None: all are valid.
    """

    x: Tensor
    lengths: Tensor | None = None

    @classmethod
    def of(cls, x: Tensor, lengths: Tensor) -> FeatureMap:
        """Make a map of an input; without padding its lengths are None, so that nothing needs a mask."""
        return cls(x, None if bool((lengths >= x.shape[-1]).all()) else lengths.clamp(0, x.shape[-1]))

    def inside(self) -> Tensor | None:
        """Return `(B, 1, 1, T)` or `(B, 1, T)`, True where valid; None: everywhere."""
        if self.lengths is None:
            return None
        columns = torch.arange(self.x.shape[-1], device=self.x.device) < self.lengths.unsqueeze(1)
        return columns.view(columns.shape[0], *[1] * (self.x.dim() - 2), columns.shape[1])

    def filled(self, value: float) -> Tensor:
        """Return the values, with `value` at padding."""
        inside = self.inside()
        return self.x if inside is None else self.x.masked_fill(~inside, value)

    def changed(self, x: Tensor) -> FeatureMap:
        """Return a map of other values with the same lengths."""
        return replace(self, x=x)

    def tokens(self) -> tuple[Tensor, Tensor | None]:
        """Return time-major tokens `(B, T * F, C)` and their validity `(B, T * F)`, or None."""
        x = self.x if self.x.dim() == 4 else self.x.unsqueeze(2)
        freq = x.shape[2]
        inside = self.inside()
        valid = None if inside is None else inside.flatten(1).repeat_interleave(freq, 1)
        return x.permute(0, 3, 2, 1).flatten(1, 2), valid

    @classmethod
    def from_tokens(cls, x: Tensor, valid: Tensor | None, grid: Grid, flat: bool) -> FeatureMap:
        """Undo `tokens`; `flat`: return a map without a frequency axis."""
        lengths = None if valid is None else valid.unflatten(1, (grid.time, grid.freq)).any(2).sum(1)
        values = x.unflatten(1, (grid.time, grid.freq)).permute(0, 3, 2, 1)
        return cls(values.squeeze(2).contiguous() if flat else channels_last(values), lengths)


def channels_last(x: Tensor) -> Tensor:
    """Return a map `(B, C, F, T)` in the memory order of the processor's fast kernels: channels next to each other.

    Convolution, batch norm and pooling keep the order. Elsewhere than on the CPU the map is only made contiguous.
    """
    if x.device.type != "cpu":
        return x.contiguous()
    if x.shape[1] > 1:
        return x.contiguous(memory_format=torch.channels_last)
    # One channel is contiguous in either order; torch goes by its stride, which only a copy sets.
    return x.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format).permute(0, 3, 1, 2)


def convolve(conv: nn.Conv1d | nn.Conv2d, x: FeatureMap, window: Window) -> FeatureMap:
    """Convolve; `window` is the window of `conv` along time (and frequency).

    Where left and right padding differ, `conv` itself must not pad: both axes are padded here.
    """
    values = x.filled(0.0) if window.kernel > 1 else x.x
    if window.left != window.right:
        values = F.pad(values, (window.left, window.right) * (values.dim() - 2))
    if isinstance(conv, nn.Conv2d):
        # With channels last, torch 2.13 writes beyond the gradient of a strided convolution of width 1.
        strided = window.kernel == 1 and window.stride > 1
        values = values.contiguous() if strided else channels_last(values)
    return FeatureMap(conv(values), None if x.lengths is None else window.counts(x.lengths))


def max_pool(x: FeatureMap, window: Window) -> FeatureMap:
    """Return the maximum of the valid positions of each window; zeros where there is none."""
    pool = F.max_pool2d if x.x.dim() == 4 else F.max_pool1d
    pooled = pool(x.filled(float("-inf")), window.kernel, window.stride, padding=window.left)
    out = FeatureMap(pooled, None if x.lengths is None else window.counts(x.lengths))
    return out.changed(out.filled(0.0))


def mean_map(x: FeatureMap) -> Tensor:
    """Return the mean over all valid positions, `(B, C)`; zeros for a clip without any."""
    if x.lengths is None:
        return x.x.flatten(2).mean(2)
    rows = 1 if x.x.dim() == 3 else x.x.shape[2]
    count = (x.lengths * rows).clamp(min=1).to(x.x.dtype)
    return x.filled(0.0).flatten(2).sum(2) / count.unsqueeze(1)
