"""A decoder whose attention stays in small windows of the token grid, shifted in every second block.

Neighbouring patches of a spectrogram tell most about each other; global attention buys little there and costs the
square of the number of patches. Source: Audio-MAE, arXiv 2207.06405, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from auricle.encoders.contract import Encoder, Tokens
from auricle.encoders.parts.shifted_windows import WindowBlock
from auricle.errors import ConfigError
from auricle.objectives.predictive.decoder import TransformerDecoder, TransformerDecoderConfig


@dataclass(frozen=True)
class WindowDecoderConfig(TransformerDecoderConfig):
    """Settings of a decoder with shifted local windows; the defaults are Audio-MAE's.

    Attributes:
        width: W, a multiple of 4 and of `heads`.
        depth: blocks.
        heads: attention heads.
        mlp_ratio: feed-forward width over W.
        window: time steps and bands of a window.
        shift: (time steps, bands) that the windows of blocks 2, 4, ... are moved by, each below `window`.
    """

    width: int = 512
    depth: int = 16
    heads: int = 16
    mlp_ratio: float = 4.0
    window: int = 4
    shift: tuple[int, int] = (2, 0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window < 1 or not all(0 <= shift < self.window for shift in self.shift):
            raise ConfigError(
                f"found windows of {self.window} shifted by {self.shift}; a window has at least 1 token a side, and "
                "its shift is from 0 to one less than that"
            )


class WindowDecoder(TransformerDecoder):
    """Projects to W, puts a mask vector in the places of dropped tokens, adds fixed sin-cos positions, runs the blocks.

    Class tokens lie in no window and are left out. Tokens of padding are not attended to.
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
