"""ResNet on spectrograms, and its one-dimensional twin on samples.

Sources: arXiv 1512.03385 (section 3 and table 1); as encoders of CLAR (arXiv 2010.09542), which trains a ResNet-18 on
spectrograms and a one-dimensional one on the raw wave.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from auricle.config import nearest
from auricle.encoders.contract import EncoderConfig
from auricle.encoders.conv_encoder import ConvEncoder, Pooling, check_pooling, draw_weights
from auricle.encoders.parts.feature_map import FeatureMap, Window, convolve, max_pool
from auricle.encoders.parts.map_norm import normalise
from auricle.errors import ConfigError

SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"channels": 32},
    "small": {"channels": 48},
    "base": {},
    "18": {},
    "50": {"block": "bottleneck", "blocks": (3, 4, 6, 3)},
}


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
        spectrograms: the net's input channels. Features hold them one after the other along their last axis:
            `(B, T, spectrograms * mels)`.
        repeat: the features hold one spectrogram, which is shown in every input channel (for weights learnt on
            coloured images).
        pooling: clip vector; published is the mean.
        frame_rate: frames per second of the front end.
    """

    block: Literal["basic", "bottleneck"] = "basic"
    blocks: tuple[int, int, int, int] = (2, 2, 2, 2)
    channels: int = 64
    mels: int = 128
    spectrograms: int = 1
    repeat: bool = False
    pooling: Pooling = "mean"
    frame_rate: float = 100.0

    def __post_init__(self) -> None:
        """Refuse settings out of range.

        Raises:
            ConfigError: naming the setting and what it must be.
        """
        _check(self.block, self.blocks, self.channels, self.pooling)
        if self.mels < 1 or self.spectrograms < 1:
            raise ConfigError(f"found mels {self.mels} and spectrograms {self.spectrograms}, expected at least 1 each")

    @classmethod
    def size(cls, name: str, **changes: Any) -> ResNetConfig:
        """Return the settings of a named size, with any others changed.

        Raises:
            ConfigError: no such size.
        """
        if name not in SIZES:
            raise ConfigError(f"unknown size {name!r}{nearest(name, SIZES)}")
        return cls(**{**SIZES[name], **changes})

    def build(self, generator: torch.Generator | None = None) -> ResNet:
        """Build the encoder with fresh weights, drawn from `generator` (None: one seeded with 0)."""
        return ResNet(self, generator)


@dataclass(frozen=True)
class SampleResNetConfig(EncoderConfig):
    """Settings of a one-dimensional ResNet on samples.

    How CLAR lays out its own is not published in full. Here each square becomes its row: a kernel of 3 x 3 one of 9, a
    stride of 2 x 2 one of 4. Parameters, and values per layer for an input of equal size, are then those of the net on
    images; a token is 1024 samples (15.6 Hz at 16 kHz).

    Attributes:
        block: `basic` or `bottleneck`.
        blocks: blocks of each of the four stages.
        channels: of the first stage; each later one has twice as many.
        pooling: clip vector.
        sample_rate: of the input in Hz.
    """

    block: Literal["basic", "bottleneck"] = "basic"
    blocks: tuple[int, int, int, int] = (2, 2, 2, 2)
    channels: int = 64
    pooling: Pooling = "mean"
    sample_rate: float = 16000.0

    def __post_init__(self) -> None:
        """Refuse settings out of range.

        Raises:
            ConfigError: naming the setting and what it must be.
        """
        _check(self.block, self.blocks, self.channels, self.pooling)

    @classmethod
    def size(cls, name: str, **changes: Any) -> SampleResNetConfig:
        """Return the settings of a named size (those of `ResNetConfig`), with any others changed.

        Raises:
            ConfigError: no such size.
        """
        if name not in SIZES:
            raise ConfigError(f"unknown size {name!r}{nearest(name, SIZES)}")
        return cls(**{**SIZES[name], **changes})

    def build(self, generator: torch.Generator | None = None) -> ResNet:
        """Build the encoder with fresh weights, drawn from `generator` (None: one seeded with 0)."""
        return ResNet(self, generator)


def _check(block: str, blocks: Sequence[int], channels: int, pooling: str) -> None:
    check_pooling(pooling)
    if block not in ("basic", "bottleneck"):
        raise ConfigError(f"unknown block {block!r}{nearest(block, ('basic', 'bottleneck'))}")
    if len(blocks) != 4 or min(blocks) < 1 or channels < 1:
        raise ConfigError(
            f"found blocks {tuple(blocks)} and channels {channels}, expected four stages of at least one block, and "
            "at least one channel"
        )


class ResidualBlock(nn.Module):
    """`relu(shortcut(x) + branch(x))`; every convolution is followed by its batch norm.

    Args:
        block: `basic` or `bottleneck`.
        inputs: channels coming in.
        channels: C; a bottleneck puts out four times as many.
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

    Time and frequency shrink by 32, rounded up, so that one frame already gives a token. The stem is layer 0, the
    stages are layers 1 to 4. Parameters are named as in torchvision, whose state dicts load as they are once `fc.*` is
    left out (with `spectrograms=3`).
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
        """Return the stem and the four stages."""
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
