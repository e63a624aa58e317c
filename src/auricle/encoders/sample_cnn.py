"""SampleCNN: small convolutions and maxima by three, from 59,049 samples to one token. The encoder of CLMR.

Sources: arXiv 1703.01789 (section 4 and table 1: the model of 3^9 with 59,049 samples); as encoder of CLMR
arXiv 2103.09410.
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
from auricle.encoders.parts.feature_map import FeatureMap, Window, convolve, max_pool
from auricle.errors import ConfigError

_STEM = Window(3, 3)
_SEES = Window.centred(3)
_THIRDS = Window(3, 3)


@dataclass(frozen=True)
class SampleCNNConfig(EncoderConfig):
    """Settings of SampleCNN.

    Sizes: `base` is the published one (2.37 M parameters); `small` has three quarters of its channels (1.33 M); `tiny`
    is narrow in the first blocks, which take most of the time (0.87 M).

    Attributes:
        stem: channels of the first convolution.
        blocks: channels of each block. With n blocks the receptive field of a token, and the shortest input, is
            3^(n + 1) samples: nine blocks are 59,049 samples, 2.68 s at 22.05 kHz; eight are a third of that.
        pooling: clip vector of inputs with several tokens. Published is one token, of exactly 59,049 samples; the mean
            over longer clips is our choice.
        sample_rate: of the input in Hz.
    """

    stem: Count = 128
    blocks: tuple[Count, ...] = (128, 128, 256, 256, 256, 256, 256, 256, 512)
    pooling: Pooling = "mean"
    sample_rate: Positive = 22050.0

    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"stem": 32, "blocks": (32, 64, 128, 128, 128, 128, 256, 256, 256)},
        "small": {"stem": 96, "blocks": (96, 96, 192, 192, 192, 192, 192, 192, 384)},
        "base": {},
    }

    def __post_init__(self) -> None:
        if not self.blocks:
            raise ConfigError("found no blocks, expected the channels of at least one")


class SampleCNN(ConvEncoder):
    """Stem (kernel and stride 3), blocks of convolution (kernel 3) and maximum by three, and one last convolution.

    Every convolution is followed by batch norm and ReLU. Layers: the stem is layer 0, then each block, then the
    tokens. The dropout and the dense layer that follow in CLMR belong to the objective's head. Parameters are named as
    in CLMR's checkpoints (`sequential.*`).
    """

    def __init__(self, config: SampleCNNConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.width, self.pooling = config.blocks[-1], config.pooling
        self.sequential = nn.Sequential(_unit(1, config.stem, _STEM))
        for inputs, outputs in zip((config.stem, *config.blocks), (*config.blocks, self.width), strict=True):
            self.sequential.append(_unit(inputs, outputs, _SEES))
        windows = [(_STEM,), *((_SEES, _THIRDS),) * len(config.blocks), (_SEES,)]
        self.lay_out(windows, None, config.sample_rate)
        draw_weights(self, generator, "uniform")

    def stages(self) -> Sequence[Callable[[FeatureMap], FeatureMap]]:
        return [partial(_run, unit, windows) for unit, windows in zip(self.sequential, self.windows, strict=True)]


def _unit(inputs: int, outputs: int, window: Window) -> nn.Sequential:
    conv = nn.Conv1d(inputs, outputs, window.kernel, window.stride, padding=window.left)
    return nn.Sequential(conv, nn.BatchNorm1d(outputs))


def _run(unit: nn.Module, windows: Sequence[Window], x: FeatureMap) -> FeatureMap:
    conv, norm = unit.children()
    x = normalise(norm, convolve(conv, x, windows[0]))  # type: ignore[arg-type]  # known from _unit
    x = x.changed(x.x.relu())
    return x if len(windows) == 1 else max_pool(x, windows[1])
