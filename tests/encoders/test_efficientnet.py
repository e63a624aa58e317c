"""EfficientNet against transformers' on the same random weights, and its published sizes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers import EfficientNetConfig as ReferenceConfig
from transformers import EfficientNetModel

from auricle.audio.batch import Features
from auricle.encoders.efficientnet import EfficientNet, EfficientNetConfig
from auricle.errors import ConfigError


def features(x: Tensor, lengths: list[int] | None = None) -> Features:
    return Features(x, torch.tensor(lengths or [x.shape[1]] * len(x)), 100.0)


@torch.no_grad()
def shaken(model: nn.Module) -> None:
    """Move weights and running statistics away from where they start, so that each of them shows."""
    generator = torch.Generator().manual_seed(3)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
            spread = 0.5 / tensor[0].numel() ** 0.5 if tensor.dim() > 1 else 0.1
            tensor.copy_(tensor + spread * noise if "running_var" not in name else tensor + noise.abs())


@pytest.fixture(scope="module")
def pair() -> tuple[EfficientNetModel, EfficientNet]:
    settings = {"width_coefficient": 0.5, "depth_coefficient": 1.0, "num_channels": 1, "hidden_dim": 640}
    reference = EfficientNetModel(ReferenceConfig(image_size=64, **settings)).double().eval()
    encoder = EfficientNetConfig.size("tiny", mels=64).build().double().eval()
    shaken(reference)
    # Both list stem, blocks and top in the order of the computation.
    theirs, ours = reference.state_dict(), encoder.state_dict()
    assert [t.shape for t in theirs.values()] == [t.shape for t in ours.values()]
    encoder.load_state_dict(dict(zip(ours, theirs.values(), strict=True)))
    return reference, encoder


@pytest.mark.parametrize("pooling", ["mean", "max"])
@torch.no_grad()
def test_equal_to_transformers(pair: tuple[EfficientNetModel, EfficientNet], pooling: str) -> None:
    reference, encoder = pair
    x = torch.randn(2, 96, 64, generator=torch.Generator().manual_seed(0)).double()
    expected = reference(x.transpose(1, 2).unsqueeze(1), output_hidden_states=True)
    tokens = encoder(features(x), range(9))
    maps = expected.last_hidden_state
    torch.testing.assert_close(tokens.x, maps.permute(0, 3, 2, 1).flatten(1, 2), rtol=1e-9, atol=1e-9)
    assert tokens.layers is not None
    # Their hidden states: the stem, then each block; ours: the stem, then each stage's last block.
    for layer, block in zip(range(8), (0, 1, 3, 5, 8, 11, 15, 16), strict=True):
        wanted = expected.hidden_states[block].permute(0, 3, 2, 1).flatten(1, 2)
        torch.testing.assert_close(tokens.layers[layer].block, wanted, rtol=1e-9, atol=1e-9)
    encoder.pooling = "mean" if pooling == "mean" else "max"
    wanted = maps.mean((2, 3)) if pooling == "mean" else maps.amax((2, 3))
    torch.testing.assert_close(encoder.pool(tokens), wanted, rtol=1e-9, atol=1e-9)
    encoder.pooling = "max"


def test_sizes() -> None:
    count = sum(p.numel() for p in EfficientNetConfig().build().parameters())
    # 4,007,548 with three input channels; the stem's 32 kernels of 3 x 3 lack two of them.
    assert count == 4_007_548 - 2 * 32 * 9
    assert 1_000_000 < sum(p.numel() for p in EfficientNetConfig.size("tiny").build().parameters()) < 2_000_000


def test_the_largest_published_size() -> None:
    encoder = EfficientNetConfig.size("b7").build()
    assert sum(p.numel() for p in encoder.parameters()) == pytest.approx(63.8e6, rel=1e-3)


def test_grid() -> None:
    encoder = EfficientNetConfig.size("tiny").build()
    assert (encoder.grid(96).time, encoder.grid(96).freq, encoder.grid(96).rate) == (3, 2, 3.125)
    for seconds, steps in ((0.5, 2), (1.0, 4), (2.37, 8), (10.0, 32)):
        assert encoder.grid(round(100 * seconds)).time == steps
    assert encoder.least_frames == 1


def test_a_clip_skips_a_branch_now_and_then() -> None:
    encoder = EfficientNetConfig.size("tiny", drop_path=0.9).build().train()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    x = torch.randn(1, 32, 64, generator=torch.Generator().manual_seed(0)).expand(6, -1, -1)
    torch.manual_seed(0)
    rows = encoder.pool(encoder(features(x)))
    assert len({tuple(row.tolist()) for row in rows}) > 1
    torch.manual_seed(0)
    assert torch.equal(rows, encoder.pool(encoder(features(x))))


@pytest.mark.parametrize(
    "change", [{"pooling": "min"}, {"width_factor": 0.0}, {"depth_factor": -1.0}, {"mels": 0}, {"drop_path": 1.0}]
)
def test_settings_are_checked(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        EfficientNetConfig(**change)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="unknown size"):
        EfficientNetConfig.size("b1")


def test_settings_travel_as_json() -> None:
    for config in (EfficientNetConfig.size("b7"),):
        assert type(config).from_json(config.to_json()) == config
