from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from auricle.encoders.parts.token_drop import keep_columns, keep_count, keep_crossing, keep_rows, kept_lines
from auricle.errors import ConfigError


@pytest.mark.parametrize(
    ("lines", "ratio", "kept"), [(8, 0.4, 4), (8, 0.6, 3), (64, 0.6, 25), (64, 0.4, 38), (8, 0.2, 6)]
)
def test_published_counts(lines: int, ratio: float, kept: int) -> None:
    assert keep_count(lines, ratio) == kept


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**31))
def test_rows_columns_and_crossing_agree(rows: int, columns: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    r, c = torch.rand(2, rows, generator=generator), torch.rand(2, columns, generator=generator)
    try:
        in_rows, in_columns = keep_rows(r, 0.4, columns), keep_columns(c, 0.3, rows)
        crossing = keep_crossing(r, 0.4, c, 0.3)
    except ConfigError:
        assert keep_count(rows, 0.4) == 0 or keep_count(columns, 0.3) == 0
        return
    for b in range(2):
        assert set(crossing[b].tolist()) == set(in_rows[b].tolist()) & set(in_columns[b].tolist())
        for index in (in_rows, in_columns, crossing):
            assert (index[b].diff() > 0).all()


def test_lines_with_least_noise_stay() -> None:
    noise = torch.tensor([[0.9, 0.1, 0.5, 0.2]])
    assert kept_lines(noise, 0.5).tolist() == [[1, 3]]


@pytest.mark.parametrize("ratio", [-0.1, 1.0, 1.5])
def test_ratio_outside(ratio: float) -> None:
    with pytest.raises(ConfigError, match="mask ratio"):
        keep_count(8, ratio)
