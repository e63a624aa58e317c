"""A very small convolutional net for short slices of a spectrogram: Audio2Vec, TemporalGap, permutation.

Source: arXiv 1905.11796 (small separable convolutions, global maximum, a vector of about 128 numbers, sized for mobile
devices). The exact widths of its encoder and of the permutation method's (arXiv 2103.09879) are not specified; the
layout here is our choice: a stem and depthwise-separable blocks (arXiv 1704.04861), each of which halves time and
frequency.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import nn

from auricle.config import Count, Positive
from auricle.encoders.contract import EncoderConfig
from auricle.encoders.conv_encoder import ConvEncoder, Pooling, draw_weights
from auricle.encoders.parts.batch_norm import normalise
from auricle.encoders.parts.feature_map import FeatureMap, Window, convolve
from auricle.errors import ConfigError

_HALVES = Window.centred(3, 2)
_POINT = Window(1)


@dataclass(frozen=True)
class SliceCNNConfig(EncoderConfig):
    """Settings of the small net.

    Sizes: `tiny` (the default), `small`, `base` with 31, 83 and 251 thousand parameters; all give 128 numbers.

    Attributes:
        channels: of the stem and of each block; the last is D.
        mels: mel bins of a slice (of a tile, where slices are cut along frequency too).
        pooling: clip vector; published is the global maximum.
        frame_rate: frames per second of the front end.
    """

    channels: tuple[Count, ...] = (16, 32, 64, 128, 128)
    mels: Count = 64
    pooling: Pooling = "max"
    frame_rate: Positive = 100.0

    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {},
        "small": {"channels": (32, 64, 128, 256, 128)},
        "base": {"channels": (64, 128, 256, 512, 128)},
    }

    def __post_init__(self) -> None:
        if len(self.channels) < 2:
            raise ConfigError(f"found channels {self.channels}, expected those of a stem and at least one block")


class SliceCNN(ConvEncoder):
    """Stem (3 x 3 convolution of stride 2) and blocks of a depthwise 3 x 3 (stride 2) and a 1 x 1 convolution.

    Every convolution is followed by batch norm and ReLU. Each stage halves time and frequency, rounded up: 96 frames x
    64 bins give 3 x 2 tokens, one frame gives a token. The stem is layer 0, the blocks are the others.
    """

    def __init__(self, config: SliceCNNConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.width, self.pooling = config.channels[-1], config.pooling
        self.stem = nn.Sequential(*_unit(1, config.channels[0], _HALVES))
        self.blocks = nn.ModuleList(
            nn.Sequential(*_unit(inputs, inputs, _HALVES, groups=inputs), *_unit(inputs, outputs, _POINT))
            for inputs, outputs in zip(config.channels[:-1], config.channels[1:], strict=True)
        )
        self.lay_out([(_HALVES,)] * len(config.channels), config.mels, config.frame_rate)
        draw_weights(self, generator, "fan_out")

    def stages(self) -> Sequence[Callable[[FeatureMap], FeatureMap]]:
        return [partial(_run, stage) for stage in (self.stem, *self.blocks)]


def _unit(inputs: int, outputs: int, window: Window, groups: int = 1) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    conv = nn.Conv2d(inputs, outputs, window.kernel, window.stride, window.left, groups=groups, bias=False)
    return conv, nn.BatchNorm2d(outputs)


def _run(stage: nn.Module, x: FeatureMap) -> FeatureMap:
    layers = list(stage.children())
    for number, (conv, norm) in enumerate(zip(layers[::2], layers[1::2], strict=True)):
        window = _POINT if number else _HALVES
        x = normalise(norm, convolve(conv, x, window))  # type: ignore[arg-type]  # known from _unit
        x = x.changed(x.x.relu())
    return x
