from __future__ import annotations

import numpy as np
import pytest
import torch

from auricle.errors import ConfigError
from auricle.tokens.token_set import TokenSet


def test_dense_tokens_come_back() -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(5, 6, 4, generator=draw)
    valid = torch.ones(5, 6, dtype=torch.bool)
    valid[2, 3:] = False
    cls = torch.randn(5, 2, 4, generator=draw)
    tokens = TokenSet.from_tensors(x, valid=valid, class_tokens=cls, freq=2, rate=25.0, encoder="e")
    assert len(tokens) == 5
    assert (tokens.shape.width, tokens.shape.pooled_width, tokens.shape.cls, tokens.shape.freq) == (4, 4, 2, 2)
    batch = tokens.batch([4, 2])
    assert torch.equal(batch.x[0], x[4])
    assert torch.equal(batch.x[1, :3], x[2, :3])
    assert not batch.x[1, 3:].any()
    assert torch.equal(batch.valid, valid[[4, 2]])
    assert torch.equal(batch.cls, cls[[4, 2]])
    np.testing.assert_allclose(batch.pooled[1], x[2, :3].mean(0), rtol=1e-5)
    assert (batch.grid.time, batch.grid.freq, batch.grid.rate) == (3, 2, 25.0)


def test_selecting_shares_the_tokens() -> None:
    tokens = TokenSet.from_tensors(torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0)))
    some = tokens.select([3, 1]).select([1])
    assert some.tokens is tokens.tokens
    assert torch.equal(some.batch([0]).x, tokens.batch([1]).x)
    assert len(tokens.select([])) == 0


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="5 tokens a clip do not fill a grid of 2"):
        TokenSet.from_tensors(torch.zeros(1, 5, 2), freq=2)
    with pytest.raises(ConfigError, match="no valid token"):
        TokenSet.from_tensors(torch.zeros(2, 3, 2), valid=torch.tensor([[True] * 3, [False] * 3]))
