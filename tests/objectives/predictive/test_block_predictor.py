"""The predictor of target blocks sees context and targets, and nothing else."""

from __future__ import annotations

import pytest
import torch

from auricle.audio.batch import Features
from auricle.encoders.contract import Grid, Tokens
from auricle.encoders.parts.positions import sincos_grid
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.errors import ConfigError
from auricle.objectives.contract import View
from auricle.objectives.masks.jepa import JepaMask
from auricle.objectives.predictive.block_predictor import BlockPredictorConfig
from auricle.objectives.targets.target import MaskedBatch

GRID = Grid(10, 4, 6.25)


def test_equals_a_sequence_of_context_and_targets_only() -> None:
    encoder = SpectrogramTransformerConfig(width=16, depth=1, heads=2, mels=64, frames=160).build()
    predictor = (
        BlockPredictorConfig(width=12, depth=2, heads=3).build(encoder, torch.Generator().manual_seed(0)).double()
    )
    # Weights of training's size: at the start attention is nearly uniform, and a wrong key would hardly show.
    with torch.no_grad():
        for p in predictor.parameters():
            p += 0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
    hidden = JepaMask().draw(GRID, 3, torch.Generator().manual_seed(1))
    assert bool((hidden.masked & ~hidden.predicted).any())
    index = hidden.visible()
    assert index is not None
    x = torch.randn(3, index.shape[1], 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    view = View(Features(torch.zeros(3, 160, 64), torch.full((3,), 160), 100.0), torch.arange(3))
    whole = Tokens(torch.zeros(3, 40, 16), GRID)
    out = Tokens(x, GRID, index=index)
    masked_batch = MaskedBatch(encoder, view, view, whole, out, {}, hidden, 1, torch.Generator(), 0.0, 0)
    made = predictor.decode(masked_batch).x
    places = sincos_grid(10, 4, 12)
    for row in range(3):
        wanted = hidden.predicted[row].nonzero()[:, 0]
        alone = torch.cat([predictor.embed(x[row]) + places[index[row]], predictor.mask_token[0] + places[wanted]])[
            None
        ]
        for block in predictor.blocks:
            alone, _ = block(alone)
        alone = predictor.norm(alone)[0, index.shape[1] :]
        torch.testing.assert_close(made[row, wanted], alone)


def test_refuses_widths_that_do_not_divide() -> None:
    with pytest.raises(ConfigError, match="multiple"):
        BlockPredictorConfig(width=10, heads=5)
    with pytest.raises(ConfigError, match="multiple"):
        BlockPredictorConfig(width=16, heads=3)
