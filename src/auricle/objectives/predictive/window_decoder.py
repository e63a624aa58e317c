"""A decoder whose attention stays in small windows of the token grid, shifted in every second block.

Neighbouring patches of a spectrogram are the most informative about each other; global attention adds little and costs
the square of the number of patches. Source: Audio-MAE, arXiv 2207.06405, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from auricle.config import Count, Natural
from auricle.encoders.contract import Tokens
from auricle.encoders.parts.shifted_windows import WindowBlock
from auricle.errors import ConfigError
from auricle.objectives.predictive.decoder import TransformerDecoder, TransformerDecoderConfig


@dataclass(frozen=True)
class WindowDecoderConfig(TransformerDecoderConfig):
    """Settings of a decoder with shifted local windows; the defaults are Audio-MAE's.

    Attributes:
        window: time steps and bands of a window.
        shift: (time steps, bands) that the windows of blocks 2, 4, ... are moved by, each below `window`.
    """

    depth: Count = 16
    window: Count = 4
    shift: tuple[Natural, Natural] = (2, 0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if max(self.shift) >= self.window:
            raise ConfigError(
                f"found windows of {self.window} tokens shifted by {self.shift}; expected shifts below the window"
            )


class WindowDecoder(TransformerDecoder):
    """A `TransformerDecoder` of window blocks.

    Class tokens lie in no window and take no part. Tokens of padding are not attended to.
    """

    config: WindowDecoderConfig

    def __init__(self, config: WindowDecoderConfig, width: int, generator: torch.Generator) -> None:
        super().__init__(config, width, generator)
        for name, parameter in self.named_parameters():
            if name.endswith("attention.table"):
                nn.init.trunc_normal_(parameter, std=0.02, a=-2.0, b=2.0, generator=generator)

    def _block(self, number: int) -> nn.Module:
        c, shift = self.config, self.config.shift if number % 2 else 0
        return WindowBlock(c.width, c.heads, c.window, shift, int(c.width * c.mlp_ratio), eps=1e-6)

    def forward(self, out: Tokens, valid: Tensor | None = None) -> Tokens:
        grid = out.grid
        image: Tensor = self._placed(out).unflatten(1, (grid.time, grid.freq))
        real = None if valid is None else valid.unflatten(1, (grid.time, grid.freq))
        for block in self.blocks:
            image, _ = block(image, real)
        return Tokens(self.norm(image).flatten(1, 2), grid, valid=valid)
