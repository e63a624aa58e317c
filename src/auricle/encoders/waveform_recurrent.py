"""Causal encoders over samples: a stem of convolutions, then recurrent layers (CPC) or causal convolutions (wav2vec).

Sources: CPC, arXiv 1807.03748, section 3.1, and its reimplementation, arXiv 2002.02848; wav2vec, arXiv 1904.05862,
section 3.1; vq-wav2vec, arXiv 1910.05453, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from auricle.config import nearest
from auricle.encoders.contract import EncoderConfig
from auricle.encoders.parts.causal_layers import CausalConvolution, Cell, Left, RecurrentLayer
from auricle.encoders.parts.gumbel_quantiser import GumbelLayerConfig
from auricle.encoders.parts.kmeans_quantiser import KMeansLayerConfig
from auricle.encoders.parts.waveform_stem import CPC, VQ_WAV2VEC, WAV2VEC, WaveformStemConfig
from auricle.encoders.waveform_context import WaveformContext
from auricle.errors import ConfigError

#: What vq-wav2vec puts between stem and context: two groups of 320 entries from one codebook, temperature from 2 down.
VQ_WAV2VEC_QUANTISER = GumbelLayerConfig(groups=2, entries=320, shared=True, depth=2, temperature=2.0, start="normal")
#: wav2vec's stems with a norm over the channels of each step: causal, where the published group norm is not.
CAUSAL_WAV2VEC = WAV2VEC.replace(norm="layer")
CAUSAL_VQ_WAV2VEC = VQ_WAV2VEC.replace(norm="layer")
_OVER_TIME = ("group", "group_first")

RECURRENT_SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"stem": CPC.narrow(128), "width": 256, "depth": 2, "cell": "gru"},
    "small": {"stem": CPC, "width": 256, "depth": 1, "cell": "gru"},
    "base": {"stem": CPC, "width": 256, "depth": 2, "cell": "lstm"},
    "original": {"stem": CPC.narrow(512), "width": 256, "depth": 1, "cell": "gru"},
}
CONVOLUTION_SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"stem": CAUSAL_WAV2VEC.replace(layers=WAV2VEC.layers[:5]).narrow(128), "width": 128},
    "small": {"stem": CAUSAL_WAV2VEC.replace(layers=WAV2VEC.layers[:5]).narrow(256), "width": 256, "kernels": (3,) * 9},
    "base": {"stem": CAUSAL_WAV2VEC.replace(layers=WAV2VEC.layers[:5]), "kernels": (3,) * 9},
    "large": {},
    "vq": {"stem": CAUSAL_VQ_WAV2VEC, "activation": "gelu", "quantiser": VQ_WAV2VEC_QUANTISER},
}


@dataclass(frozen=True)
class WaveformRecurrentConfig(EncoderConfig):
    """Settings of CPC's encoder: a stem, then GRU or LSTM layers.

    Sizes: `base` is the reimplementation (256 channels, norm over channels, two LSTM of 256), `original` the first
    paper's (512 channels, one GRU of 256), here with the reimplementation's norm: a batch norm would tell the future.

    Attributes:
        stem: the convolutions; CPC's has a hop of 160 samples and sees 465.
        width: D of the recurrent layers.
        depth: number of recurrent layers.
        cell: `gru` or `lstm`.
        dropout: on the output of every recurrent layer, in training (published: 0).
        rate: sample rate in Hz.
    """

    stem: WaveformStemConfig = CPC
    width: int = 256
    depth: int = 1
    cell: Cell = "gru"
    dropout: float = 0.0
    rate: float = 16000.0

    def __post_init__(self) -> None:
        """Refuse settings out of range.

        Raises:
            ConfigError: naming the setting and what it must be.
        """
        if self.width < 1 or self.depth < 1 or not self.rate > 0:
            raise ConfigError(f"found width {self.width}, depth {self.depth}, rate {self.rate}; expected above 0 each")
        if self.cell not in ("gru", "lstm"):
            raise ConfigError(f"unknown cell {self.cell!r}{nearest(str(self.cell), ('gru', 'lstm'))}")
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"dropout {self.dropout} must lie in [0, 1)")

    @classmethod
    def size(cls, name: str, **changes: Any) -> WaveformRecurrentConfig:
        """Return the settings of a named size (`tiny`, `small`, `base`, `original`), with any others changed.

        Raises:
            ConfigError: no such size.
        """
        if name not in RECURRENT_SIZES:
            raise ConfigError(f"unknown size {name!r}{nearest(name, RECURRENT_SIZES)}")
        return cls(**{**RECURRENT_SIZES[name], **changes})

    def build(self, generator: torch.Generator | None = None) -> WaveformRecurrent:
        """Build the encoder with fresh weights, drawn from `generator` (None: one seeded with 0)."""
        return WaveformRecurrent(self, generator)


class WaveformRecurrent(WaveformContext):
    """CPC's encoder: steps of 10 ms from a stem, read by recurrent layers from left to right."""

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
    defaults), `vq` (vq-wav2vec). They differ from the published nets in the norm: `group` over channels and time
    together shows every step the whole clip, future and padding included, so the norms here are over the channels of
    each step. For the published ones set `norm="group"` and a stem with `norm="group"` (same parameters).

    Attributes:
        stem: the convolutions; wav2vec's has a hop of 160 samples and sees 465, and ends in log(1 + |x|).
        width: D of the causal convolutions.
        kernels: steps that each of them sees.
        norm: after each of them: `channel`, `group` (published) or `none`.
        activation: `relu`, or `gelu` as vq-wav2vec.
        residual_scale: output = sqrt(scale) * (input + output).
        left: what stands before the first step: copies of it (`replicate`, as published), `zero`, or `learned`.
        dropout: on the output of each convolution, in training (published: 0).
        quantiser: between stem and convolutions, as vq-wav2vec (by Gumbel-softmax, or by k-means); None: none.
        rate: sample rate in Hz.
    """

    stem: WaveformStemConfig = CAUSAL_WAV2VEC
    width: int = 512
    kernels: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13)
    norm: Literal["channel", "group", "none"] = "channel"
    activation: Literal["relu", "gelu"] = "relu"
    residual_scale: float = 0.5
    left: Left = "replicate"
    dropout: float = 0.0
    quantiser: GumbelLayerConfig | KMeansLayerConfig | None = None
    rate: float = 16000.0

    def __post_init__(self) -> None:
        """Refuse settings out of range.

        Raises:
            ConfigError: naming the setting and what it must be.
        """
        if self.width < 1 or not self.kernels or min(self.kernels) < 1 or not self.rate > 0:
            raise ConfigError(
                f"found width {self.width}, kernels {self.kernels}, rate {self.rate}; expected above 0 each, and at "
                "least one kernel"
            )
        if not self.residual_scale > 0 or not 0.0 <= self.dropout < 1.0:
            raise ConfigError(
                f"found residual_scale {self.residual_scale}, dropout {self.dropout}; expected above 0, and in [0, 1)"
            )
        for name, known in (
            ("norm", ("channel", "group", "none")),
            ("activation", ("relu", "gelu")),
            ("left", ("replicate", "zero", "learned")),
        ):
            if getattr(self, name) not in known:
                raise ConfigError(f"unknown {name} {getattr(self, name)!r}{nearest(str(getattr(self, name)), known)}")

    @classmethod
    def size(cls, name: str, **changes: Any) -> WaveformConvolutionConfig:
        """Return the settings of a named size (`tiny`, `small`, `base`, `large`, `vq`), with any others changed.

        Raises:
            ConfigError: no such size.
        """
        if name not in CONVOLUTION_SIZES:
            raise ConfigError(f"unknown size {name!r}{nearest(name, CONVOLUTION_SIZES)}")
        return cls(**{**CONVOLUTION_SIZES[name], **changes})

    def build(self, generator: torch.Generator | None = None) -> WaveformConvolution:
        """Build the encoder with fresh weights, drawn from `generator` (None: one seeded with 0)."""
        return WaveformConvolution(self, generator)


class WaveformConvolution(WaveformContext):
    """wav2vec's encoder: steps of 10 ms from a stem, then causal convolutions; vq-wav2vec's with a quantiser between.

    Attributes:
        context: stem steps that a token sees, its own included (large: 79; 0.8 s).
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
