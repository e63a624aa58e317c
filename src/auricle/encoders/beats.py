"""BEATs' encoder: spectrogram patches, convolutional positions, gated relative bias, DeepNorm.

Sources: BEATs, arXiv 2212.09058, section 3.1 and appendix A, and its released code; DeepNorm is arXiv 2203.00555.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from auricle.audio.batch import Features
from auricle.config import Count, Positive, ShareBelowOne
from auricle.encoders.contract import Ability, Encoder, EncoderConfig, Grid, Tokens, valid_positions
from auricle.encoders.parts.attention import key_mask
from auricle.encoders.parts.biased_block import BiasedBlock, BiasedBlocks
from auricle.encoders.parts.conv_position import ConvPosition, ConvPositionConfig, with_positions
from auricle.encoders.parts.relative_bias import RelativeBias
from auricle.errors import ConfigError


@dataclass(frozen=True)
class BEATsConfig(EncoderConfig):
    """Settings of BEATs' encoder. The defaults are the published size.

    Attributes:
        width: D, a multiple of `heads` and of the groups of `position`.
        embed: width of the patch embedding, which is normalised and then projected to D.
        depth: number of blocks.
        heads: attention heads.
        patch: size of a patch in (frames, mel bins); patches do not overlap.
        mels: mel bins of the input, a multiple of the patch's.
        frame_rate: frames per second of the front end.
        mlp_ratio: feed-forward width over D.
        position: the convolutional positions, over the patches in time-major order.
        buckets: of the relative positions, over the same order.
        max_distance: of the same; the released models have 800 (the released code's default is 1280).
        dropout: of the residual branches, and of the first block's input.
        attention_dropout: of attention weights.
        activation_dropout: within the feed-forward branches.
        layer_drop: chance that a block is skipped in training.
        eps: of the layer norms.
    """

    width: Count = 768
    embed: Count = 512
    depth: Count = 12
    heads: Count = 12
    patch: tuple[Count, Count] = (16, 16)
    mels: Count = 128
    frame_rate: Positive = 100.0
    mlp_ratio: Positive = 4.0
    position: ConvPositionConfig = field(default_factory=ConvPositionConfig)
    buckets: Count = 320
    max_distance: Count = 800
    dropout: ShareBelowOne = 0.1
    attention_dropout: ShareBelowOne = 0.1
    activation_dropout: ShareBelowOne = 0.0
    layer_drop: ShareBelowOne = 0.0
    eps: Positive = 1e-5

    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        # No dropout of attention weights: it would take most of the time on a CPU.
        "tiny": {"width": 192, "embed": 128, "depth": 8, "heads": 3, "attention_dropout": 0.0},
        "small": {"width": 384, "embed": 256, "depth": 12, "heads": 6, "attention_dropout": 0.0},
        "base": {},
    }

    def __post_init__(self) -> None:
        if int(self.width * self.mlp_ratio) < 1:
            raise ConfigError(f"mlp_ratio {self.mlp_ratio} leaves no feed-forward layer; raise it")
        if self.width % self.heads or self.width % self.position.groups:
            raise ConfigError(
                f"width {self.width} must be a multiple of heads ({self.heads}) and of the groups of the positions "
                f"({self.position.groups})"
            )
        if self.mels % self.patch[1]:
            raise ConfigError(f"mels {self.mels} must be a multiple of the patch height {self.patch[1]}")


class BEATs(Encoder):
    """Patches -> norm -> projection; convolutional positions; post-norm blocks, each with its own gate of the bias.

    The bias table is shared by all layers; distances are those along the flattened grid, as published.

    Pre-training encodes visible patches only, and its code is not public. Here, dropped patches are handled as in
    data2vec 2.0 (see `with_positions`): positions are convolved over the full grid with zeros at hidden patches, and
    the relative bias keeps the original distances. Nothing hidden leaks, and encoding all patches equals dropping none.

    `contextualize` adds the positions. Frames beyond the last whole patch are not read (998 frames give 62 steps). A
    token is valid if its whole patch is. A block skipped by layer drop passes its input on and has no feed-forward
    output. The clip vector is the mean of the valid tokens, as the released classifier averages its logits.
    """

    def __init__(self, config: BEATsConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.width, self.depth, self.bands = config.width, config.depth, config.mels
        self.input_rate, self.least_frames = config.frame_rate, config.patch[0]
        self.abilities = frozenset({Ability.MASK, Ability.DROP, Ability.EXACT_PADDING})
        self.dropout = config.dropout
        D, eps = config.width, config.eps
        # A linear layer on flattened patches equals a strided convolution, and is a plain matmul.
        self.patch_embed = nn.Linear(config.patch[0] * config.patch[1], config.embed, bias=False)
        self.patch_norm = nn.LayerNorm(config.embed, eps=eps)
        self.projection = nn.Linear(config.embed, D)
        self.position = ConvPosition(config.position, D)
        self.norm = nn.LayerNorm(D, eps=eps)
        self.relative = RelativeBias(config.heads, config.buckets, config.max_distance)
        blocks = [
            BiasedBlock(
                D,
                config.heads,
                int(D * config.mlp_ratio),
                gate="query",
                residual_scale=(2 * config.depth) ** 0.25,
                dropout=config.dropout,
                attention_dropout=config.attention_dropout,
                activation_dropout=config.activation_dropout,
                eps=eps,
            )
            for _ in range(config.depth)
        ]
        self.blocks = BiasedBlocks(blocks, config.layer_drop)
        self.initialise(generator)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights: DeepNorm's Xavier normal in the blocks, uniform by fan-in before them."""
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        for linear in (self.patch_embed, self.projection):
            bound = linear.in_features**-0.5
            nn.init.uniform_(linear.weight, -bound, bound, generator=generator)
        nn.init.zeros_(self.projection.bias)
        self.position.initialise(generator)
        self.relative.initialise(generator)
        self.patch_norm.reset_parameters()
        self.norm.reset_parameters()
        self.blocks.initialise(generator, deep=(8 * self.config.depth) ** -0.25)

    def grid(self, frames: int) -> Grid:
        time, freq = self.config.patch
        return Grid(frames // time, self.config.mels // freq, self.config.frame_rate / time)

    def tokenize(self, features: Features) -> Tokens:
        self.check_input(features)
        x, (time, freq) = features.x, self.config.patch
        grid = self.grid(x.shape[1])
        patches = x[:, : grid.time * time].unflatten(2, (grid.freq, freq)).unflatten(1, (grid.time, time))
        y = self.patch_embed(patches.transpose(2, 3).reshape(x.shape[0], grid.tokens, time * freq))
        # Under autocast the residual stream stays in the parameters' precision; only the branches are narrowed.
        y = self.projection(self.patch_norm(y)).to(self.projection.weight.dtype)
        return Tokens(y, grid, valid=valid_positions(features.lengths // time, grid.time, grid.freq))

    def contextualize(self, tokens: Tokens, layers: Sequence[int] = ()) -> Tokens:
        self.check_layers(layers)
        x = F.dropout(self.norm(with_positions(tokens, self.position)), self.dropout, self.training)
        N = tokens.grid.tokens
        places = torch.arange(N, device=x.device)[None] if tokens.index is None else tokens.index
        mask, bias = key_mask(tokens.valid), self.relative(places, N)
        x, hidden = self.blocks(x, tokens.grid, layers, mask, bias)
        return replace(tokens, x=x, layers=hidden)
