"""Contract cases of the waveform transformers and of BEATs."""

from __future__ import annotations

from encoder_cases import Case

from auricle.encoders.beats import BEATsConfig
from auricle.encoders.parts.conv_position import ConvPositionConfig
from auricle.encoders.parts.waveform_stem import WAV2VEC2, WAV2VEC2_LAYER
from auricle.encoders.waveform_transformer import WaveformTransformerConfig

_SMALL = WaveformTransformerConfig(
    stem=WAV2VEC2_LAYER.narrow(16),
    width=32,
    depth=3,
    heads=2,
    position=ConvPositionConfig(kernel=16, groups=4),
    input_dropout=0.0,
    dropout=0.0,
    attention_dropout=0.0,
    layer_drop=0.0,
)
_STACKED = ConvPositionConfig(kernel=7, groups=4, depth=5)
_LENGTHS = (3000, 1900, 1359, 1040, 719, 400)
_BEATS = BEATsConfig(
    width=32,
    embed=24,
    depth=3,
    heads=2,
    mels=32,
    position=ConvPositionConfig(kernel=8, groups=4),
    dropout=0.0,
    attention_dropout=0.0,
)


def _steps(samples: int) -> tuple[int, int]:
    for kernel, stride in ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)):
        samples = (samples - kernel) // stride + 1
    return samples, 1


def _case(config: WaveformTransformerConfig) -> Case:
    return Case(config.build, longest=4000, lengths=_LENGTHS, grid=_steps)


CASES = {
    "waveform_transformer": _case(_SMALL),
    "waveform_transformer-base": _case(_SMALL.replace(stem=WAV2VEC2.narrow(16))),
    "waveform_transformer-large": _case(_SMALL.replace(norm="pre")),
    "waveform_transformer-wavlm": _case(_SMALL.replace(bias="wavlm", norm="pre")),
    "waveform_transformer-data2vec": _case(_SMALL.replace(position=_STACKED)),
    "waveform_transformer-data2vec2": _case(_SMALL.replace(position=_STACKED, bias="alibi")),
    "waveform_transformer-positions_first": _case(_SMALL.replace(position_place="tokenize", bias="alibi")),
    "beats": Case(
        _BEATS.build, longest=160, lengths=(100, 33, 32, 31, 16), grid=lambda n: (n // 16, 2), local=(16, 16)
    ),
}
