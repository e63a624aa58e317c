"""Settings out of range are refused, by name; named sizes exist for every encoder."""

from __future__ import annotations

from typing import Any

import pytest

from auricle.config import Config
from auricle.encoders.beats import BEATsConfig
from auricle.encoders.contract import Encoder, EncoderConfig
from auricle.encoders.efficientnet import EfficientNetConfig
from auricle.encoders.log_mel_statistics import LogMelStatisticsConfig
from auricle.encoders.parts.conv_position import ConvPositionConfig
from auricle.encoders.parts.quantisers.codebook import CodebookConfig
from auricle.encoders.parts.quantisers.gumbel import GumbelLayerConfig
from auricle.encoders.parts.quantisers.kmeans import KMeansLayerConfig
from auricle.encoders.resnet import ResNet, ResNetConfig, SampleResNetConfig
from auricle.encoders.sample_cnn import SampleCNNConfig
from auricle.encoders.slice_cnn import SliceCNNConfig
from auricle.encoders.state_space import BidirectionalStateSpaceConfig, StateSpace
from auricle.errors import ConfigError


@pytest.mark.parametrize(
    ("config", "wrong"),
    [
        (BEATsConfig, {"embed": 0}),
        (BEATsConfig, {"patch": (16, 0)}),
        (BEATsConfig, {"layer_drop": 1.0}),
        (EfficientNetConfig, {"width_factor": 0.0}),
        (EfficientNetConfig, {"pooling": "median"}),
        (EfficientNetConfig, {"drop_path": 1.0}),
        (LogMelStatisticsConfig, {"frames_per_token": 0}),
        (ConvPositionConfig, {"groups": 0}),
        (CodebookConfig, {"codes": 1}),
        (CodebookConfig, {"dim": 1}),
        (CodebookConfig, {"decay": 1.0}),
        (CodebookConfig, {"patience": -1}),
        (GumbelLayerConfig, {"temperature": 0.0}),
        (GumbelLayerConfig, {"width": -1}),
        (GumbelLayerConfig, {"start": "uniform"}),
        (KMeansLayerConfig, {"commitment": -0.1}),
        (ResNetConfig, {"block": "dense"}),
        (ResNetConfig, {"blocks": (2, 2, 2)}),
        (ResNetConfig, {"blocks": (2, 2, 0, 2)}),
        (ResNetConfig, {"spectrograms": 0}),
        (SampleResNetConfig, {"channels": 0}),
        (SampleCNNConfig, {"blocks": ()}),
        (SampleCNNConfig, {"stem": 0}),
        (SliceCNNConfig, {"channels": (16,)}),
        (SliceCNNConfig, {"channels": (16, 0)}),
    ],
)
def test_settings_out_of_range_are_refused(config: type[Config], wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ConfigError, match=name):
        config(**wrong)


def test_settings_build_the_encoder_of_their_module() -> None:
    assert isinstance(SampleResNetConfig.size("tiny", channels=4).build(), ResNet)
    assert isinstance(BidirectionalStateSpaceConfig.size("micro", depth=2).build(), StateSpace)
    assert isinstance(LogMelStatisticsConfig().build(), Encoder)


def test_every_named_size_is_valid() -> None:
    configs = [c for c in Config._known.values() if issubclass(c, EncoderConfig) and c.sizes]
    assert len(configs) > 10
    for config in configs:
        for name in config.sizes:
            assert isinstance(config.size(name), config)
        with pytest.raises(ConfigError, match="unknown size 'gigantic'"):
            config.size("gigantic")
