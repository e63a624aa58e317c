"""Transformers over the waveform: wav2vec 2.0, HuBERT, WavLM, data2vec and data2vec 2.0 by settings.

Sources: wav2vec 2.0, arXiv 2006.11477; HuBERT, arXiv 2106.07447; WavLM, arXiv 2110.13900; data2vec, arXiv 2202.03555;
data2vec 2.0, arXiv 2212.07525; DistilHuBERT, arXiv 2110.01900.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from auricle.audio.batch import Features
from auricle.config import Count, NonNegative, Positive, ShareBelowOne
from auricle.encoders.contract import Ability, Encoder, EncoderConfig, Grid, Stem, Tokens
from auricle.encoders.parts.attention import key_mask
from auricle.encoders.parts.biased_block import BiasedBlock, BiasedBlocks
from auricle.encoders.parts.conv_position import ConvPosition, ConvPositionConfig, with_positions
from auricle.encoders.parts.relative_bias import AlibiBias, RelativeBias
from auricle.encoders.parts.waveform_stem import WAV2VEC2, WAV2VEC2_LAYER, WaveformStemConfig
from auricle.errors import ConfigError

_DATA2VEC_STEM = WAV2VEC2_LAYER.replace(bias=False)
_DATA2VEC_POSITION = ConvPositionConfig(kernel=19, groups=16, depth=5)
_LARGE = {
    "width": 1024,
    "depth": 24,
    "heads": 16,
    "norm": "pre",
    "stem_gradient": 1.0,
    "input_dropout": 0.0,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "layer_drop": 0.0,
}
_DATA2VEC = {"stem": _DATA2VEC_STEM, "position": _DATA2VEC_POSITION, "stem_gradient": 1.0, "input_dropout": 0.0}


@dataclass(frozen=True)
class WaveformTransformerConfig(EncoderConfig):
    """Settings of a waveform transformer. The defaults are wav2vec 2.0's and HuBERT's base size.

    Sizes: `tiny`, `small`; `base` and `large` are wav2vec 2.0's and HuBERT's; `distilhubert`; `wavlm_base`,
    `wavlm_large`; `data2vec_base`, `data2vec_large`; `data2vec2_base`. Dropout rates, layer drop and the stem's
    gradient are those of the released pre-training settings: of wav2vec 2.0's base; for all large sizes of its large,
    which has no dropout.

    Attributes:
        stem: convolutions over samples. With norms over time (`group_first`, `group`) tokens depend on padding.
        width: D, a multiple of `heads` and of the groups of `position`.
        depth: number of blocks.
        heads: attention heads.
        mlp_ratio: feed-forward width over D.
        norm: `post` (base, data2vec) or `pre` (large: norm before each branch, and one after the last block).
        position: the convolutional positions.
        position_place: `context`: added by `contextualize`, after masking or dropping, so that nothing hidden leaks
            (all published models, data2vec 2.0 too); `tokenize`: added before, from the whole clip: hidden neighbours
            leak into visible tokens, and a mask vector has no position but that of `bias`.
        bias: `none`, `wavlm` (learned by buckets, gated by the layer's input) or `alibi` (learned scale per head).
        buckets: of `wavlm`'s relative positions.
        max_distance: of the same.
        sample_rate: of the input in Hz.
        stem_gradient: factor of the stem's gradients; 0 freezes it.
        input_dropout: of the projected stem output.
        dropout: of the residual branches, and of the first block's input.
        attention_dropout: of attention weights.
        activation_dropout: within the feed-forward branches.
        layer_drop: chance that a block is skipped in training.
        eps: of the layer norms.
    """

    stem: WaveformStemConfig = field(default=WAV2VEC2)
    width: Count = 768
    depth: Count = 12
    heads: Count = 12
    mlp_ratio: Positive = 4.0
    norm: Literal["post", "pre"] = "post"
    position: ConvPositionConfig = field(default_factory=ConvPositionConfig)
    position_place: Literal["context", "tokenize"] = "context"
    bias: Literal["none", "wavlm", "alibi"] = "none"
    buckets: Count = 320
    max_distance: Count = 800
    sample_rate: Count = 16_000
    stem_gradient: NonNegative = 0.1
    input_dropout: ShareBelowOne = 0.1
    dropout: ShareBelowOne = 0.1
    attention_dropout: ShareBelowOne = 0.1
    activation_dropout: ShareBelowOne = 0.0
    layer_drop: ShareBelowOne = 0.05
    eps: Positive = 1e-5

    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        # A norm over channels in the stem, exact in padded batches; no dropout of attention weights, which would take
        # most of the time on a CPU.
        "tiny": {
            "stem": WAV2VEC2_LAYER.narrow(64),
            "width": 192,
            "depth": 8,
            "heads": 3,
            "attention_dropout": 0.0,
            "layer_drop": 0.0,
        },
        "small": {
            "stem": WAV2VEC2_LAYER.narrow(256),
            "width": 384,
            "depth": 12,
            "heads": 6,
            "attention_dropout": 0.0,
            "layer_drop": 0.0,
        },
        "base": {},
        "large": {**_LARGE, "stem": WAV2VEC2_LAYER},
        "distilhubert": {"depth": 2},
        "wavlm_base": {"bias": "wavlm"},
        "wavlm_large": {**_LARGE, "stem": _DATA2VEC_STEM, "bias": "wavlm"},
        "data2vec_base": _DATA2VEC,
        "data2vec_large": {**_LARGE, **_DATA2VEC, "norm": "post"},
        "data2vec2_base": {**_DATA2VEC, "bias": "alibi"},
    }

    def __post_init__(self) -> None:
        if int(self.width * self.mlp_ratio) < 1:
            raise ConfigError(f"mlp_ratio {self.mlp_ratio} leaves no feed-forward layer; raise it")
        if self.width % self.heads or self.width % self.position.groups:
            raise ConfigError(
                f"width {self.width} must be a multiple of heads ({self.heads}) and of the groups of the positions "
                f"({self.position.groups})"
            )


class WaveformTransformer(Encoder):
    """Strided convolutions over samples, convolutional positions, transformer blocks; one token per hop (20 ms).

    `tokenize` returns the projected stem output, without positions unless `position_place` says so, and the stem's
    output as `Tokens.stem` (its gradient is scaled too). Dropped tokens are handled as in data2vec 2.0 (see
    `with_positions`). A token is valid if all samples of its receptive field are. A block skipped by layer drop passes
    its input on and has no feed-forward output. The papers define no clip vector; the mean of the valid tokens is used.
    """

    bands = None

    def __init__(self, config: WaveformTransformerConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.width, self.depth = config.width, config.depth
        self.input_rate, self.least_frames = float(config.sample_rate), config.stem.least
        exact = set() if config.stem.norm in ("group_first", "group") else {Ability.EXACT_PADDING}
        self.abilities = frozenset({Ability.MASK, Ability.DROP} | exact)
        D, eps = config.width, config.eps
        self.stem = config.stem.build()
        self.stem_norm = nn.LayerNorm(config.stem.width, eps=eps)
        self.projection = nn.Linear(config.stem.width, D)
        self.position = ConvPosition(config.position, D)
        self.relative: RelativeBias | AlibiBias | None = None
        if config.bias == "wavlm":
            self.relative = RelativeBias(config.heads, config.buckets, config.max_distance)
        elif config.bias == "alibi":
            self.relative = AlibiBias(config.heads)
        blocks = [
            BiasedBlock(
                D,
                config.heads,
                int(D * config.mlp_ratio),
                norm=config.norm,
                gate="input" if config.bias == "wavlm" else "none",
                dropout=config.dropout,
                attention_dropout=config.attention_dropout,
                activation_dropout=config.activation_dropout,
                eps=eps,
            )
            for _ in range(config.depth)
        ]
        self.blocks = BiasedBlocks(blocks, config.layer_drop)
        # Before the first block with `post`, after the last with `pre`: one norm, as published.
        self.norm = nn.LayerNorm(D, eps=eps)
        self.initialise(generator)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights: He normal in the stem, uniform by fan-in after it, normal of std 0.02 in the blocks."""
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        self.stem.initialise(generator)
        bound = self.config.stem.width**-0.5
        nn.init.uniform_(self.projection.weight, -bound, bound, generator=generator)
        nn.init.zeros_(self.projection.bias)
        self.position.initialise(generator)
        if self.relative is not None:
            self.relative.initialise(generator)
        self.stem_norm.reset_parameters()
        self.norm.reset_parameters()
        self.blocks.initialise(generator)

    def grid(self, frames: int) -> Grid:
        stem = self.config.stem
        return Grid(stem.frames(frames), 1, self.config.sample_rate / stem.hop)

    def tokenize(self, features: Features) -> Tokens:
        self.check_input(features)
        if self.config.stem_gradient == 0.0:
            with torch.no_grad():
                raw = self.stem(features.x)
        else:
            raw = _ScaledGradient.apply(self.stem(features.x), self.config.stem_gradient)
        normed = self.stem_norm(raw)
        # Under autocast the residual stream stays in the parameters' precision; only the branches are narrowed.
        x = F.dropout(self.projection(normed), self.config.input_dropout, self.training).to(
            self.projection.weight.dtype
        )
        valid = self.config.stem.valid(features.lengths, x.shape[1])
        tokens = Tokens(x, self.grid(features.x.shape[1]), valid=valid, stem=Stem(raw, normed))
        if self.config.position_place == "tokenize":
            return replace(tokens, x=with_positions(tokens, self.position))
        return tokens

    def contextualize(self, tokens: Tokens, layers: Sequence[int] = ()) -> Tokens:
        self.check_layers(layers)
        x = with_positions(tokens, self.position) if self.config.position_place == "context" else tokens.x
        if self.config.norm == "post":
            x = self.norm(x)
        x = F.dropout(x, self.config.dropout, self.training)
        mask, bias = key_mask(tokens.valid), None
        if self.relative is not None:
            N = tokens.grid.tokens
            places = torch.arange(N, device=x.device)[None] if tokens.index is None else tokens.index
            bias = self.relative(places, N)
        x, hidden = self.blocks(x, tokens.grid, layers, mask, bias)
        if self.config.norm == "pre":
            x = self.norm(x)
        return replace(tokens, x=x, layers=hidden)


class _ScaledGradient(torch.autograd.Function):
    """The identity, whose gradient is multiplied by a constant."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.factor, None
