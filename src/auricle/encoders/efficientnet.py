"""EfficientNet on spectrograms, the encoder of COLA.

Sources: arXiv 1905.11946 (table 1: B0; section 3.3: compound scaling); as encoder of COLA arXiv 2010.10915, which
reads 64 mel bins x 96 frames and pools by the global maximum.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from auricle.config import Count, Positive, ShareBelowOne
from auricle.encoders.contract import EncoderConfig
from auricle.encoders.conv_encoder import ConvEncoder, Pooling, draw_weights
from auricle.encoders.parts.attention import drop_path
from auricle.encoders.parts.batch_norm import normalise
from auricle.encoders.parts.feature_map import FeatureMap, Window, convolve, mean_map


class Stage(NamedTuple):
    """A row of table 1: expansion of the inverted bottlenecks, output channels, repeats, stride and kernel."""

    expansion: int
    channels: int
    repeats: int
    stride: int
    kernel: int


B0 = (
    Stage(1, 16, 1, 1, 3),
    Stage(6, 24, 2, 2, 3),
    Stage(6, 40, 2, 2, 5),
    Stage(6, 80, 3, 2, 3),
    Stage(6, 112, 3, 1, 5),
    Stage(6, 192, 4, 2, 5),
    Stage(6, 320, 1, 1, 3),
)


@dataclass(frozen=True)
class EfficientNetConfig(EncoderConfig):
    """Settings of an EfficientNet.

    Sizes: `base` or `b0` (4.007 M parameters with one input channel), `b7` (63.8 M), `tiny` and `small` are B0 with
    half and three quarters of the channels (1.07 and 2.37 M).

    Attributes:
        width_factor: multiplies the channels, which are then rounded to multiples of 8 (never down by more than 10 %).
        depth_factor: multiplies the repeats of each stage, rounded up.
        mels: mel bins of the input.
        pooling: clip vector: `max` as in COLA, `mean` as in the net's own paper, or the sum of both.
        drop_path: stochastic depth at the last block, rising linearly from 0 at the first; the net's own paper has 0.2.
        frame_rate: frames per second of the front end.
    """

    width_factor: Positive = 1.0
    depth_factor: Positive = 1.0
    mels: Count = 64
    pooling: Pooling = "max"
    drop_path: ShareBelowOne = 0.2
    frame_rate: Positive = 100.0

    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"width_factor": 0.5},
        "small": {"width_factor": 0.75},
        "base": {},
        "b0": {},
        "b7": {"width_factor": 2.0, "depth_factor": 3.1},
    }

    def scaled(self, channels: int) -> int:
        """Return channels times the width factor, as a multiple of 8."""
        wanted = channels * self.width_factor
        rounded = max(8, int(wanted + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * wanted else rounded


def _window(kernel: int, stride: int) -> Window:
    # Halving pads one step less at the start, as the original does for even sizes, and one more at the end, so that odd
    # sizes round up. Even sizes never reach the last zero.
    return Window.centred(kernel) if stride == 1 else Window(kernel, stride, kernel // 2 - 1, kernel // 2 + 1)


def _conv(inputs: int, outputs: int, window: Window, groups: int = 1, bias: bool = False) -> nn.Conv2d:
    padding = window.left if window.left == window.right else 0
    return nn.Conv2d(inputs, outputs, window.kernel, window.stride, padding, groups=groups, bias=bias)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class InvertedBottleneck(nn.Module):
    """Expansion, depthwise convolution, squeeze and excitation, projection; a shortcut where shapes allow.

    Args:
        inputs: channels coming in.
        stage: the row of the table (its channels already scaled).
        stride: of the depthwise convolution.
        drop_path: chance that a clip skips the branch in training.
    """

    def __init__(self, inputs: int, stage: Stage, stride: int, drop_path: float) -> None:
        super().__init__()
        inner, squeezed = inputs * stage.expansion, max(1, inputs // 4)
        self.window, self.drop_path = _window(stage.kernel, stride), drop_path
        self.shortcut = stride == 1 and inputs == stage.channels
        self.expand = _conv(inputs, inner, Window(1)) if stage.expansion > 1 else None
        self.expand_norm = _norm(inner) if stage.expansion > 1 else None
        self.depthwise = _conv(inner, inner, self.window, groups=inner)
        self.depthwise_norm = _norm(inner)
        self.squeeze = _conv(inner, squeezed, Window(1), bias=True)
        self.excite = _conv(squeezed, inner, Window(1), bias=True)
        self.project = _conv(inner, stage.channels, Window(1))
        self.project_norm = _norm(stage.channels)

    def forward(self, x: FeatureMap) -> FeatureMap:
        """Return the block's output map."""
        y = x
        if self.expand is not None and self.expand_norm is not None:
            y = _silu(normalise(self.expand_norm, convolve(self.expand, y, Window(1))))
        y = _silu(normalise(self.depthwise_norm, convolve(self.depthwise, y, self.window)))
        gate = self.excite(F.silu(self.squeeze(mean_map(y)[:, :, None, None]))).sigmoid()
        y = normalise(self.project_norm, convolve(self.project, y.changed(y.x * gate), Window(1)))
        return y.changed(x.x + drop_path(y.x, self.drop_path, self.training)) if self.shortcut else y


class EfficientNet(ConvEncoder):
    """Stem, seven stages of inverted bottlenecks, and a last 1 x 1 convolution to 1280 channels.

    Time and frequency shrink by 32, rounded up: one frame gives a token, 96 frames x 64 bins give 3 x 2 tokens. The
    original pads odd sizes differently at their start, which would shift clips of different lengths in a batch against
    each other; here every size is padded as even ones are. Layers: the stem is layer 0, the stages are layers 1 to 7,
    the tokens are layer 8.
    """

    def __init__(self, config: EfficientNetConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.pooling = config.pooling
        halving = _window(3, 2)
        width = config.scaled(32)
        self.stem = _conv(1, width, halving)
        self.stem_norm = _norm(width)
        repeats = [math.ceil(stage.repeats * config.depth_factor) for stage in B0]
        windows: list[tuple[Window, ...]] = [(halving,)]
        self.blocks = nn.ModuleList()
        done = 0
        for stage, count in zip(B0, repeats, strict=True):
            stage, blocks = stage._replace(channels=config.scaled(stage.channels)), nn.Sequential()
            for place in range(count):
                rate = config.drop_path * done / sum(repeats)
                blocks.append(InvertedBottleneck(width, stage, stage.stride if place == 0 else 1, rate))
                width, done = stage.channels, done + 1
            self.blocks.append(blocks)
            windows.append(tuple(_window(stage.kernel, stage.stride if i == 0 else 1) for i in range(count)))
        self.width = config.scaled(1280)
        self.top = _conv(width, self.width, Window(1))
        self.top_norm = _norm(self.width)
        self.lay_out([*windows, ()], config.mels, config.frame_rate)
        draw_weights(self, generator, "fan_out")

    def stages(self) -> Sequence[Callable[[FeatureMap], FeatureMap]]:
        stem = partial(_conv_norm_silu, self.stem, self.stem_norm, _window(3, 2))
        top = partial(_conv_norm_silu, self.top, self.top_norm, Window(1))
        return [stem, *(partial(_run, stage) for stage in self.blocks), top]


def _conv_norm_silu(conv: nn.Conv2d, norm: nn.BatchNorm2d, window: Window, x: FeatureMap) -> FeatureMap:
    return _silu(normalise(norm, convolve(conv, x, window)))


def _run(stage: nn.Module, x: FeatureMap) -> FeatureMap:
    for block in stage.children():
        x = block(x)
    return x


def _silu(x: FeatureMap) -> FeatureMap:
    return x.changed(F.silu(x.x))
