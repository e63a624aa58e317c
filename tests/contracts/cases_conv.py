"""Contract cases of the convolutional encoders; grids by the published formulas."""

from __future__ import annotations

from encoder_cases import Case

from auricle.encoders.audio_ntt import AudioNTTConfig
from auricle.encoders.efficientnet import EfficientNetConfig
from auricle.encoders.resnet import ResNetConfig, SampleResNetConfig
from auricle.encoders.sample_cnn import SampleCNNConfig
from auricle.encoders.slice_cnn import SliceCNNConfig

_NTT = AudioNTTConfig(width=48, mels=32, channels=8, dropout=0.0)


def _halved(frames: int, times: int) -> int:
    for _ in range(times):
        frames = (frames + 1) // 2
    return frames


def _quartered(samples: int, times: int) -> int:
    for _ in range(times):
        samples = (samples + 3) // 4
    return samples


CASES = {
    "audio_ntt-2020": Case(_NTT.build, lengths=(100, 33, 32, 31, 17, 16, 9, 8), grid=lambda n: (n // 8, 1)),
    "audio_ntt-2022": Case(
        _NTT.replace(version="2022", width=80, hidden=32).build,
        lengths=(100, 33, 32, 31, 17, 7, 5, 4),
        grid=lambda n: (n // 4, 1),
    ),
    "efficientnet": Case(
        EfficientNetConfig(width_factor=0.25, mels=32, drop_path=0.0).build,
        grid=lambda n: (_halved(n, 5), 1),
        low_precision=0.97,
    ),
    "efficientnet-mean": Case(
        EfficientNetConfig(width_factor=0.25, mels=40, drop_path=0.0, pooling="mean").build,
        grid=lambda n: (_halved(n, 5), 2),
        low_precision=0.97,
    ),
    "resnet": Case(ResNetConfig(channels=8, mels=32).build, grid=lambda n: (_halved(n, 5), 1)),
    "resnet-bottleneck": Case(
        ResNetConfig(block="bottleneck", blocks=(1, 1, 2, 1), channels=4, mels=33, spectrograms=3, pooling="max").build,
        grid=lambda n: (_halved(n, 5), 2),
    ),
    "resnet-repeat": Case(
        ResNetConfig(blocks=(1, 1, 1, 1), channels=4, mels=32, spectrograms=3, repeat=True).build,
        grid=lambda n: (_halved(n, 5), 1),
    ),
    "resnet-samples": Case(
        SampleResNetConfig(channels=4, blocks=(1, 1, 1, 1)).build,
        longest=5000,
        lengths=(3000, 1025, 1024, 1023, 16, 1),
        grid=lambda n: (_quartered(n, 5), 1),
    ),
    "sample_cnn": Case(
        SampleCNNConfig(stem=8, blocks=(8, 8, 12, 16)).build,
        longest=1000,
        lengths=(800, 487, 486, 485, 244, 243),
        grid=lambda n: (n // 3**5, 1),
    ),
    "slice_cnn": Case(SliceCNNConfig(channels=(4, 8, 12, 16, 16), mels=32).build, grid=lambda n: (_halved(n, 5), 1)),
    "slice_cnn-tile": Case(
        SliceCNNConfig(channels=(4, 8, 16), mels=21, pooling="max_plus_mean").build, grid=lambda n: (_halved(n, 3), 3)
    ),
}
