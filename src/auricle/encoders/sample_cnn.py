"""SampleCNN: small convolutions and maxima by three, from 59,049 samples to one token. The encoder of CLMR.

Sources: arXiv 1703.01789 (section 4 and table 1: the model of 3^9 with 59,049 samples); as encoder of CLMR
arXiv 2103.09410.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from auricle.config import nearest
from auricle.encoders.contract import EncoderConfig
from auricle.encoders.conv_encoder import ConvEncoder, Pooling, check_pooling, draw_weights
from auricle.encoders.parts.feature_map import FeatureMap, Window, convolve, max_pool
from auricle.encoders.parts.map_norm import normalise
from auricle.errors import ConfigError

_STEM = Window(3, 3)
_SEES = Window.centred(3)
_THIRDS = Window(3, 3)

SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"stem": 32, "blocks": (32, 64, 128, 128, 128, 128, 256, 256, 256)},
    "small": {"stem": 96, "blocks": (96, 96, 192, 192, 192, 192, 192, 192, 384)},
    "base": {},
}


@dataclass(frozen=True)
class SampleCNNConfig(EncoderConfig):
    """Settings of SampleCNN.

    Sizes: `base` is the published one (2.37 M parameters); `small` has three quarters of its channels (1.33 M); `tiny`
    is narrow in the first blocks, which cost most of the time (0.87 M).

    Attributes:
        stem: channels of the first convolution.
        blocks: channels of each block. With n blocks a token sees 3^(n + 1) samples, and so many are needed at least:
            nine blocks are 59,049 samples, 2.68 s at 22.05 kHz; eight are a third of that.
        pooling: clip vector of inputs that give several tokens. Published is one token, of exactly 59,049 samples; the
            mean over longer clips is a choice made here.
        sample_rate: of the input in Hz.
    """

    stem: int = 128
    blocks: tuple[int, ...] = (128, 128, 256, 256, 256, 256, 256, 256, 512)
    pooling: Pooling = "mean"
    sample_rate: float = 22050.0

    def __post_init__(self) -> None:
        """Refuse settings out of range.

        Raises:
            ConfigError: naming the setting and what it must be.
        """
        check_pooling(self.pooling)
        if not self.blocks or min(self.stem, *self.blocks) < 1:
            raise ConfigError(
                f"found stem {self.stem} and blocks {self.blocks}, expected at least one block and one channel in each"
            )

    @classmethod
    def size(cls, name: str, **changes: Any) -> SampleCNNConfig:
        """Return the settings of a named size, with any others changed.

        Raises:
            ConfigError: no such size.
        """
        if name not in SIZES:
            raise ConfigError(f"unknown size {name!r}{nearest(name, SIZES)}")
        return cls(**{**SIZES[name], **changes})

    def build(self, generator: torch.Generator | None = None) -> SampleCNN:
        """Build the encoder with fresh weights, drawn from `generator` (None: one seeded with 0)."""
        return SampleCNN(self, generator)


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
        """Return the stem, the blocks and the last convolution."""
        return [partial(_run, unit, windows) for unit, windows in zip(self.sequential, self.windows, strict=True)]


def _unit(inputs: int, outputs: int, window: Window) -> nn.Sequential:
    conv = nn.Conv1d(inputs, outputs, window.kernel, window.stride, padding=window.left)
    return nn.Sequential(conv, nn.BatchNorm1d(outputs))


def _run(unit: nn.Module, windows: Sequence[Window], x: FeatureMap) -> FeatureMap:
    conv, norm = unit.children()
    x = normalise(norm, convolve(conv, x, windows[0]))  # type: ignore[arg-type]  # known from _unit
    x = x.changed(x.x.relu())
    return x if len(windows) == 1 else max_pool(x, windows[1])
