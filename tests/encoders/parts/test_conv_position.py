"""Convolutional positions beside torch's weight normalisation, and over dropped tokens."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.encoders.contract import Grid, Tokens
from auricle.encoders.parts.conv_position import ConvPosition, ConvPositionConfig, with_positions
from auricle.errors import ConfigError


def built(kernel: int, depth: int) -> ConvPosition:
    position = ConvPosition(ConvPositionConfig(kernel, 2, depth), 6)
    position.initialise(torch.Generator().manual_seed(0))
    with torch.no_grad():
        for place, p in enumerate(position.parameters()):
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(place)) * 0.2)
    return position.double()


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(9)).double()


@pytest.mark.parametrize("kernel", [4, 5, 16])
def test_equal_to_torch_weight_norm(kernel: int) -> None:
    position = built(kernel, 1)
    conv = nn.Conv1d(6, 6, kernel, padding=kernel // 2, groups=2).double()
    nn.utils.parametrizations.weight_norm(conv, "weight", dim=2)
    ours = position.convs[0]
    conv.parametrizations.weight.original0.data = ours.gain.data.view(1, 1, -1)
    conv.parametrizations.weight.original1.data = ours.direction.data
    conv.bias.data = ours.bias.data
    x = noise(2, 11, 6)
    torch.testing.assert_close(position(x), F.gelu(conv(x.transpose(1, 2))[..., :11]).transpose(1, 2))


def test_fresh_gain_leaves_the_direction_as_the_weight() -> None:
    position = ConvPosition(ConvPositionConfig(8, 2), 64)
    position.initialise(torch.Generator().manual_seed(0))
    conv = position.convs[0]
    torch.testing.assert_close(conv.gain, conv.direction.norm(dim=(0, 1)))
    assert conv.direction.std().item() == pytest.approx(math.sqrt(4 / (8 * 64)), rel=0.02)


@pytest.mark.parametrize("depth", [1, 3])
def test_padding_equals_the_sequence_alone(depth: int) -> None:
    position = built(5, depth)
    x = noise(1, 12, 6)
    within = torch.arange(12)[None] < 7
    torch.testing.assert_close(position(x, within)[:, :7], position(x[:, :7]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("depth", [1, 3])
def test_dropped_tokens_count_as_zeros_and_padding_as_the_end(depth: int) -> None:
    position = built(5, depth)
    x = noise(2, 12, 6)
    valid = torch.arange(12)[None] < torch.tensor([[12], [8]])
    tokens = Tokens(x, Grid(12, 1, 50.0), valid=valid)
    index = torch.tensor([[11, 0, 4, 5], [7, 2, 10, 1]])  # place 10 of the second clip is padding
    out = with_positions(tokens.keep(index), position)
    dense = torch.zeros(12, 6).double()
    dense[index[0]] = x[0, index[0]]
    torch.testing.assert_close(out[0], (dense + position(dense[None])[0])[index[0]], rtol=1e-12, atol=1e-12)
    dense = torch.zeros(8, 6).double()
    seen = index[1][[0, 1, 3]]
    dense[seen] = x[1, seen]
    torch.testing.assert_close(out[1, [0, 1, 3]], (dense + position(dense[None])[0])[seen], rtol=1e-12, atol=1e-12)


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        ConvPositionConfig(depth=0)
    with pytest.raises(ConfigError, match="multiple of the 16 groups"):
        ConvPosition(ConvPositionConfig(), 40)
