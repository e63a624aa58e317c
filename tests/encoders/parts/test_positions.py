from __future__ import annotations

import math

import pytest
import torch

from auricle.encoders.contract import Tokens
from auricle.encoders.parts.positions import sincos_grid
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.errors import ConfigError
from auricle.objectives.predictive.decoder import TransformerDecoderConfig


def test_table_against_a_loop() -> None:
    rows, columns, width = 3, 5, 16
    table = sincos_grid(rows, columns, width)
    for i in range(rows * columns):
        expected = []
        for place in (i % columns, i // columns):  # the first half encodes the column
            angles = [place * 10000 ** (-k / (width // 4)) for k in range(width // 4)]
            expected += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        torch.testing.assert_close(table[i], torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize(("layout", "columns"), [("true", 8), ("released", 64)])
def test_where_learned_positions_start(layout: str, columns: int) -> None:
    encoder = SpectrogramTransformerConfig(width=32, heads=2, depth=1, position_init_grid=layout).build()
    expected = sincos_grid(512 // columns, columns, 32).float()
    torch.testing.assert_close(encoder.positions[0, 1:].detach(), expected)
    assert float(encoder.positions[0, 0].detach().abs().sum()) == 0
    assert encoder.positions.requires_grad
    fixed = SpectrogramTransformerConfig(
        width=32, heads=2, depth=1, positions="sincos", position_init_grid=layout
    ).build()
    torch.testing.assert_close(fixed.positions[0, 1:], expected)
    decoder = TransformerDecoderConfig(32, 1, 2, position_grid=layout).build(fixed, torch.Generator())
    torch.nn.init.zeros_(decoder.embed.weight)
    placed = decoder._placed(Tokens(torch.zeros(1, 512, 32), fixed.grid(1024)))
    torch.testing.assert_close(placed[0].detach(), expected)


def test_width_must_fit() -> None:
    with pytest.raises(ConfigError, match="multiple of 4"):
        sincos_grid(2, 2, 10)
