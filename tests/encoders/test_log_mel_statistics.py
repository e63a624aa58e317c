from __future__ import annotations

import numpy as np
import pytest
import torch

from auricle.audio.batch import Features
from auricle.encoders.log_mel_statistics import LogMelStatisticsConfig
from auricle.errors import ConfigError


def test_against_numpy() -> None:
    encoder = LogMelStatisticsConfig(mels=5, frames_per_token=4).build()
    x = torch.randn(2, 11, 5, generator=torch.Generator().manual_seed(0))
    tokens = encoder(Features(x, torch.tensor([11, 6]), 100.0), layers=[0])
    pooled = encoder.pool(tokens)
    assert (tokens.grid.time, tokens.grid.freq, tokens.grid.rate) == (3, 1, 25.0)
    assert tokens.valid is not None
    assert tokens.valid.tolist() == [[True, True, True], [True, True, False]]
    for b, length in enumerate((11, 6)):
        frames = x[b, :length].numpy()
        np.testing.assert_allclose(pooled[b, :5], frames.mean(0), atol=1e-6)
        np.testing.assert_allclose(pooled[b, 5:], frames.std(0), atol=1e-6)
        for t in range(-(-length // 4)):
            np.testing.assert_allclose(tokens.x[b, t], frames[4 * t : 4 * t + 4].mean(0), atol=1e-6)
    assert tokens.layers is not None
    assert torch.equal(tokens.layers[0].block, tokens.x)


def test_refusals() -> None:
    encoder = LogMelStatisticsConfig(mels=5).build()
    with pytest.raises(ConfigError, match=r"expected \(B, T, 5\)"):
        encoder(Features(torch.zeros(1, 3, 4), torch.tensor([3]), 100.0))
    with pytest.raises(ConfigError, match="0 only"):
        encoder(Features(torch.zeros(1, 3, 5), torch.tensor([3]), 100.0), layers=[1])
    with pytest.raises(ConfigError, match="at least 1"):
        LogMelStatisticsConfig(mels=0)
