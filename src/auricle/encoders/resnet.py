"""ResNet on spectrograms, and its one-dimensional form on samples.

Sources: arXiv 1512.03385 (section 3 and table 1); as encoders of CLAR (arXiv 2010.09542), which trains a ResNet-18 on
spectrograms and a one-dimensional one on the raw wave.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from auricle.config import Count, Positive
from auricle.encoders.contract import EncoderConfig
from auricle.encoders.conv_encoder import ConvEncoder, Pooling, draw_weights
from auricle.encoders.parts.batch_norm import normalise
from auricle.encoders.parts.feature_map import FeatureMap, Window, convolve, max_pool


@dataclass(frozen=True)
class ResNetConfig(EncoderConfig):
    """Settings of a ResNet on spectrograms.

    Sizes: `base` or `18` (11.17 M parameters), `50` (23.50 M), `tiny` and `small` are ResNet-18 with 32 and 48
    channels in place of 64 (2.8 and 6.3 M).

    Attributes:
        block: `basic` (two 3 x 3 convolutions) or `bottleneck` (1 x 1, 3 x 3, 1 x 1 with four times the channels).
        blocks: blocks of each of the four stages.
        channels: of the first stage; each later one has twice as many.
        mels: mel bins (or other bins) of one spectrogram.
        spectrograms: input channels, concatenated along the features' last axis: `(B, T, spectrograms * mels)`.
        repeat: the features hold one spectrogram, repeated in every input channel (for weights pre-trained on colour
            images).
        pooling: clip vector; published is the mean.
        frame_rate: frames per second of the front end.
    """

    block: Literal["basic", "bottleneck"] = "basic"
    blocks: tuple[Count, Count, Count, Count] = (2, 2, 2, 2)
    channels: Count = 64
    mels: Count = 128
    spectrograms: Count = 1
    repeat: bool = False
    pooling: Pooling = "mean"
    frame_rate: Positive = 100.0

    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"channels": 32},
        "small": {"channels": 48},
        "base": {},
        "18": {},
        "50": {"block": "bottleneck", "blocks": (3, 4, 6, 3)},
    }


@dataclass(frozen=True)
class SampleResNetConfig(EncoderConfig, builds="ResNet"):
    """Settings of a one-dimensional ResNet on samples.

    The layout of CLAR's own is not fully specified. Here each square is flattened: a kernel of 3 x 3 becomes one of 9,
    a stride of 2 x 2 one of 4. Parameters and activations per layer then equal those of the net on images; a token is
    1024 samples (15.6 Hz at 16 kHz). Sizes are those of `ResNetConfig`.

    Attributes:
        block: `basic` or `bottleneck`.
        blocks: blocks of each of the four stages.
        channels: of the first stage; each later one has twice as many.
        pooling: clip vector.
        sample_rate: of the input in Hz.
    """

    block: Literal["basic", "bottleneck"] = "basic"
    blocks: tuple[Count, Count, Count, Count] = (2, 2, 2, 2)
    channels: Count = 64
    pooling: Pooling = "mean"
    sample_rate: Positive = 16000.0

    sizes: ClassVar[dict[str, dict[str, Any]]] = ResNetConfig.sizes


class ResidualBlock(nn.Module):
    """`relu(shortcut(x) + branch(x))`; every convolution is followed by its batch norm.

    Args:
        block: `basic` or `bottleneck`.
        inputs: channels coming in.
        channels: C; a bottleneck returns four times as many.
        stride: of the middle convolution (the first of a basic block) and of the shortcut, in time and frequency.
        flat: one-dimensional, with kernels and strides squared.
    """

    def __init__(self, block: str, inputs: int, channels: int, stride: int, flat: bool) -> None:
        super().__init__()
        sees, strides = _square(3, 1, flat), _square(3, stride, flat)
        basic = block == "basic"
        outputs = channels if basic else 4 * channels
        self.windows = (strides, sees) if basic else (Window(1), strides, Window(1))
        widths = (channels, channels) if basic else (channels, channels, outputs)
        for number, (window, width) in enumerate(zip(self.windows, widths, strict=True), 1):
            setattr(self, f"conv{number}", _conv(inputs if number == 1 else widths[number - 2], width, window, flat))
            setattr(self, f"bn{number}", _norm(width, flat))
        self.skips = Window(1, strides.stride)
        self.downsample = (
            nn.Sequential(_conv(inputs, outputs, self.skips, flat), _norm(outputs, flat))
            if stride != 1 or inputs != outputs
            else None
        )

    def forward(self, x: FeatureMap) -> FeatureMap:
        """Return the block's output map."""
        y = x
        for number, window in enumerate(self.windows, 1):
            y = normalise(getattr(self, f"bn{number}"), convolve(getattr(self, f"conv{number}"), y, window))
            if number < len(self.windows):
                y = y.changed(y.x.relu())
        skip = x
        if self.downsample is not None:
            skip = normalise(self.downsample[1], convolve(self.downsample[0], x, self.skips))  # type: ignore[arg-type]
        return y.changed((y.x + skip.x).relu())


class ResNet(ConvEncoder):
    """Stem (7 x 7 convolution, then maximum, both of stride 2) and four stages of residual blocks.

    Time and frequency shrink by 32, rounded up: one frame gives a token. The stem is layer 0, the stages are layers 1
    to 4. Parameters are named as in torchvision, whose state dicts load without `fc.*` (with `spectrograms=3`).
    """

    def __init__(self, config: ResNetConfig | SampleResNetConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.pooling = config.pooling
        image = isinstance(config, ResNetConfig)
        inputs = config.spectrograms if isinstance(config, ResNetConfig) else 1
        self.repeats = inputs if isinstance(config, ResNetConfig) and config.repeat else 1
        self.stem_windows = (_square(7, 2, not image), _square(3, 2, not image))
        self.conv1 = _conv(inputs, config.channels, self.stem_windows[0], not image)
        self.bn1 = _norm(config.channels, not image)
        windows: list[tuple[Window, ...]] = [self.stem_windows]
        width, expansion = config.channels, 1 if config.block == "basic" else 4
        for number, count in enumerate(config.blocks, 1):
            channels, stage = config.channels * 2 ** (number - 1), nn.Sequential()
            for place in range(count):
                stride = 2 if place == 0 and number > 1 else 1
                stage.append(ResidualBlock(config.block, width, channels, stride, not image))
                width = channels * expansion
            setattr(self, f"layer{number}", stage)
            windows.append(tuple(w for block in stage for w in block.windows))  # type: ignore[union-attr]
        self.width = width
        if isinstance(config, ResNetConfig):
            self.channels = 1 if config.repeat else config.spectrograms
            self.lay_out(windows, config.mels * self.channels, config.frame_rate)
        else:
            self.lay_out(windows, None, config.sample_rate)
        draw_weights(self, generator, "fan_out")

    def stages(self) -> Sequence[Callable[[FeatureMap], FeatureMap]]:
        return [self._stem, *(partial(_run, getattr(self, f"layer{number}")) for number in range(1, 5))]

    def _stem(self, x: FeatureMap) -> FeatureMap:
        if self.repeats > 1:
            x = x.changed(x.x.expand(-1, self.repeats, -1, -1))
        x = normalise(self.bn1, convolve(self.conv1, x, self.stem_windows[0]))
        return max_pool(x.changed(x.x.relu()), self.stem_windows[1])


def _run(stage: nn.Sequential, x: FeatureMap) -> FeatureMap:
    for block in stage:
        x = block(x)
    return x


def _square(kernel: int, stride: int, flat: bool) -> Window:
    return Window.centred(kernel**2, stride**2) if flat else Window.centred(kernel, stride)


def _conv(inputs: int, outputs: int, window: Window, flat: bool) -> nn.Conv1d | nn.Conv2d:
    make = nn.Conv1d if flat else nn.Conv2d
    return make(inputs, outputs, window.kernel, window.stride, padding=window.left, bias=False)


def _norm(channels: int, flat: bool) -> nn.BatchNorm1d | nn.BatchNorm2d:
    return nn.BatchNorm1d(channels) if flat else nn.BatchNorm2d(channels)
