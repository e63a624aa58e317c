"""A vision transformer over spectrogram patches, with the options that AudioMosaic needs.

Source: AudioMosaic, arXiv 2605.14231, section 3 and its released code; the vision transformer is arXiv 2010.11929.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.audio.batch import Features
from auricle.config import nearest
from auricle.encoders.contract import Ability, Encoder, EncoderConfig, Grid, Layer, Tokens
from auricle.encoders.positions import sincos_grid
from auricle.encoders.transformer_block import TransformerBlock
from auricle.errors import ConfigError

SIZES: dict[str, dict[str, int]] = {
    "tiny": {"width": 192, "depth": 12, "heads": 3},
    "small": {"width": 384, "depth": 12, "heads": 6},
    "base": {"width": 768, "depth": 12, "heads": 12},
}


@dataclass(frozen=True)
class SpectrogramTransformerConfig(EncoderConfig):
    """Settings of a spectrogram transformer.

    Attributes:
        width: D, a multiple of `heads` and of 4.
        depth: number of blocks.
        heads: attention heads.
        patch: size of a patch in (frames, mel bins); patches do not overlap.
        mels: mel bins of the input, a multiple of the patch's.
        frames: longest input in frames; it fixes the grid of learned positions.
        frame_rate: frames per second of the front end.
        mlp_ratio: feed-forward width over D.
        patch_norm: LayerNorm right after the patch projection.
        pre_norm: LayerNorm after the positions, before the first block.
        final: `fc_norm` normalises the pooled vector only; `norm` normalises every token after the last block.
        cls: prepend a class token.
        pooling: `mean_with_cls` (class token and valid tokens together), `mean`, or `cls`.
        positions: only `learned`.
        position_init_grid: `true` starts positions from sin-cos on the tokens' own (time, freq) grid; `released` on the
            transposed record that AudioMosaic's code uses (8 rows of 64 for a 64 x 8 grid).
        drop_path: stochastic depth at the last block, rising linearly from 0 at the first.
        eps: of the layer norms.
    """

    width: int = 192
    depth: int = 12
    heads: int = 3
    patch: tuple[int, int] = (16, 16)
    mels: int = 128
    frames: int = 1024
    frame_rate: float = 100.0
    mlp_ratio: float = 4.0
    patch_norm: bool = True
    pre_norm: bool = True
    final: Literal["fc_norm", "norm"] = "fc_norm"
    cls: bool = True
    pooling: Literal["mean_with_cls", "mean", "cls"] = "mean_with_cls"
    positions: Literal["learned"] = "learned"
    position_init_grid: Literal["true", "released"] = "true"
    drop_path: float = 0.1
    eps: float = 1e-6

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other.

        Raises:
            ConfigError: naming the setting and what it must fit.
        """
        if self.depth < 1 or self.heads < 1 or self.width < 1:
            raise ConfigError(
                f"found width {self.width}, depth {self.depth}, heads {self.heads}; each must be at least 1"
            )
        if self.width % self.heads or self.width % 4:
            raise ConfigError(f"width {self.width} must be a multiple of heads ({self.heads}) and of 4")
        if self.mels % self.patch[1]:
            raise ConfigError(f"mels {self.mels} must be a multiple of the patch height {self.patch[1]}")
        if self.frames % self.patch[0] or self.frames < self.patch[0]:
            raise ConfigError(f"frames {self.frames} must be a multiple of the patch length {self.patch[0]}")
        if not 0.0 <= self.drop_path < 1.0:
            raise ConfigError(f"drop_path {self.drop_path} must lie in [0, 1)")
        if self.pooling != "mean" and not self.cls:
            raise ConfigError(f"pooling {self.pooling!r} reads the class token, but cls is False; use 'mean'")
        for name, known in (
            ("final", ("fc_norm", "norm")),
            ("pooling", ("mean_with_cls", "mean", "cls")),
            ("positions", ("learned",)),
            ("position_init_grid", ("true", "released")),
        ):
            if getattr(self, name) not in known:
                raise ConfigError(f"unknown {name} {getattr(self, name)!r}{nearest(str(getattr(self, name)), known)}")

    @classmethod
    def size(cls, name: str, **changes: Any) -> SpectrogramTransformerConfig:
        """Return the settings of a named size (`tiny`, `small`, `base`), with any others changed.

        Raises:
            ConfigError: no such size.
        """
        if name not in SIZES:
            raise ConfigError(f"unknown size {name!r}{nearest(name, SIZES)}")
        return cls(**{**SIZES[name], **changes})

    def build(self, generator: torch.Generator | None = None) -> SpectrogramTransformer:
        """Build the encoder with fresh weights, drawn from `generator` (None: one seeded with 0)."""
        return SpectrogramTransformer(self, generator)


class SpectrogramTransformer(Encoder):
    """Patches of a spectrogram, learned positions, pre-norm transformer blocks.

    Inputs shorter than `config.frames` use the first columns of the positions. Frames are padded to whole patches with
    the features' own pad value. A token is valid if its patch holds at least one valid frame; invalid tokens are never
    attended to and never pooled.

    Attributes:
        no_decay: parameters that weight decay leaves alone, beside all one-dimensional ones.
    """

    no_decay = frozenset({"cls_token", "positions"})

    def __init__(self, config: SpectrogramTransformerConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.width, self.depth, self.max_frames = config.width, config.depth, config.frames
        self.bands, self.input_rate = config.mels, config.frame_rate
        abilities = {Ability.DROP, Ability.MASK, Ability.EXACT_PADDING} | ({Ability.CLS} if config.cls else set())
        self.abilities = frozenset(abilities)  # type: ignore[misc]  # depends on the settings
        D, eps = config.width, config.eps
        # A linear layer on flattened patches: the same numbers as a strided convolution, and a plain matmul.
        self.patch_proj = nn.Linear(config.patch[0] * config.patch[1], D)
        self.patch_norm = nn.LayerNorm(D, eps=eps) if config.patch_norm else nn.Identity()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, D)) if config.cls else None
        self.positions = nn.Parameter(torch.zeros(1, int(config.cls) + self.grid(config.frames).tokens, D))
        self.norm_pre = nn.LayerNorm(D, eps=eps) if config.pre_norm else nn.Identity()
        rates = torch.linspace(0, config.drop_path, config.depth, dtype=torch.float64).tolist()
        hidden = int(D * config.mlp_ratio)
        self.blocks = nn.ModuleList(TransformerBlock(D, config.heads, hidden, rate, eps) for rate in rates)
        self.norm = nn.LayerNorm(D, eps=eps) if config.final == "norm" else nn.Identity()
        self.fc_norm = nn.LayerNorm(D, eps=eps) if config.final == "fc_norm" else nn.Identity()
        self.initialise(generator)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights: truncated normal of std 0.02, zero biases, unit norms, sin-cos positions.

        Args:
            generator: CPU generator; None: one seeded with 0, so that equal settings build equal weights.
        """
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02, a=-2.0, b=2.0, generator=generator)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()
        if self.cls_token is not None:
            nn.init.normal_(self.cls_token, std=1e-6, generator=generator)
        grid = self.grid(self.config.frames)
        true = self.config.position_init_grid == "true"
        table = sincos_grid(*((grid.time, grid.freq) if true else (grid.freq, grid.time)), self.width)
        self.positions.zero_()
        self.positions[0, int(self.config.cls) :] = table.to(self.positions.dtype)

    def grid(self, frames: int) -> Grid:
        """Return the token grid of an input of so many frames: whole patches, the last one padded."""
        time, freq = self.config.patch
        return Grid(-(-frames // time), self.config.mels // freq, self.config.frame_rate / time)

    def tokenize(self, features: Features) -> Tokens:
        """Turn features `(B, T', F')` into patch tokens `(B, N, D)` with positions added.

        Raises:
            ConfigError: the features have other mel bins or another frame rate than the settings, or are too long.
        """
        x, config = features.x, self.config
        self.check_input(features)
        grid = self.grid(x.shape[1])
        time, freq = config.patch
        missing = grid.time * time - x.shape[1]
        if missing:
            x = F.pad(x, (0, 0, 0, missing), value=features.pad)
        patches = x.unflatten(2, (grid.freq, freq)).unflatten(1, (grid.time, time)).transpose(2, 3)
        y = self.patch_norm(self.patch_proj(patches.reshape(x.shape[0], grid.tokens, time * freq)))
        skip = int(config.cls)
        positions = self.positions[:, skip : skip + grid.tokens]
        y = y + positions
        cls = None if self.cls_token is None else (self.cls_token + self.positions[:, :1]).expand(y.shape[0], -1, -1)
        return Tokens(y, grid, valid=self._valid(features.lengths, grid), cls=cls, positions=positions)

    def _valid(self, lengths: Tensor, grid: Grid) -> Tensor | None:
        start = torch.arange(grid.time, device=lengths.device) * self.config.patch[0]
        columns = start < lengths.unsqueeze(1)
        # No mask at all when nothing is padded: attention without a mask is the faster kernel.
        return None if bool(columns.all()) else columns.repeat_interleave(grid.freq, 1)

    def contextualize(self, tokens: Tokens, layers: Sequence[int] = ()) -> Tokens:
        """Run the blocks on the tokens that are there; dropped ones cost nothing.

        Raises:
            ConfigError: a layer outside 0 ... depth is asked for.
        """
        self.check_layers(layers)
        skip = 0 if tokens.cls is None else tokens.cls.shape[1]
        x = tokens.x if tokens.cls is None else torch.cat([tokens.cls, tokens.x], 1)
        x = self.norm_pre(x)
        mask = None if tokens.valid is None else _key_mask(tokens.valid, skip)
        seen: dict[int, Layer] = {}

        def keep(layer: int, block: Tensor, feedforward: Tensor | None) -> None:
            if layer in layers:
                cls = block[:, :skip] if skip else None
                branch = None if feedforward is None else feedforward[:, skip:]
                seen[layer] = Layer(block[:, skip:], tokens.grid, branch, cls)

        keep(0, x, None)
        for number, block in enumerate(self.blocks, 1):
            x, feedforward = block(x, mask)
            keep(number, x, feedforward)
        x = self.norm(x)
        hidden = tuple(seen[layer] for layer in layers) if layers else None
        return replace(tokens, x=x[:, skip:], cls=x[:, :skip] if skip else None, layers=hidden)

    def pool(self, tokens: Tokens) -> Tensor:
        """Return the clip vector `(B, D)`: pooled as the settings say, then `fc_norm`."""
        if self.config.pooling == "cls" and tokens.cls is not None:
            return self.fc_norm(tokens.cls[:, 0])
        if self.config.pooling == "mean_with_cls" and tokens.cls is not None and tokens.valid is None:
            # The same mean as `Tokens.mean`, without joining what the blocks' output was just split into.
            count = tokens.cls.shape[1] + tokens.x.shape[1]
            return self.fc_norm((tokens.cls.sum(1) + tokens.x.sum(1)) / count)
        return self.fc_norm(tokens.mean(with_cls=self.config.pooling == "mean_with_cls"))


def _key_mask(valid: Tensor, cls: int) -> Tensor:
    """Return `(B, 1, 1, P + N)`, True where keys may be attended to.

    A row without any valid key would make the softmax 0/0; such rows attend to all, and are never pooled.
    """
    valid = torch.cat([valid.new_ones(valid.shape[0], cls), valid], 1) if cls else valid
    return (valid | ~valid.any(1, keepdim=True))[:, None, None]
