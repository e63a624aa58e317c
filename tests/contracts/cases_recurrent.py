"""Contract cases of the recurrent and causal encoders, and PASE."""

from __future__ import annotations

from encoder_cases import Case

from auricle.encoders.frame_recurrent import FrameRecurrentConfig
from auricle.encoders.parts.quantisers.gumbel import GumbelLayerConfig
from auricle.encoders.parts.waveform_stem import CPC
from auricle.encoders.pase import PaseConfig
from auricle.encoders.waveform_recurrent import (
    CAUSAL_VQ_WAV2VEC,
    CAUSAL_WAV2VEC,
    WaveformConvolutionConfig,
    WaveformRecurrentConfig,
)

_FRAMES = FrameRecurrentConfig(width=24, mels=16, dropout=0.0)
_CODES = GumbelLayerConfig(groups=2, entries=8)
_CPC = WaveformRecurrentConfig(stem=CPC.narrow(16), width=24, depth=2)
_AGGREGATOR = WaveformConvolutionConfig(stem=CAUSAL_WAV2VEC.narrow(16), width=16, kernels=(2, 3, 4))
_LENGTHS = (5000, 2400, 1777, 801, 466, 465)
_PADDED = {"longest": 8000, "lengths": (*_LENGTHS, 319, 160)}
_WAVES = {"longest": 465 + 47 * 160, "lengths": _LENGTHS}  # the last sample belongs to a token


def _unpadded(samples: int) -> tuple[int, int]:
    return ((samples - 465) // 160 + 1, 1)


def _pase(samples: int) -> tuple[int, int]:
    """Rounded up at the first stride, down at the four after it."""
    return (-(-samples // 10) // 16, 1)


_PASE = PaseConfig(filters=6, blocks=tuple((8 + i, *b[1:]) for i, b in enumerate(PaseConfig().blocks)), width=10)
_CLIPS = {"longest": 3200, "lengths": (2405, 1777, 801, 466, 311, 151)}

CASES = {
    "frame_recurrent": Case(_FRAMES.build, grid=lambda n: (n, 1), local=(1, 16)),
    "frame_recurrent-lstm": Case(_FRAMES.replace(cell="lstm", prenet=2, residual=False).build, grid=lambda n: (n, 1)),
    # A rounded logit may choose another code. What lies behind the last layer's hidden states only makes codes.
    "frame_recurrent-codes": Case(
        _FRAMES.replace(quantised_after=(1, 3), quantiser=_CODES).build,
        grid=lambda n: (n, 1),
        low_precision=0.9,
        unused=frozenset(f"quantisers.3.quantiser.{name}" for name in ("logits.weight", "logits.bias", "codebook")),
    ),
    "waveform_recurrent": Case(_CPC.build, grid=lambda n: (n // 160, 1), **_PADDED),
    "waveform_recurrent-lstm": Case(
        _CPC.replace(cell="lstm", width=16, depth=1, stem=CPC.narrow(16).replace(padding="none")).build,
        grid=_unpadded,
        **_WAVES,
    ),
    "waveform_convolution": Case(_AGGREGATOR.build, grid=_unpadded, **_WAVES),
    "waveform_convolution-published_norm": Case(
        _AGGREGATOR.replace(norm="group", stem=CAUSAL_WAV2VEC.narrow(16).replace(norm="group")).build,
        grid=_unpadded,
        **_WAVES,
    ),
    # A shallow stem, so that one sample can choose another code.
    "waveform_convolution-codes": Case(
        _AGGREGATOR.replace(
            stem=CAUSAL_VQ_WAV2VEC.replace(layers=((16, 10, 5), (16, 4, 2))),
            quantiser=GumbelLayerConfig(groups=8, entries=64, shared=True, depth=2),
            left="learned",
            width=24,
            activation="gelu",
        ).build,
        grid=lambda n: ((n - 25) // 10 + 1, 1),
        low_precision=0.9,
        longest=25 + 47 * 10,
        lengths=(400, 217, 100, 34, 26, 25),
    ),
    "pase": Case(_PASE.build, grid=_pase, **_CLIPS),
    "pase-plus": Case(_PASE.replace(skips=True, recurrent=8).build, grid=_pase, **_CLIPS),
    "pase-reflect": Case(
        _PASE.replace(edges="reflect", output_norm=False).build,
        grid=_pase,
        longest=3200,
        lengths=(2405, 1777, 801, 471),
    ),
}
