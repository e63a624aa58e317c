"""Conformer: attention and convolution in one block, on log-mel frames at a quarter of their rate.

Sources: Conformer, arXiv 2005.08100 (sizes S, M and L in its Table 1); BigSSL, arXiv 2109.13226 (XL, XXL and G: without
relative positions, kernel 5); used by w2v-BERT, arXiv 2108.06209, BEST-RQ, arXiv 2202.01855, and MusicFM, arXiv
2311.03318.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from auricle.audio.batch import Features
from auricle.config import Count, Positive, ShareBelowOne
from auricle.encoders.contract import Ability, Encoder, EncoderConfig, Grid, Layer, Tokens, valid_positions
from auricle.encoders.parts.attention import key_mask
from auricle.encoders.parts.conformer_attention import place_table
from auricle.encoders.parts.conformer_block import ConformerBlock
from auricle.encoders.parts.frame_subsampling import FrameSubsampling
from auricle.errors import ConfigError


@dataclass(frozen=True)
class ConformerConfig(EncoderConfig):
    """Settings of a Conformer.

    Sizes: `small`, `base` and `large` are the paper's S, M and L (blocks of 8.1, 25.4 and 107.5 M parameters); `xl`,
    `xxl` and `g` are BigSSL's (580 M, 1.01 B, 7.8 B); `tiny` (2.1 M in all) is ours, for CPUs.

    Attributes:
        width: D, a multiple of `heads`.
        depth: number of blocks.
        heads: attention heads.
        kernel: of the depthwise convolution. The paper has 32, its reimplementations 31.
        mels: mel bins of the input.
        frame_rate: frames per second of the front end.
        subsampling: `conv2d` (padded: ceil(T' / 4) tokens), `conv2d_valid` (unpadded), `stack` of four frames, `none`;
            see `FrameSubsampling`.
        channels: of the subsampling convolutions; None: D, as published.
        mlp_ratio: feed-forward width over D.
        positions: `relative` (published), `rotary`, `rotary_before` (rotated before the projections, as in
            transformers) or `none` (BigSSL).
        conv_norm: norm of the convolution module: `batch` (published), `layer` or `group`.
        final_norm: one more LayerNorm after the last block, as in wav2vec 2.0's Conformer.
        causal: no token depends on a later frame; needs `conv_norm='layer'` (the others mix time steps in training).
        dropout: on every branch before it is added, and inside the feed-forward layers.
        eps: of the layer norms.
    """

    width: Count = 144
    depth: Count = 4
    heads: Count = 4
    kernel: Count = 31
    mels: Count = 80
    frame_rate: Positive = 100.0
    subsampling: Literal["conv2d", "conv2d_valid", "stack", "none"] = "conv2d"
    channels: Count | None = None
    mlp_ratio: Positive = 4.0
    positions: Literal["relative", "rotary", "rotary_before", "none"] = "relative"
    conv_norm: Literal["batch", "layer", "group"] = "batch"
    final_norm: bool = False
    causal: bool = False
    dropout: ShareBelowOne = 0.1
    eps: Positive = 1e-5

    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"width": 144, "depth": 4, "heads": 4, "channels": 32},
        "small": {"width": 144, "depth": 16, "heads": 4},
        "base": {"width": 256, "depth": 16, "heads": 4},
        "large": {"width": 512, "depth": 17, "heads": 8},
        "xl": {"width": 1024, "depth": 24, "heads": 8, "kernel": 5, "positions": "none"},
        "xxl": {"width": 1024, "depth": 42, "heads": 8, "kernel": 5, "positions": "none"},
        "g": {"width": 3072, "depth": 36, "heads": 16, "kernel": 5, "positions": "none"},
    }

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ConfigError(f"width {self.width} must be a multiple of heads ({self.heads})")
        if self.positions == "relative" and self.width % 2:
            raise ConfigError(f"width {self.width} must be even for relative positions")
        if self.positions.startswith("rotary") and self.width // self.heads % 2:
            raise ConfigError(f"the width of a head, {self.width // self.heads}, must be even for rotary positions")
        if self.mlp_ratio * self.width < 1:
            raise ConfigError(f"mlp_ratio {self.mlp_ratio} leaves no feed-forward layer; the paper has 4")
        if self.subsampling == "conv2d_valid" and self.mels < 7:
            raise ConfigError(f"found {self.mels} mel bins, expected at least 7 for two convolutions without padding")
        if self.causal and self.conv_norm != "layer":
            raise ConfigError(
                f"conv_norm {self.conv_norm!r} mixes earlier and later frames; a causal Conformer needs 'layer'"
            )


class Conformer(Encoder):
    """Subsampled log-mel frames and Conformer blocks.

    Tokens can be replaced by a mask vector after the subsampling, but not dropped: the convolutions need neighbours.
    Positions are part of the attention, so `Tokens.positions` is None. Padding is exact in every setting: padded frames
    are zeroed before each convolution, and norms over time leave them out of their statistics (also batch norm in
    training).

    `Layer.feedforward` is the branch of the second feed-forward, before it is halved and added. The paper defines no
    clip vector; the mean of the valid tokens is used.
    """

    def __init__(self, config: ConformerConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        D = config.width
        self.width, self.depth = D, config.depth
        self.bands, self.input_rate = config.mels, config.frame_rate
        abilities = {Ability.MASK, Ability.EXACT_PADDING} | ({Ability.CAUSAL} if config.causal else set())
        self.abilities = frozenset(abilities)
        channels = D if config.channels is None else config.channels
        self.subsampling = FrameSubsampling(config.subsampling, config.mels, D, channels, config.causal)
        self.least_frames = self.subsampling.least_frames
        self.blocks = nn.ModuleList(
            ConformerBlock(
                D,
                config.heads,
                int(D * config.mlp_ratio),
                config.kernel,
                config.positions,
                config.conv_norm,
                config.causal,
                config.dropout,
                config.eps,
            )
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(D, eps=config.eps) if config.final_norm else nn.Identity()
        self.initialise(generator)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights: Xavier uniform for linear layers and position vectors, He uniform for convolutions.

        The paper does not specify the initialisation; biases are zero and norms one.
        """
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                nn.init.xavier_uniform_(parameter, generator=generator)
            elif parameter.dim() > 2:
                nn.init.kaiming_uniform_(parameter, nonlinearity="relu", generator=generator)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def grid(self, frames: int) -> Grid:
        return Grid(self.subsampling.count(frames), 1, self.config.frame_rate / self.subsampling.factor)

    def tokenize(self, features: Features) -> Tokens:
        self.check_input(features)
        grid = self.grid(features.x.shape[1])
        x = self.subsampling(features.x, features.lengths, features.pad)
        return Tokens(x, grid, valid=valid_positions(self.subsampling.counts(features.lengths), grid.time))

    def contextualize(self, tokens: Tokens, layers: Sequence[int] = ()) -> Tokens:
        self.check_layers(layers)
        self.check_all_tokens(tokens)
        x, real = tokens.x, tokens.valid
        places = place_table(x, self.config.heads, self.config.positions)
        mask = key_mask(real)
        if self.config.causal:
            previous = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()[None, None]
            mask = previous if mask is None else previous & mask
        seen = {0: Layer(x, tokens.grid)}
        for number, block in enumerate(self.blocks, 1):
            x, feedforward = block(x, places, mask, real)
            if number in layers:
                seen[number] = Layer(x, tokens.grid, feedforward)
        hidden = tuple(seen[layer] for layer in layers) if layers else None
        return replace(tokens, x=self.norm(x), layers=hidden)
