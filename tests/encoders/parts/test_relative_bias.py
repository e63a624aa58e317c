"""Relative biases beside the library's and beside their formulas."""

from __future__ import annotations

import math

import pytest
import torch

from auricle.encoders.parts.relative_bias import AlibiBias, PositionGate, RelativeBias, alibi_slopes, relative_buckets
from auricle.errors import ConfigError


@pytest.mark.parametrize(("buckets", "distance"), [(320, 800), (320, 1280), (32, 128), (8, 12)])
def test_buckets_equal_the_library(buckets: int, distance: int) -> None:
    wavlm = pytest.importorskip("transformers.models.wavlm.modeling_wavlm")
    attention = wavlm.WavLMAttention(8, 2, num_buckets=buckets, max_distance=distance)
    offsets = torch.arange(-2000, 2001)
    assert torch.equal(relative_buckets(offsets, buckets, distance), attention._relative_positions_bucket(offsets))


def test_buckets_by_hand() -> None:
    """Of 8: keys before or at the query 0-3, later ones 4-7; two exact distances, then up to 8, then the last."""
    found = relative_buckets(torch.tensor([-50, -4, -3, -2, -1, 0, 1, 2, 3, 4, 50]), 8, 8)
    assert found.tolist() == [3, 3, 2, 2, 1, 0, 5, 6, 6, 7, 7]


def test_bias_by_loops_at_chosen_places() -> None:
    bias = RelativeBias(3, 16, 20).double()
    bias.table.data.normal_(generator=torch.Generator().manual_seed(0))
    places = torch.tensor([[4, 0, 29, 11], [7, 8, 9, 2]])
    out = bias(places, 30)
    assert out.shape == (2, 3, 4, 4)
    for b in range(2):
        for i in range(4):
            for j in range(4):
                bucket = relative_buckets(places[b, j] - places[b, i], 16, 20)
                assert torch.equal(out[b, :, i, j], bias.table[bucket])
    whole = bias(torch.arange(30)[None], 30)
    assert torch.equal(out[0], whole[0][:, places[0]][:, :, places[0]])


def test_alibi_slopes_of_any_number_of_heads() -> None:
    assert alibi_slopes(8) == [2.0**-k for k in range(1, 9)]
    # Twelve: those of eight, then the first, third ... of sixteen.
    assert alibi_slopes(12) == [2.0**-k for k in range(1, 9)] + [2.0 ** -(k / 2) for k in (1, 3, 5, 7)]
    assert alibi_slopes(1) == [2.0**-8]
    assert alibi_slopes(3) == [2.0**-4, 2.0**-8, 2.0**-2]


def test_alibi_falls_with_distance_and_never_rises() -> None:
    bias = AlibiBias(2).double()
    bias.scale.data = torch.tensor([2.0, -1.0]).double()
    out = bias(torch.tensor([[5, 1]]), 6)
    assert out[0, 0].tolist() == [[0.0, -4 * 2 * 2.0**-4], [-4 * 2 * 2.0**-4, 0.0]]
    assert not out[0, 1].any()


def test_gate_by_its_formula() -> None:
    gate = PositionGate(2, 3).double()
    gate.scale.data = torch.tensor([0.5, 2.0]).double()
    x = torch.randn(1, 2, 4, 3, generator=torch.Generator().manual_seed(1)).double()
    out = gate(x)
    for h in range(2):
        for k in range(4):
            y = (gate.project.weight @ x[0, h, k] + gate.project.bias).tolist()
            a, b = (1 / (1 + math.exp(-sum(part))) for part in (y[:4], y[4:]))
            assert out[0, h, k, 0].item() == pytest.approx(a * (b * gate.scale[h].item() - 1) + 2, rel=1e-12)


def test_sizes_without_a_logarithmic_part_are_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of 4"):
        RelativeBias(2, 6)
    with pytest.raises(ConfigError, match="exceed a quarter"):
        RelativeBias(2, 32, 8)
