"""SampleCNN against a plain re-statement of its layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from auricle.audio.batch import Features
from auricle.encoders.sample_cnn import SampleCNNConfig
from auricle.errors import ConfigError


def features(x: torch.Tensor) -> Features:
    return Features(x, torch.full((len(x),), x.shape[1]), 22050.0)


def oracle(stem: int, blocks: tuple[int, ...]) -> nn.Sequential:
    units = [nn.Sequential(nn.Conv1d(1, stem, 3, stride=3), nn.BatchNorm1d(stem), nn.ReLU())]
    for inputs, outputs in zip((stem, *blocks), blocks, strict=False):
        units.append(
            nn.Sequential(
                nn.Conv1d(inputs, outputs, 3, padding=1), nn.BatchNorm1d(outputs), nn.ReLU(), nn.MaxPool1d(3, 3)
            )
        )
    last = blocks[-1]
    units.append(nn.Sequential(nn.Conv1d(last, last, 3, padding=1), nn.BatchNorm1d(last), nn.ReLU()))
    return nn.Sequential(*units)


@torch.no_grad()
def test_equal_to_its_layers_written_out() -> None:
    config = SampleCNNConfig(stem=8, blocks=(8, 8, 12, 12, 16))
    encoder, plain = config.build().double(), oracle(config.stem, config.blocks).double()
    state = encoder.state_dict()
    for tensor in state.values():
        if tensor.is_floating_point() and tensor.dim() == 1:
            tensor.add_(0.3 * torch.rand(tensor.shape, generator=torch.Generator().manual_seed(tensor.numel())))
    plain.load_state_dict({f"{name.removeprefix('sequential.')}": tensor for name, tensor in state.items()})
    x = torch.randn(2, 1600, generator=torch.Generator().manual_seed(0)).double()
    encoder.eval()
    plain.eval()
    tokens = encoder(features(x), range(7))
    assert tokens.layers is not None
    y = x.unsqueeze(1)
    for layer, unit in enumerate(plain):
        y = unit(y)
        torch.testing.assert_close(tokens.layers[layer].block, y.transpose(1, 2), rtol=1e-10, atol=1e-12)
    assert tokens.x.shape == (2, 2, 16)


@torch.no_grad()
def test_59049_samples_become_one_token_of_512() -> None:
    encoder = SampleCNNConfig().build().eval()
    assert encoder.least_frames == 59_049
    convs = [(1, 128), (128, 128), (128, 128), (128, 256), *[(256, 256)] * 5, (256, 512), (512, 512)]
    # Kernel 3 everywhere, biases, and a norm's scale and shift.
    assert sum(p.numel() for p in encoder.parameters()) == sum(3 * i * o + 3 * o for i, o in convs)
    tokens = encoder(features(torch.randn(1, 59_049, generator=torch.Generator().manual_seed(0))))
    assert tokens.x.shape == (1, 1, 512)
    assert torch.equal(encoder.pool(tokens), tokens.x[:, 0])
    for seconds, steps in ((0.5, 0), (1.0, 0), (2.37, 0), (2.68, 1), (10.0, 3)):
        assert encoder.grid(round(22050 * seconds)).time == steps
    assert encoder.grid(59_049).rate == pytest.approx(22050 / 59_049)


def test_too_short_inputs_are_refused() -> None:
    encoder = SampleCNNConfig(stem=4, blocks=(4, 4)).build()
    assert encoder.least_frames == 27
    with pytest.raises(ConfigError, match="26 samples, SampleCNN needs at least 27"):
        encoder.tokenize(features(torch.zeros(1, 26)))


def test_sizes() -> None:
    assert SampleCNNConfig.size("base") == SampleCNNConfig()
    assert sum(p.numel() for p in SampleCNNConfig.size("tiny").build().parameters()) < 1_000_000
    for broken in ({"blocks": ()}, {"stem": 0}, {"pooling": "sum"}):
        with pytest.raises(ConfigError):
            SampleCNNConfig(**broken)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="unknown size"):
        SampleCNNConfig.size("huge")


def test_settings_travel_as_json() -> None:
    for config in (SampleCNNConfig.size("tiny"),):
        assert type(config).from_json(config.to_json()) == config
