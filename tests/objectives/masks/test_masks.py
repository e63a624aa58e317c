from __future__ import annotations

import pytest
import torch

from auricle.encoders.contract import Grid
from auricle.encoders.parts.token_drop import keep_count
from auricle.errors import ConfigError
from auricle.objectives.masks.structured import MaskConfig, freq_mask, mask_lines, time_mask, unstructured_mask

GRID = Grid(64, 8, 6.25)
# ratio: (released time, released freq, true time, true freq), the sheet's table.
COUNTS = {
    0.1: (448, 456, 456, 448),
    0.2: (384, 408, 408, 384),
    0.3: (320, 352, 352, 320),
    0.4: (256, 304, 304, 256),
    0.5: (256, 256, 256, 256),
    0.6: (192, 200, 200, 192),
    0.7: (128, 152, 152, 128),
    0.8: (64, 96, 96, 64),
}


@pytest.mark.parametrize("ratio", list(COUNTS))
def test_keep_counts(ratio: float) -> None:
    generator = torch.Generator().manual_seed(0)
    found = []
    for layout in ("released", "true"):
        config = MaskConfig(time=ratio, freq=ratio, grid=layout)
        found += [config.draw(kind, GRID, 3, generator).index.shape[1] for kind in ("time", "freq")]
    assert tuple(found) == COUNTS[ratio]


def test_degenerate_ratio_is_refused() -> None:
    assert keep_count(8, 0.9) == 0
    with pytest.raises(ConfigError, match="keeps none of 8 lines"):
        MaskConfig(time=0.9, grid="released").draw("time", GRID, 2, torch.Generator())
    assert MaskConfig(freq=0.9, grid="released").draw("freq", GRID, 2, torch.Generator()).index.shape == (2, 48)


def kept(kind: str, layout: str, clips: int) -> torch.Tensor:
    """A bool map (clips, 64, 8) of what is kept, on the tokens' true grid."""
    index = MaskConfig(grid=layout).draw(kind, GRID, clips, torch.Generator().manual_seed(7)).index
    return torch.zeros(clips, 512, dtype=torch.bool).scatter_(1, index, True).view(clips, 64, 8)


def test_statistics_of_the_released_grid() -> None:
    time, freq = kept("time", "released", 4000), kept("freq", "released", 4000)
    assert time.float().mean() == pytest.approx(0.375, abs=1e-6)
    assert freq.float().mean() == pytest.approx(0.594, abs=1e-3)

    def both(x: torch.Tensor, dt: int, df: int) -> float:
        return float((x[:, : 64 - dt, : 8 - df] & x[:, dt:, df:]).float().mean())

    assert both(time, 0, 1) == pytest.approx(0.375, abs=0.02)
    assert both(time, 1, 0) == pytest.approx(0.345, abs=0.02)
    assert both(time, 8, 0) == pytest.approx(0.106, abs=0.02)
    assert both(freq, 0, 1) == pytest.approx(0.349, abs=0.02)
    assert both(freq, 1, 0) == pytest.approx(0.349, abs=0.02)
    assert both(freq, 8, 0) == pytest.approx(0.594, abs=0.02)
    # The "frequency" mask is no band mask: every mel row survives in practically every clip.
    assert freq.any(1).float().mean() > 0.999
    # The pair always shares exactly 3 * 38 tokens.
    assert set((time & freq).sum((1, 2)).tolist()) == {114}


def test_statistics_of_the_true_grid() -> None:
    time, freq = kept("time", "true", 4000), kept("freq", "true", 4000)
    assert (time.any(2) == time.all(2)).all()
    assert (time.any(2).sum(1) == 25).all()
    assert (freq.any(1) == freq.all(1)).all()
    assert (freq.any(1).sum(1) == 4).all()
    assert set((time & freq).sum((1, 2)).tolist()) == {100}
    torch.testing.assert_close(time.float().mean((0, 2)), torch.full((64,), 25 / 64), atol=0.03, rtol=0)
    torch.testing.assert_close(freq.float().mean((0, 1)), torch.full((8,), 0.5), atol=0.03, rtol=0)


def test_released_rule_against_a_loop() -> None:
    """Independent oracle: token i lies at row i // 64, column i % 64 of the transposed record."""
    generator = torch.Generator().manual_seed(3)
    rows, columns = torch.rand(5, 8, generator=generator), torch.rand(5, 64, generator=generator)
    time, freq = time_mask(GRID, 0.6, rows, "released").index, freq_mask(GRID, 0.4, columns, "released").index
    for b in range(5):
        kept_rows = set(sorted(range(8), key=lambda r: float(rows[b, r]))[:3])
        kept_columns = set(sorted(range(64), key=lambda c: float(columns[b, c]))[:38])
        assert time[b].tolist() == [i for i in range(512) if i // 64 in kept_rows]
        assert freq[b].tolist() == [i for i in range(512) if i % 64 in kept_columns]


def test_modes_and_their_kinds() -> None:
    assert MaskConfig().kinds == ("time", "freq")
    assert MaskConfig(mode="tt").kinds == ("time", "time")
    assert MaskConfig(mode="ff").kinds == ("freq", "freq")
    whole = MaskConfig(mode="none").draw("none", GRID, 2, torch.Generator())
    assert whole.index.tolist() == [list(range(512))] * 2
    part = MaskConfig(mode="unstructured", ratio=0.8).draw("unstructured", GRID, 2, torch.Generator())
    assert part.index.shape == (2, 102)
    assert all(len(set(row)) == 102 for row in part.index.tolist())


def test_draws_come_from_the_generator_only() -> None:
    state = torch.get_rng_state()
    one = MaskConfig().draw("time", GRID, 4, torch.Generator().manual_seed(5)).index
    two = MaskConfig().draw("time", GRID, 4, torch.Generator().manual_seed(5)).index
    assert torch.equal(one, two)
    assert torch.equal(state, torch.get_rng_state())


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"mask\.mode is 'fft'"):
        MaskConfig(mode="fft")
    with pytest.raises(ConfigError, match=r"mask\.grid is"):
        MaskConfig(grid="falsch")
    with pytest.raises(ConfigError, match=r"mask\.time is 1\.0"):
        MaskConfig(time=1.0)
    with pytest.raises(ConfigError, match="one per line"):
        unstructured_mask(GRID, 0.5, torch.rand(2, 8))
    assert mask_lines("time", GRID) == 64
    assert mask_lines("time", GRID, "released") == 8
