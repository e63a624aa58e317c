"""The small net for slices against its layers written out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from auricle.audio.batch import Features
from auricle.encoders.slice_cnn import SliceCNNConfig
from auricle.errors import ConfigError


@torch.no_grad()
def test_equal_to_its_layers_written_out() -> None:
    config = SliceCNNConfig(channels=(4, 6, 8), mels=24)
    encoder = config.build().double().eval()
    layers: list[nn.Module] = [nn.Conv2d(1, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU()]
    for inputs, outputs in ((4, 6), (6, 8)):
        layers += [nn.Conv2d(inputs, inputs, 3, 2, 1, groups=inputs, bias=False), nn.BatchNorm2d(inputs), nn.ReLU()]
        layers += [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    plain = nn.Sequential(*layers).double().eval()
    for tensor in encoder.state_dict().values():
        if tensor.is_floating_point() and tensor.dim() == 1:
            tensor.add_(0.3 * torch.rand(tensor.shape, generator=torch.Generator().manual_seed(tensor.numel())))
    ours, theirs = encoder.state_dict(), plain.state_dict()
    plain.load_state_dict(dict(zip(theirs, ours.values(), strict=True)))
    x = torch.randn(2, 50, 24, generator=torch.Generator().manual_seed(0)).double()
    tokens = encoder(Features(x, torch.tensor([50, 50]), 100.0))
    maps = plain(x.transpose(1, 2).unsqueeze(1))
    torch.testing.assert_close(tokens.x, maps.permute(0, 3, 2, 1).flatten(1, 2), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(encoder.pool(tokens), maps.amax((2, 3)), rtol=1e-10, atol=1e-12)


def test_a_slice_becomes_128_numbers() -> None:
    encoder = SliceCNNConfig().build()
    assert encoder.pooled_width == 128
    assert (encoder.grid(96).time, encoder.grid(96).freq, encoder.grid(96).rate) == (3, 2, 3.125)
    for seconds, steps in ((0.5, 2), (1.0, 4), (2.37, 8), (10.0, 32)):
        assert encoder.grid(round(100 * seconds)).time == steps
    assert sum(p.numel() for p in encoder.parameters()) < 50_000


def test_settings_are_checked() -> None:
    for broken in ({"channels": (8,)}, {"channels": (8, 0)}, {"mels": 0}, {"pooling": "sum"}):
        with pytest.raises(ConfigError):
            SliceCNNConfig(**broken)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="unknown size"):
        SliceCNNConfig.size("huge")


def test_settings_travel_as_json() -> None:
    for config in (SliceCNNConfig.size("small"),):
        assert type(config).from_json(config.to_json()) == config
