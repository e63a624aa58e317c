"""BEATs' encoder: spectrogram patches, convolutional positions, gated relative bias, DeepNorm.

Sources: BEATs, arXiv 2212.09058, section 3.1 and appendix A, and its released code; DeepNorm is arXiv 2203.00555.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.audio.batch import Features
from auricle.config import nearest
from auricle.encoders.contract import Ability, Encoder, EncoderConfig, Grid, Tokens
from auricle.encoders.parts.biased_block import BiasedBlock, BiasedBlocks, key_mask
from auricle.encoders.parts.conv_position import ConvPosition, ConvPositionConfig, with_positions
from auricle.encoders.parts.relative_bias import RelativeBias
from auricle.errors import ConfigError

SIZES: dict[str, dict[str, Any]] = {
    # The small ones leave attention weights whole: dropping them is what costs most on a CPU.
    "tiny": {"width": 192, "embed": 128, "depth": 8, "heads": 3, "attention_dropout": 0.0},
    "small": {"width": 384, "embed": 256, "depth": 12, "heads": 6, "attention_dropout": 0.0},
    "base": {},
}


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

    width: int = 768
    embed: int = 512
    depth: int = 12
    heads: int = 12
    patch: tuple[int, int] = (16, 16)
    mels: int = 128
    frame_rate: float = 100.0
    mlp_ratio: float = 4.0
    position: ConvPositionConfig = field(default_factory=ConvPositionConfig)
    buckets: int = 320
    max_distance: int = 800
    dropout: float = 0.1
    attention_dropout: float = 0.1
    activation_dropout: float = 0.0
    layer_drop: float = 0.0
    eps: float = 1e-5

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other.

        Raises:
            ConfigError: naming the setting and what it must fit.
        """
        if min(self.width, self.embed, self.depth, self.heads, *self.patch) < 1 or int(self.width * self.mlp_ratio) < 1:
            raise ConfigError(
                f"found width {self.width}, embed {self.embed}, depth {self.depth}, heads {self.heads}, patch "
                f"{self.patch}, mlp_ratio {self.mlp_ratio}; each must be at least 1"
            )
        if self.width % self.heads or self.width % self.position.groups:
            raise ConfigError(
                f"width {self.width} must be a multiple of heads ({self.heads}) and of the groups of the positions "
                f"({self.position.groups})"
            )
        if self.mels < 1 or self.mels % self.patch[1]:
            raise ConfigError(f"mels {self.mels} must be a positive multiple of the patch height {self.patch[1]}")
        for name in ("dropout", "attention_dropout", "activation_dropout", "layer_drop"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ConfigError(f"{name} {getattr(self, name)} must lie in [0, 1)")

    @classmethod
    def size(cls, name: str, **changes: Any) -> BEATsConfig:
        """Return the settings of a named size (`tiny`, `small`, `base`), with any others changed.

        Raises:
            ConfigError: no such size.
        """
        if name not in SIZES:
            raise ConfigError(f"unknown size {name!r}{nearest(name, SIZES)}")
        return cls(**{**SIZES[name], **changes})

    def build(self, generator: torch.Generator | None = None) -> BEATs:
        """Build the encoder with fresh weights, drawn from `generator` (None: one seeded with 0)."""
        return BEATs(self, generator)


class BEATs(Encoder):
    """Patches -> norm -> projection; convolutional positions; post-norm blocks whose bias each layer gates by itself.

    The bias table is shared by all layers; it knows distances along the flattened grid only, as published.

    Pre-training encodes visible patches alone, and its code is not public. Here, dropped patches enter as in data2vec
    2.0 (see `with_positions`): positions are convolved over the full grid with zeros where patches are hidden, and
    the relative bias keeps the distances of the original places. So nothing hidden leaks, and encoding all patches is
    the same as dropping none.

    Frames beyond the last whole patch are not read (998 frames give 62 steps). A token is valid if its whole patch is.
    """

    def __init__(self, config: BEATsConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.width, self.depth, self.bands = config.width, config.depth, config.mels
        self.input_rate, self.least_frames = config.frame_rate, config.patch[0]
        self.abilities = frozenset({Ability.MASK, Ability.DROP, Ability.EXACT_PADDING})  # type: ignore[misc]
        self.dropout = config.dropout
        D, eps = config.width, config.eps
        # A linear layer on flattened patches: the same numbers as a strided convolution, and a plain matmul.
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
        """Return the token grid of an input of so many frames: whole patches only."""
        time, freq = self.config.patch
        return Grid(frames // time, self.config.mels // freq, self.config.frame_rate / time)

    def tokenize(self, features: Features) -> Tokens:
        """Turn features `(B, T', F')` into patch tokens `(B, N, D)`; positions are added by `contextualize`.

        Raises:
            ConfigError: the features have other mel bins or another frame rate, or no whole patch.
        """
        self.check_input(features)
        x, (time, freq) = features.x, self.config.patch
        grid = self.grid(x.shape[1])
        patches = x[:, : grid.time * time].unflatten(2, (grid.freq, freq)).unflatten(1, (grid.time, time))
        y = self.patch_embed(patches.transpose(2, 3).reshape(x.shape[0], grid.tokens, time * freq))
        # Under autocast the residual stream stays in the parameters' precision; only the branches are narrowed.
        y = self.projection(self.patch_norm(y)).to(self.projection.weight.dtype)
        ends = torch.arange(1, grid.time + 1, device=features.lengths.device) * time
        columns = ends <= features.lengths.unsqueeze(1)
        valid = None if bool(columns.all()) else columns.repeat_interleave(grid.freq, 1)
        return Tokens(y, grid, valid=valid)

    def contextualize(self, tokens: Tokens, layers: Sequence[int] = ()) -> Tokens:
        """Add positions and run the blocks on the tokens that are there.

        A block that layer drop skips passes its input on and has no feed-forward output.

        Raises:
            ConfigError: a layer outside 0 ... depth is asked for.
        """
        self.check_layers(layers)
        x = F.dropout(self.norm(with_positions(tokens, self.position)), self.dropout, self.training)
        N = tokens.grid.tokens
        places = torch.arange(N, device=x.device)[None] if tokens.index is None else tokens.index
        mask, bias = key_mask(tokens.valid), self.relative(places, N)
        x, hidden = self.blocks(x, tokens.grid, layers, mask, bias)
        return replace(tokens, x=x, layers=hidden)

    def pool(self, tokens: Tokens) -> Tensor:
        """Return the mean of the valid tokens, `(B, D)`, as the released classifier averages its logits."""
        return tokens.mean()
