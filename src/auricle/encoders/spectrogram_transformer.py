"""A transformer over the patches or the frames of a spectrogram, with the options of its published variants.

Sources: the vision transformer, arXiv 2010.11929; AudioMosaic, arXiv 2605.14231, section 3 and its released code.
`auricle.encoders.spectrogram_layouts` has the settings of other published encoders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.audio.batch import Features
from auricle.config import Count, NonNegative, Positive, ShareBelowOne
from auricle.encoders.contract import Ability, Encoder, EncoderConfig, Grid, Layer, Tokens, valid_positions
from auricle.encoders.parts.attention import key_mask
from auricle.encoders.parts.batch_norm import BinNorm
from auricle.encoders.parts.conv_position import ConvPosition, ConvPositionConfig, with_positions
from auricle.encoders.parts.first_weights import LinearInit, draw_linear
from auricle.encoders.parts.positions import PositionGrid, sincos_tokens, sinusoid_table
from auricle.encoders.parts.spectrogram_patches import Patches, frequency_means
from auricle.encoders.parts.transformer_block import TransformerBlock
from auricle.errors import ConfigError


@dataclass(frozen=True)
class SpectrogramTransformerConfig(EncoderConfig):
    """Settings of a spectrogram transformer.

    Attributes:
        width: D, a multiple of `heads` and of 4.
        depth: number of layers.
        heads: attention heads.
        patch: size of a patch in (frames, mel bins); (1, mels) makes every frame a token.
        stride: (frames, mel bins) from a patch to the next; None: the patch's size. With smaller ones patches overlap
            (AST): only whole patches count, and tokens can be neither dropped nor masked, as neighbours share content.
        mels: mel bins of the input, a multiple of the patch's unless patches overlap.
        frames: longest input in frames, the size of the position table.
        frame_rate: frames per second of the front end.
        mlp_ratio: feed-forward width over D.
        qkv_bias: queries, keys and values have a bias (not in ATST).
        attention_gate: the output of attention is gated by its input (BAT; see `TransformerBlock`).
        block_norm: `pre`: norms before attention and feed-forward; `post`: after their residual sums.
        shared_layers: all layers share one block (Audio ALBERT).
        layer_scale: initial value of a learned factor per channel on each branch; None: no such factors.
        input_norm: `batch`: batch norm of each mel bin over the valid frames (Dasheng).
        patch_norm: LayerNorm right after the patch projection.
        pre_norm: LayerNorm after the positions, before the first block.
        final: `fc_norm` normalises the pooled vector only; `norm` normalises every token after the last block; `none`.
        cls: prepend class tokens.
        class_tokens: how many, P (2: class and distillation token of DeiT, AST, SSAST).
        cls_std: standard deviation of fresh class tokens.
        pooling: `mean_with_cls` (class tokens and valid tokens together), `mean`, `cls` (the first class token),
            `mean_of_cls`, or `concat_freq` (the frequency tokens of a time step side by side, averaged over time: a
            clip vector of F * D).
        positions: `learned` (one table), `learned_separate` (a table of times plus one of frequencies), `sincos`
            (fixed, two axes), `sinusoid` (fixed, one axis: the tokens in their order, all bands of a time step before
            the next), or `conv` (a convolution along time over the first block's input, for tokens that span all mel
            bins; DeCoAR 2.0). Class tokens have a position with `learned` only.
        conv_position: of positions `conv`.
        position_init: initial learned positions: `sincos`, or `normal` of std 0.02 (always for separate ones).
        position_init_grid: of sin-cos positions, fixed or initial: `true`, or `released` (the transposed grid of the
            code of Audio-MAE and AudioMosaic; see `auricle.encoders.parts.positions`).
        init: first weights of all linear layers but the patch projection.
        patch_init: first weights of the patch projection.
        dropout: of the first block's input and of every branch.
        attention_dropout: of attention weights.
        layer_drop: chance that a layer is skipped in training; its feed-forward output is None then.
        drop_path: stochastic depth at the last block, rising linearly from 0 at the first.
        eps: of the layer norms.
    """

    width: Count = 192
    depth: Count = 12
    heads: Count = 3
    patch: tuple[Count, Count] = (16, 16)
    stride: tuple[Count, Count] | None = None
    mels: Count = 128
    frames: Count = 1024
    frame_rate: Positive = 100.0
    mlp_ratio: Positive = 4.0
    qkv_bias: bool = True
    attention_gate: bool = False
    block_norm: Literal["pre", "post"] = "pre"
    shared_layers: bool = False
    layer_scale: float | None = None
    input_norm: Literal["none", "batch"] = "none"
    patch_norm: bool = True
    pre_norm: bool = True
    final: Literal["fc_norm", "norm", "none"] = "fc_norm"
    cls: bool = True
    class_tokens: Count = 1
    cls_std: NonNegative = 1e-6
    pooling: Literal["mean_with_cls", "mean", "cls", "mean_of_cls", "concat_freq"] = "mean_with_cls"
    positions: Literal["learned", "learned_separate", "sincos", "sinusoid", "conv"] = "learned"
    conv_position: ConvPositionConfig = field(default_factory=ConvPositionConfig)
    position_init: Literal["sincos", "normal"] = "sincos"
    position_init_grid: PositionGrid = "true"
    init: LinearInit = "trunc_normal"
    patch_init: LinearInit = "trunc_normal"
    dropout: ShareBelowOne = 0.0
    attention_dropout: ShareBelowOne = 0.0
    layer_drop: ShareBelowOne = 0.0
    drop_path: ShareBelowOne = 0.1
    eps: Positive = 1e-6

    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"width": 192, "depth": 12, "heads": 3},
        "small": {"width": 384, "depth": 12, "heads": 6},
        "base": {"width": 768, "depth": 12, "heads": 12},
        "large": {"width": 1024, "depth": 24, "heads": 16},
    }

    def __post_init__(self) -> None:
        if self.width % self.heads or self.width % 4:
            raise ConfigError(f"width {self.width} must be a multiple of heads ({self.heads}) and of 4")
        self.cut.check(self.mels, self.frames)
        if self.positions == "conv" and self.cut.rows(self.mels) > 1:
            raise ConfigError(
                f"positions 'conv' run along time only, found patches of {self.patch[1]} of {self.mels} mel bins; use "
                "patches of all bins, or 'sincos'"
            )
        if self.shared_layers and self.drop_path:
            raise ConfigError(
                f"drop_path {self.drop_path} rises from layer to layer, but shared_layers has one block for all; set 0"
            )
        if self.pooling in ("mean_with_cls", "cls", "mean_of_cls") and not self.cls:
            raise ConfigError(f"pooling {self.pooling!r} reads the class token, but cls is False; use 'mean'")
        if self.pooling == "concat_freq" and self.final == "fc_norm":
            raise ConfigError("pooling 'concat_freq' gives vectors of F * D, final 'fc_norm' normalises D; use 'norm'")

    @property
    def cut(self) -> Patches:
        """The patches of the spectrogram."""
        return Patches(self.patch, self.patch if self.stride is None else self.stride)


class SpectrogramTransformer(Encoder):
    """Patches of a spectrogram, positions, transformer blocks.

    Inputs shorter than `config.frames` use the first columns of the positions. Frames are padded to whole patches with
    the features' own pad value. A token is valid if its patch has at least one valid frame, or, where patches overlap,
    valid frames only. Invalid tokens are never attended to and never pooled.

    Attributes:
        no_decay: parameters without weight decay, besides all one-dimensional ones.
    """

    no_decay = frozenset({"cls_token", "positions", "time_positions", "freq_positions"})
    positions: Tensor | None

    def __init__(self, config: SpectrogramTransformerConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.width, self.depth, self.max_frames = config.width, config.depth, config.frames
        self.bands, self.input_rate = config.mels, config.frame_rate
        self.dropout, self.layer_drop = config.dropout, config.layer_drop
        abilities = {Ability.EXACT_PADDING} | ({Ability.CLS} if config.cls else set())
        if config.cut.step == config.patch:
            abilities |= {Ability.DROP, Ability.MASK}
        self.abilities = frozenset(abilities)
        D, eps = config.width, config.eps
        self.skip = config.class_tokens if config.cls else 0
        self.input_norm = BinNorm(config.mels) if config.input_norm == "batch" else None
        # A linear layer on flattened patches equals a strided convolution, and is a plain matmul.
        self.patch_proj = nn.Linear(config.patch[0] * config.patch[1], D)
        self.patch_norm = nn.LayerNorm(D, eps=eps) if config.patch_norm else nn.Identity()
        self.cls_token = nn.Parameter(torch.zeros(1, self.skip, D)) if config.cls else None
        self._make_positions()
        self.norm_pre = nn.LayerNorm(D, eps=eps) if config.pre_norm else nn.Identity()
        rates = torch.linspace(0, config.drop_path, config.depth, dtype=torch.float64, device="cpu").tolist()
        self.blocks = nn.ModuleList(
            TransformerBlock(
                D,
                config.heads,
                int(D * config.mlp_ratio),
                rate,
                eps,
                qkv_bias=config.qkv_bias,
                post_norm=config.block_norm == "post",
                layer_scale=config.layer_scale,
                dropout=config.dropout,
                attention_dropout=config.attention_dropout,
                gate=config.attention_gate,
            )
            for rate in (rates[:1] if config.shared_layers else rates)
        )
        self.norm = nn.LayerNorm(D, eps=eps) if config.final == "norm" else nn.Identity()
        self.fc_norm = nn.LayerNorm(D, eps=eps) if config.final == "fc_norm" else nn.Identity()
        self.initialise(generator)

    @property
    def pooled_width(self) -> int:
        return self.width * (self.config.cut.rows(self.config.mels) if self.config.pooling == "concat_freq" else 1)

    def _make_positions(self) -> None:
        grid, D = self.grid(self.config.frames), self.width
        if self.config.positions == "learned":
            self.positions = nn.Parameter(torch.zeros(1, self.skip + grid.tokens, D))
        elif self.config.positions == "conv":
            self.register_parameter("positions", None)
            self.conv_position = ConvPosition(self.config.conv_position, D)
        elif self.config.positions == "learned_separate":
            self.register_parameter("positions", None)
            self.time_positions = nn.Parameter(torch.zeros(1, grid.time, 1, D))
            self.freq_positions = nn.Parameter(torch.zeros(1, 1, grid.freq, D))
        else:
            flat = self.config.positions == "sinusoid"
            table = sinusoid_table(grid.tokens, D) if flat else self._sincos()
            # Kept out of the state dict, so that weights fit encoders for longer inputs.
            self.register_buffer("positions", F.pad(table.float(), (0, 0, self.skip, 0))[None], persistent=False)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights: linear layers, class tokens and positions as the settings say, unit norms."""
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        for module in self.modules():
            if isinstance(module, nn.Linear):
                init = self.config.patch_init if module is self.patch_proj else self.config.init
                draw_linear(module, generator, init)
            elif isinstance(module, nn.LayerNorm | BinNorm):
                module.reset_parameters()
            elif isinstance(module, TransformerBlock):
                module.reset_scales()
            elif isinstance(module, ConvPosition):
                module.initialise(generator)
        if self.cls_token is not None:
            nn.init.normal_(self.cls_token, std=self.config.cls_std, generator=generator)
        if self.config.positions == "learned_separate":
            nn.init.normal_(self.time_positions, std=0.02, generator=generator)
            nn.init.normal_(self.freq_positions, std=0.02, generator=generator)
        elif self.config.positions == "learned" and self.positions is not None:
            self._start_positions(self.positions, generator)

    def _start_positions(self, positions: Tensor, generator: torch.Generator) -> None:
        if self.config.position_init == "normal":
            nn.init.normal_(positions, std=0.02, generator=generator)
            return
        positions.zero_()
        positions[0, self.skip :] = self._sincos().to(positions.dtype)

    def _sincos(self) -> Tensor:
        grid = self.grid(self.config.frames)
        return sincos_tokens(grid.time, grid.freq, self.width, self.config.position_init_grid)

    def grid(self, frames: int) -> Grid:
        cut = self.config.cut
        return Grid(cut.columns(frames), cut.rows(self.config.mels), self.config.frame_rate / cut.step[0])

    def tokenize(self, features: Features) -> Tokens:
        x, cut = features.x, self.config.cut
        self.check_input(features)
        grid = self.grid(x.shape[1])
        pad = features.pad
        if self.input_norm is not None:
            missing = cut.missing(x.shape[1])
            x = self.input_norm(F.pad(x, (0, 0, 0, missing), value=pad) if missing else x, features.lengths)
        y = self.patch_norm(self.patch_proj(cut.cut(x, pad)))
        positions = self._positions(grid)
        y = y if positions is None else y + positions
        valid = valid_positions(cut.lengths(features.lengths), grid.time, grid.freq)
        return Tokens(y, grid, valid=valid, cls=self._class_tokens(len(y)), positions=positions)

    def _positions(self, grid: Grid) -> Tensor | None:
        if self.config.positions == "conv":
            return None
        if self.positions is None:
            return (self.time_positions[:, : grid.time] + self.freq_positions[:, :, : grid.freq]).flatten(1, 2)
        return self.positions[:, self.skip : self.skip + grid.tokens]

    def _class_tokens(self, clips: int) -> Tensor | None:
        if self.cls_token is None:
            return None
        cls = self.cls_token if self.positions is None else self.cls_token + self.positions[:, : self.skip]
        return cls.expand(clips, -1, -1)

    def contextualize(self, tokens: Tokens, layers: Sequence[int] = ()) -> Tokens:
        self.check_layers(layers)
        skip = 0 if tokens.cls is None else tokens.cls.shape[1]
        x = with_positions(tokens, self.conv_position) if self.config.positions == "conv" else tokens.x
        x = x if tokens.cls is None else torch.cat([tokens.cls, x], 1)
        x = self.norm_pre(x)
        if self.dropout:
            x = F.dropout(x, self.dropout, self.training)
        mask = key_mask(tokens.valid, skip)
        seen: dict[int, Layer] = {}

        def keep(layer: int, block: Tensor, feedforward: Tensor | None) -> None:
            if layer in layers:
                cls = block[:, :skip] if skip else None
                branch = None if feedforward is None else feedforward[:, skip:]
                seen[layer] = Layer(block[:, skip:], tokens.grid, branch, cls)

        keep(0, x, None)
        for number in range(1, self.depth + 1):
            feedforward = None
            if not (self.training and self.layer_drop and float(torch.rand(())) < self.layer_drop):
                x, feedforward = self.blocks[0 if self.config.shared_layers else number - 1](x, mask)
            keep(number, x, feedforward)
        x = self.norm(x)
        hidden = tuple(seen[layer] for layer in layers) if layers else None
        return replace(tokens, x=x[:, skip:], cls=x[:, :skip] if skip else None, layers=hidden)

    def pool(self, tokens: Tokens) -> Tensor:
        pooling = self.config.pooling
        if pooling == "concat_freq":
            return frequency_means(tokens)
        if pooling in ("cls", "mean_of_cls") and tokens.cls is not None:
            return self.fc_norm(tokens.cls[:, 0] if pooling == "cls" else tokens.cls.mean(1))
        if pooling == "mean_with_cls" and tokens.cls is not None and tokens.valid is None:
            # Equals `Tokens.mean` without concatenating the class tokens again.
            count = tokens.cls.shape[1] + tokens.x.shape[1]
            return self.fc_norm((tokens.cls.sum(1) + tokens.x.sum(1)) / count)
        return self.fc_norm(tokens.mean(with_cls=pooling == "mean_with_cls"))
