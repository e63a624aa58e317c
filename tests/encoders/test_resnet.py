"""ResNet against transformers' on the same random weights; sizes; the one-dimensional twin."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor
from transformers import ResNetConfig as ReferenceConfig
from transformers import ResNetModel

from auricle.audio.batch import Features
from auricle.encoders.resnet import ResNet, ResNetConfig, SampleResNetConfig
from auricle.errors import ConfigError


def features(x: Tensor, rate: float = 100.0) -> Features:
    return Features(x, torch.full((len(x),), x.shape[1]), rate)


def translated(name: str) -> str:
    """Return our name of one of transformers' parameters."""
    name = re.sub(r"embedder\.embedder\.convolution", "conv1", name)
    name = re.sub(r"embedder\.embedder\.normalization", "bn1", name)
    name = re.sub(r"encoder\.stages\.(\d)\.layers\.(\d+)\.", lambda m: f"layer{int(m[1]) + 1}.{m[2]}.", name)
    name = re.sub(r"shortcut\.convolution", "downsample.0", name)
    name = re.sub(r"shortcut\.normalization", "downsample.1", name)
    name = re.sub(r"layer\.(\d)\.convolution", lambda m: f"conv{int(m[1]) + 1}", name)
    return re.sub(r"layer\.(\d)\.normalization", lambda m: f"bn{int(m[1]) + 1}", name)


@pytest.mark.parametrize(("block", "spectrograms"), [("basic", 1), ("bottleneck", 3)])
@torch.no_grad()
def test_equal_to_transformers(block: str, spectrograms: int) -> None:
    wide = 4 if block == "bottleneck" else 1
    reference = ResNetModel(
        ReferenceConfig(
            num_channels=spectrograms,
            embedding_size=16,
            hidden_sizes=[16 * wide * 2**i for i in range(4)],
            depths=[2, 1, 2, 1],
            layer_type=block,
        )
    )
    generator = torch.Generator().manual_seed(0)
    for name, tensor in reference.state_dict().items():
        if tensor.dim() == 1 and tensor.is_floating_point():
            tensor.add_(0.2 * torch.rand(tensor.shape, generator=generator))
        elif tensor.is_floating_point():
            tensor.add_(0.02 * torch.randn(tensor.shape, generator=generator))
        assert name
    config = ResNetConfig(
        block=block,  # type: ignore[arg-type]
        blocks=(2, 1, 2, 1),
        channels=16,
        mels=64,
        spectrograms=spectrograms,
    )
    encoder = config.build()
    encoder.load_state_dict({translated(name): tensor for name, tensor in reference.state_dict().items()})
    encoder.double().eval()
    reference.double().eval()
    x = torch.randn(2, 101, spectrograms, 64, generator=generator).double()
    expected = reference(x.permute(0, 2, 3, 1), output_hidden_states=True)
    tokens = encoder(features(x.flatten(2)), range(5))
    wanted = expected.last_hidden_state.permute(0, 3, 2, 1).flatten(1, 2)
    torch.testing.assert_close(tokens.x, wanted, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(encoder.pool(tokens), expected.pooler_output.flatten(1), rtol=1e-9, atol=1e-9)
    assert tokens.layers is not None
    for ours, theirs in zip(tokens.layers, expected.hidden_states, strict=True):
        torch.testing.assert_close(ours.block, theirs.permute(0, 3, 2, 1).flatten(1, 2), rtol=1e-9, atol=1e-9)


def count(encoder: ResNet) -> int:
    return sum(p.numel() for p in encoder.parameters())


def test_sizes() -> None:
    assert count(ResNetConfig.size("18").build()) == pytest.approx(11.17e6, abs=5e3)
    assert count(ResNetConfig.size("50").build()) == pytest.approx(23.50e6, abs=5e3)
    assert 1e6 < count(ResNetConfig.size("tiny").build()) < 6e6


def test_the_twin_on_samples_has_as_many_parameters() -> None:
    image, wave = (kind.size("tiny").build() for kind in (ResNetConfig, SampleResNetConfig))
    assert count(image) == count(wave)
    assert wave.grid(16000).rate == 15.625
    assert wave.bands is None
    for seconds, steps in ((0.5, 8), (1.0, 16), (2.37, 38), (10.0, 157)):
        assert wave.grid(round(16000 * seconds)).time == steps


@torch.no_grad()
def test_the_twin_equals_a_plain_loop() -> None:
    """One residual block and the stem by hand: correlation written as sums over shifted samples, in float64."""
    encoder = SampleResNetConfig(channels=2, blocks=(1, 1, 1, 1)).build().double().eval()
    x = torch.randn(1, 700, generator=torch.Generator().manual_seed(0)).double()

    def conv(values: Tensor, weight: Tensor, stride: int) -> Tensor:
        outputs, _, kernel = weight.shape
        room = torch.nn.functional.pad(values, (kernel // 2, kernel // 2))
        places = range(0, room.shape[1] - kernel + 1, stride)
        return torch.stack(
            [torch.stack([(room[:, p : p + kernel] * weight[o]).sum() for p in places]) for o in range(outputs)]
        )

    def norm(values: Tensor) -> Tensor:
        return values / (1 + 1e-5) ** 0.5

    stem = norm(conv(x, encoder.conv1.weight, 4)).relu()
    room = torch.nn.functional.pad(stem, (4, 4), value=float("-inf"))
    pooled = torch.stack([room[:, p : p + 9].amax(1) for p in range(0, room.shape[1] - 8, 4)], 1)
    block = encoder.layer1[0]  # type: ignore[index]
    branch = norm(conv(norm(conv(pooled, block.conv1.weight, 1)).relu(), block.conv2.weight, 1))
    tokens = encoder(features(x, 16000.0), [0, 1])
    assert tokens.layers is not None
    torch.testing.assert_close(tokens.layers[0].block[0], pooled.T, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(tokens.layers[1].block[0], (pooled + branch).relu().T, rtol=1e-10, atol=1e-12)


def test_grid() -> None:
    encoder = ResNetConfig.size("tiny", mels=64).build()
    for seconds, steps in ((0.5, 2), (1.0, 4), (2.37, 8), (10.0, 32)):
        assert encoder.grid(round(100 * seconds)).time == steps
    assert (encoder.grid(1000).freq, encoder.grid(1000).rate) == (2, 3.125)


def test_one_spectrogram_can_be_shown_three_times() -> None:
    once = ResNetConfig(channels=4, mels=32, spectrograms=3, repeat=True)
    thrice = once.replace(repeat=False)
    x = torch.randn(2, 40, 32, generator=torch.Generator().manual_seed(0))
    one, three = once.build().eval(), thrice.build().eval()
    assert (one.bands, three.bands) == (32, 96)
    torch.testing.assert_close(one(features(x)).x, three(features(x.repeat(1, 1, 3))).x)


def test_input_is_checked() -> None:
    encoder = ResNetConfig(channels=4, mels=32, spectrograms=3).build()
    with pytest.raises(ConfigError, match=r"expected \(B, T, 96\)"):
        encoder.tokenize(features(torch.zeros(1, 40, 32)))
    wave = SampleResNetConfig(channels=4).build()
    with pytest.raises(ConfigError, match="reads samples"):
        wave.tokenize(features(torch.zeros(1, 40, 32), 16000.0))


@pytest.mark.parametrize(
    "change",
    [{"block": "wide"}, {"blocks": (1, 1, 1)}, {"blocks": (1, 1, 1, 0)}, {"channels": 0}, {"pooling": "last"}],
)
def test_settings_are_checked(change: dict[str, object]) -> None:
    for kind in (ResNetConfig, SampleResNetConfig):
        with pytest.raises(ConfigError):
            kind(**change)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="unknown size"):
            kind.size("34")
    with pytest.raises(ConfigError):
        ResNetConfig(mels=0)


def test_settings_travel_as_json() -> None:
    for config in (ResNetConfig.size("50", mels=80), SampleResNetConfig.size("tiny")):
        assert type(config).from_json(config.to_json()) == config
