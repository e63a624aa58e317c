"""Contract cases of the spectrogram transformer and the log-mel baseline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from encoder_cases import Case

from auricle.encoders.contract import Encoder
from auricle.encoders.log_mel_statistics import LogMelStatisticsConfig
from auricle.encoders.parts.conv_position import ConvPositionConfig
from auricle.encoders.spectrogram_layouts import layout
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig

_SMALL = SpectrogramTransformerConfig(width=32, depth=3, heads=2, mels=32, frames=160, drop_path=0.0)


def _ceil(frames: int, step: int) -> int:
    return (frames + step - 1) // step


# What audio_mae, eat, ssast, ast, dasheng, mockingjay, audio_albert and m2d are, in small.
_TINY: dict[str, Any] = {
    "width": 32,
    "depth": 3,
    "heads": 2,
    "frames": 160,
    "drop_path": 0.0,
    "dropout": 0.0,
    "attention_dropout": 0.0,
}


def _layout(name: str, **changes: Any) -> Callable[[], Encoder]:
    return layout(name, **{**_TINY, **changes}).build


CASES = {
    "spectrogram_transformer-sincos": Case(
        _layout("audio_mae", mels=32), grid=lambda n: (_ceil(n, 16), 2), local=(16, 16)
    ),
    "spectrogram_transformer-post_norm": Case(
        _layout("eat", mels=32, layer_scale=0.5), grid=lambda n: (_ceil(n, 16), 2), local=(16, 16)
    ),
    "spectrogram_transformer-two_class_tokens": Case(
        _layout("ssast_frame", patch=(2, 32), mels=32, pooling="mean_of_cls"),
        grid=lambda n: (_ceil(n, 2), 1),
        local=(2, 32),
    ),
    "spectrogram_transformer-overlapping": Case(
        _layout("ast", mels=38), grid=lambda n: (1 + max(0, n - 16) // 10, 3), lengths=(100, 46, 45, 26, 17, 16, 5, 1)
    ),
    "spectrogram_transformer-bin_norm": Case(
        _layout("dasheng", patch=(4, 16), mels=32), grid=lambda n: (_ceil(n, 4), 2), local=(4, 16)
    ),
    "spectrogram_transformer-frames": Case(
        _layout("mockingjay", patch=(1, 32), mels=32), grid=lambda n: (n, 1), local=(1, 32)
    ),
    "spectrogram_transformer-shared_layers": Case(
        _layout("audio_albert", patch=(1, 32), mels=32), grid=lambda n: (n, 1), local=(1, 32)
    ),
    "spectrogram_transformer-conv_position": Case(
        _layout("decoar2", patch=(1, 32), mels=32, layer_drop=0.0, conv_position=ConvPositionConfig(8, 4)),
        grid=lambda n: (n, 1),
        local=(1, 32),
    ),
    "spectrogram_transformer-frequency_concat": Case(
        _layout("m2d", mels=32, qkv_bias=False), grid=lambda n: (_ceil(n, 16), 2), local=(16, 16)
    ),
    "spectrogram_transformer": Case(_SMALL.build, grid=lambda n: (_ceil(n, 16), 2), local=(16, 16)),
    "spectrogram_transformer-plain": Case(
        _SMALL.replace(cls=False, pooling="mean", patch_norm=False, pre_norm=False, final="norm").build,
        grid=lambda n: (_ceil(n, 16), 2),
        local=(16, 16),
    ),
    "spectrogram_transformer-flat_patches": Case(
        _SMALL.replace(patch=(4, 32), pooling="cls").build, grid=lambda n: (_ceil(n, 4), 1), local=(4, 32)
    ),
    "log_mel_statistics": Case(LogMelStatisticsConfig(mels=32).build, grid=lambda n: (_ceil(n, 16), 1), local=(16, 32)),
}
