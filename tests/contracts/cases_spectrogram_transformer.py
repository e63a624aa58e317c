"""Contract cases of the spectrogram transformer and the log-mel baseline."""

from __future__ import annotations

from encoder_cases import Case

from auricle.encoders.log_mel_statistics import LogMelStatisticsConfig
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig

_SMALL = SpectrogramTransformerConfig(width=32, depth=3, heads=2, mels=32, frames=160, drop_path=0.0)


def _ceil(frames: int, step: int) -> int:
    return (frames + step - 1) // step


CASES = {
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
