from __future__ import annotations

import pytest
import torch

from auricle.audio.batch import Features
from auricle.encoders.contract import Grid
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.errors import ConfigError
from auricle.objectives.targets.alignment import align_frames, patch_size, patches


def test_frames_are_aligned_by_index_mean_or_stack() -> None:
    x = torch.arange(2 * 10 * 3, dtype=torch.float64).view(2, 10, 3)
    grid = Grid(5, 1, 50.0)
    torch.testing.assert_close(align_frames(x, 100.0, grid, "index"), x[:, ::2])
    torch.testing.assert_close(align_frames(x, 100.0, grid, "mean"), (x[:, ::2] + x[:, 1::2]) / 2)
    torch.testing.assert_close(align_frames(x, 100.0, grid, "stack"), torch.cat([x[:, ::2], x[:, 1::2]], -1))
    longer = align_frames(x, 100.0, Grid(6, 1, 50.0), "index")
    torch.testing.assert_close(longer[:, -1], x[:, -1])
    with pytest.raises(
        ConfigError, match=r"1.5 frames a token is not a whole number; .*multiple of the tokens' .66.6667"
    ):
        align_frames(x, 100.0, Grid(5, 1, 66.6667), "index")
    with pytest.raises(
        ConfigError, match=r"has 10 frames at 100 per second for 50 tokens at 50 per second, expected 100"
    ):
        align_frames(x, 100.0, Grid(50, 1, 50.0), "index")


def test_patches_are_what_tokens_stand_for() -> None:
    encoder = SpectrogramTransformerConfig(width=24, depth=3, heads=2, mels=32, frames=96, drop_path=0.0).build()
    assert patch_size(encoder) == (16, 16)
    data = Features(torch.randn(1, 40, 32, generator=torch.Generator().manual_seed(0)), torch.tensor([40]), 100.0)
    cut = patches(data, encoder.grid(40), (16, 16))
    torch.testing.assert_close(cut[0, 1], data.x[0, :16, 16:].reshape(-1))
    assert bool((cut[0, 4].view(16, 16)[8:] == data.pad).all())
