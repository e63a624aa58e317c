"""Causal encoders over samples: a stem of convolutions, then recurrent layers (CPC) or causal convolutions (wav2vec).

Sources: CPC, arXiv 1807.03748, section 3.1, and its reimplementation, arXiv 2002.02848; wav2vec, arXiv 1904.05862,
section 3.1; vq-wav2vec, arXiv 1910.05453, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from auricle.config import Count, Positive, ShareBelowOne
from auricle.encoders.contract import EncoderConfig
from auricle.encoders.parts.causal_layers import CausalConvolution, Cell, Left, RecurrentLayer
from auricle.encoders.parts.quantisers.gumbel import GumbelLayerConfig
from auricle.encoders.parts.quantisers.kmeans import KMeansLayerConfig
from auricle.encoders.parts.waveform_stem import CPC, VQ_WAV2VEC, WAV2VEC, WaveformStemConfig
from auricle.encoders.waveform_context import WaveformContext
from auricle.errors import ConfigError

#: vq-wav2vec's quantiser between stem and context: two groups of 320 entries, one codebook, temperature from 2 down.
VQ_WAV2VEC_QUANTISER = GumbelLayerConfig(groups=2, entries=320, shared=True, depth=2, temperature=2.0, start="normal")
#: wav2vec's stems with a norm over the channels of each step: causal, where the published group norm is not.
CAUSAL_WAV2VEC = WAV2VEC.replace(norm="layer")
CAUSAL_VQ_WAV2VEC = VQ_WAV2VEC.replace(norm="layer")
_FIVE_LAYERS = CAUSAL_WAV2VEC.replace(layers=WAV2VEC.layers[:5])
_OVER_TIME = ("group", "group_first")


@dataclass(frozen=True)
class WaveformRecurrentConfig(EncoderConfig):
    """Settings of CPC's encoder: a stem, then GRU or LSTM layers.

    Sizes: `base` is the reimplementation (256 channels, norm over channels, two LSTM of 256), `original` the first
    paper's (512 channels, one GRU of 256), here with the reimplementation's norm, as a batch norm is not causal.

    Attributes:
        stem: the convolutions; CPC's has a hop of 160 samples and a receptive field of 465.
        width: D of the recurrent layers.
        depth: number of recurrent layers.
        cell: `gru` or `lstm`.
        dropout: on the output of every recurrent layer (published: 0).
        rate: sample rate in Hz.
    """

    stem: WaveformStemConfig = CPC
    width: Count = 256
    depth: Count = 1
    cell: Cell = "gru"
    dropout: ShareBelowOne = 0.0
    rate: Positive = 16000.0

    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"stem": CPC.narrow(128)},
        "small": {},
        "base": {"stem": CPC, "width": 256, "depth": 2, "cell": "lstm"},
        "original": {"stem": CPC.narrow(512), "width": 256, "depth": 1, "cell": "gru"},
    }


class WaveformRecurrent(WaveformContext):
    """CPC's encoder: steps of 10 ms from a stem, then recurrent layers from left to right."""

    def __init__(self, config: WaveformRecurrentConfig, generator: torch.Generator | None = None) -> None:
        super().__init__(config.stem, config.rate, config.width, config.depth, config.stem.norm in _OVER_TIME)
        self.config = config
        self.layers = nn.ModuleList(
            RecurrentLayer(config.width if i else config.stem.width, config.width, config.cell, dropout=config.dropout)
            for i in range(config.depth)
        )
        self.initialise(generator)


@dataclass(frozen=True)
class WaveformConvolutionConfig(EncoderConfig):
    """Settings of wav2vec's encoder: a stem, an optional quantiser, then causal convolutions with residuals.

    Sizes: `base` (nine convolutions of 3 steps, about 12 M), `large` (twelve of 2 ... 13 steps, about 29 M; the
    defaults), `vq` (vq-wav2vec). Their norms are over the channels of each step. The published `group` norm over
    channels and time lets every step depend on the whole clip, future and padding included; set `norm="group"` and a
    stem with `norm="group"` for the published nets (same parameters).

    Attributes:
        stem: the convolutions; wav2vec's has a hop of 160 samples, a receptive field of 465, and ends in log(1 + |x|).
        width: D of the causal convolutions.
        kernels: of each causal convolution.
        norm: after each of them: `channel`, `group` (published) or `none`.
        activation: `relu`, or `gelu` as in vq-wav2vec.
        residual_scale: output = sqrt(scale) * (input + output).
        left: padding before the first step: copies of it (`replicate`, as published), `zero`, or `learned`.
        dropout: on the output of each convolution (published: 0).
        quantiser: between stem and convolutions, as vq-wav2vec (by Gumbel-softmax, or by k-means); None: none.
        rate: sample rate in Hz.
    """

    stem: WaveformStemConfig = CAUSAL_WAV2VEC
    width: Count = 512
    kernels: tuple[Count, ...] = (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13)
    norm: Literal["channel", "group", "none"] = "channel"
    activation: Literal["relu", "gelu"] = "relu"
    residual_scale: Positive = 0.5
    left: Left = "replicate"
    dropout: ShareBelowOne = 0.0
    quantiser: GumbelLayerConfig | KMeansLayerConfig | None = None
    rate: Positive = 16000.0

    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"stem": _FIVE_LAYERS.narrow(128), "width": 128},
        "small": {"stem": _FIVE_LAYERS.narrow(256), "width": 256, "kernels": (3,) * 9},
        "base": {"stem": _FIVE_LAYERS, "kernels": (3,) * 9},
        "large": {},
        "vq": {"stem": CAUSAL_VQ_WAV2VEC, "activation": "gelu", "quantiser": VQ_WAV2VEC_QUANTISER},
    }

    def __post_init__(self) -> None:
        if not self.kernels:
            raise ConfigError("found no kernels, expected those of at least one convolution")


class WaveformConvolution(WaveformContext):
    """wav2vec's encoder: steps of 10 ms from a stem, then causal convolutions; vq-wav2vec's with a quantiser between.

    Attributes:
        context: receptive field of a token in stem steps, its own included (large: 79; 0.8 s).
    """

    def __init__(self, config: WaveformConvolutionConfig, generator: torch.Generator | None = None) -> None:
        over_time = config.norm == "group" or config.stem.norm in _OVER_TIME
        super().__init__(config.stem, config.rate, config.width, len(config.kernels), over_time)
        self.config = config
        self.context = 1 + sum(kernel - 1 for kernel in config.kernels)
        width = config.stem.width
        if config.quantiser is not None:
            layer = config.quantiser.build(width)
            self.quantiser.append(layer)
            width = layer.width
        self.layers = nn.ModuleList(
            CausalConvolution(
                config.width if i else width,
                config.width,
                kernel,
                norm=config.norm,
                activation=config.activation,
                residual_scale=config.residual_scale,
                left=config.left,
                dropout=config.dropout,
            )
            for i, kernel in enumerate(config.kernels)
        )
        self.initialise(generator)
