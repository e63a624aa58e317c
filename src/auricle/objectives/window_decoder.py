"""A decoder whose attention stays in small windows of the token grid, shifted in every second block.

Neighbouring patches of a spectrogram tell most about each other; global attention buys little there and costs the
square of the number of patches. Source: Audio-MAE, arXiv 2207.06405, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from auricle.encoders.contract import Encoder, Tokens
from auricle.encoders.shifted_windows import WindowBlock
from auricle.errors import ConfigError
from auricle.objectives.decoder import Decoder, DecoderConfig, fixed_positions, initialise_linear, restore, row_validity
from auricle.objectives.target import Scene


@dataclass(frozen=True)
class WindowDecoderConfig(DecoderConfig):
    """Settings of a decoder with shifted local windows; the defaults are Audio-MAE's.

    Attributes:
        width: W, a multiple of 4 and of `heads`.
        depth: blocks.
        heads: attention heads.
        window: time steps and bands of a window.
        shift: (time steps, bands) that the windows of blocks 2, 4, ... are moved by, each below `window`.
        mlp_ratio: feed-forward width over W.
    """

    width: int = 512
    depth: int = 16
    heads: int = 16
    window: int = 4
    shift: tuple[int, int] = (2, 0)
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        """Refuse widths that do not divide, and shifts that are none.

        Raises:
            ConfigError: naming them.
        """
        if self.depth < 1 or self.heads < 1 or self.width % self.heads or self.width % 4:
            raise ConfigError(
                f"found decoder width {self.width}, depth {self.depth}, heads {self.heads}; the width is a multiple of "
                "the heads and of 4, the others are at least 1"
            )
        if self.window < 1 or not all(0 <= shift < self.window for shift in self.shift):
            raise ConfigError(
                f"found windows of {self.window} shifted by {self.shift}; a window has at least 1 token a side, and "
                "its shift is from 0 to one less than that"
            )

    def build(self, encoder: Encoder, generator: torch.Generator) -> WindowDecoder:
        """Build the decoder, its weights drawn from the generator."""
        return WindowDecoder(self, encoder.width, generator)


class WindowDecoder(Decoder):
    """Projects to W, puts a mask vector in the places of dropped tokens, adds fixed sin-cos positions, runs the blocks.

    Class tokens lie in no window and are left out. Tokens of padding are not attended to.
    """

    no_decay = frozenset({"mask_token"})

    def __init__(self, config: WindowDecoderConfig, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.width = config.width
        self.embed = nn.Linear(width, config.width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.width))
        hidden = int(config.width * config.mlp_ratio)
        self.blocks = nn.ModuleList(
            WindowBlock(config.width, config.heads, config.window, config.shift if number % 2 else 0, hidden, eps=1e-6)
            for number in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width, eps=1e-6)
        self._tables: dict[tuple[int, int], Tensor] = {}
        initialise_linear(self, generator)
        with torch.no_grad():
            nn.init.normal_(self.mask_token, std=0.02, generator=generator)
            for name, parameter in self.named_parameters():
                if name.endswith("attention.table"):
                    nn.init.trunc_normal_(parameter, std=0.02, a=-2.0, b=2.0, generator=generator)

    def decode(self, scene: Scene) -> Tokens:
        """Decode a batch, blind to its padding."""
        return self(scene.out, row_validity(scene))

    def forward(self, out: Tokens, valid: Tensor | None = None) -> Tokens:
        """Turn the encoder's output into `(R, N, W)`.

        Args:
            out: the encoder's output.
            valid: `(R, N)` bool, False for places of padding, dropped or not; None: all are valid.
        """
        grid = out.grid
        x = restore(self.embed(out.x), out, self.mask_token)
        x = x + fixed_positions(self._tables, grid, self.width, x)
        image: Tensor = x.unflatten(1, (grid.time, grid.freq))
        real = None if valid is None else valid.unflatten(1, (grid.time, grid.freq))
        for block in self.blocks:
            image, _ = block(image, real)
        return Tokens(self.norm(image).flatten(1, 2), grid, valid=valid)
