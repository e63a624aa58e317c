"""AudioNTT, the small convolutional nets of BYOL-A; their clip vector is maximum plus mean over time.

Sources: BYOL-A (arXiv 2103.06695, section III.C: AudioNTT2020) and BYOL-A v2 (arXiv 2204.07402, section III.B:
AudioNTT2022, which returns the convolutions' map and the dense layers' output side by side).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from auricle.config import Count, Positive, ShareBelowOne
from auricle.encoders.contract import EncoderConfig
from auricle.encoders.conv_encoder import ConvEncoder, Pooling, draw_weights
from auricle.encoders.parts.batch_norm import normalise
from auricle.encoders.parts.feature_map import FeatureMap, Window, convolve, max_pool
from auricle.errors import ConfigError

_SEES = Window.centred(3)
_HALVES = Window(2, 2)


@dataclass(frozen=True)
class AudioNTTConfig(EncoderConfig):
    """Settings of AudioNTT.

    Sizes: `tiny`, `small`, `base` are AudioNTT2020 with width 512, 1024 and 2048 (0.60, 1.65, 5.32 M
    parameters), `2022` is AudioNTT2022 with 3072 (6.33 M).

    Attributes:
        version: `2020`: three convolution blocks, then two dense layers; `2022`: two blocks, and their map beside the
            output of the dense layers.
        width: D.
        mels: mel bins of the input.
        channels: of each convolution.
        hidden: width of the first dense layer; None: D in 2020, 2048 in 2022.
        dropout: between the dense layers, in training.
        pooling: clip vector; published is `max_plus_mean` over time.
        frame_rate: frames per second of the front end.
    """

    version: Literal["2020", "2022"] = "2020"
    width: Count = 2048
    mels: Count = 64
    channels: Count = 64
    hidden: Count | None = None
    dropout: ShareBelowOne = 0.3
    pooling: Pooling = "max_plus_mean"
    frame_rate: Positive = 100.0

    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"width": 512},
        "small": {"width": 1024},
        "base": {"width": 2048},
        "2022": {"version": "2022", "width": 3072},
    }

    def __post_init__(self) -> None:
        if self.mels < 2**self.blocks:
            raise ConfigError(f"found {self.mels} mels, expected at least {2**self.blocks}: each block halves them")
        least = self.local_width + 1 if self.version == "2022" else 1
        if self.width < least:
            raise ConfigError(f"found width {self.width}, expected at least {least} (the width of the map, plus 1)")

    @property
    def blocks(self) -> int:
        """Number of convolution blocks, each of which halves time and frequency."""
        return 3 if self.version == "2020" else 2

    @property
    def local_width(self) -> int:
        """Size of the convolutions' map at one time step: channels times remaining bins."""
        return self.channels * (self.mels >> self.blocks)


class AudioNTT(ConvEncoder):
    """Blocks of convolution (3 x 3), batch norm, ReLU and maximum over 2 x 2; then two dense layers on each time step.

    One token per time step: 12.5 Hz in version 2020, 25 Hz in version 2022, at 100 frames per second. The remaining
    frequency axis is flattened into the token, the channels of each frequency together. Layers: each block
    (layer 0 is the first), in version 2020 the first dense layer, then the tokens. Parameters are named as in the
    authors' checkpoints (`features.*`, `fc.*`), which load as they are.
    """

    def __init__(self, config: AudioNTTConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.width, self.pooling, self.flat_from = config.width, config.pooling, config.blocks
        dense = 2 if config.version == "2020" else 1
        windows = [(_SEES, _HALVES)] * config.blocks + [()] * dense
        self.lay_out(windows, config.mels, config.frame_rate)
        layers: list[nn.Module] = []
        for block in range(config.blocks):
            layers += [
                nn.Conv2d(config.channels if block else 1, config.channels, 3, padding=1),
                nn.BatchNorm2d(config.channels),
                nn.ReLU(),
                nn.MaxPool2d(2, 2),
            ]
        self.features = nn.Sequential(*layers)
        local, late = config.local_width, config.version == "2022"
        hidden = config.hidden or (2048 if late else config.width)
        out = config.width - local if late else config.width
        self.fc = nn.Sequential(
            nn.Linear(local, hidden), nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(hidden, out), nn.ReLU()
        )
        draw_weights(self, generator, "uniform")

    def stages(self) -> Sequence[Callable[[FeatureMap], FeatureMap]]:
        blocks = [partial(self._block, number) for number in range(self.config.blocks)]
        if self.config.version == "2020":
            return [*blocks, partial(self._dense, self.fc[:2]), partial(self._dense, self.fc[2:])]
        return [*blocks, self._local_and_global]

    def _block(self, number: int, x: FeatureMap) -> FeatureMap:
        conv, norm = self.features[4 * number], self.features[4 * number + 1]
        x = normalise(norm, convolve(conv, x, _SEES))  # type: ignore[arg-type]  # known from the constructor
        pooled = max_pool(x, _HALVES)
        return pooled.changed(pooled.x.relu())  # the same as before the maximum, on a quarter of the values

    def _dense(self, layers: nn.Module, x: FeatureMap) -> FeatureMap:
        return x.changed(layers(_steps(x)).transpose(1, 2))

    def _local_and_global(self, x: FeatureMap) -> FeatureMap:
        local = _steps(x)
        return x.changed(torch.cat([local, self.fc(local)], 2).transpose(1, 2))


def _steps(x: FeatureMap) -> torch.Tensor:
    """Return one vector per time step, `(B, T, F * C)`."""
    return x.x.permute(0, 3, 2, 1).flatten(2) if x.x.dim() == 4 else x.x.transpose(1, 2)
