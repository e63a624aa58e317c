from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from sampler_cases import FRAMES, PATCHES, seeded

from auricle.encoders.contract import Grid
from auricle.objectives.masks.blocks import BlockMask, ClusterMask, InverseBlockMask
from auricle.objectives.masks.jepa import JepaMask


def _squares(corners: list[int], side: int, wrap: bool) -> list[set[int]]:
    """The tokens of each square, by place t * 8 + f, from corners in the same numbering."""
    found = []
    for corner in corners:
        t, f = divmod(corner, 8)
        tokens = set()
        for i in range(side):
            for j in range(side):
                if wrap:
                    line = (f * 64 + t) + 64 * i + j
                    if line < 512:
                        tokens.add(line % 64 * 8 + line // 64)
                elif t + j < 64 and f + i < 8:
                    tokens.add((t + j) * 8 + f + i)
        found.append(tokens)
    return found


@pytest.mark.parametrize("wrap", [False, True])
def test_clusters_against_a_loop(wrap: bool) -> None:
    """The sampler's own corner order, hidden square by square; only the last square is cut."""
    mask = ClusterMask(wrap=wrap)
    hidden = mask.draw(PATCHES, 10, seeded()).masked
    generator = seeded()
    sides = 3 + (torch.rand(10, generator=generator) * 3).long()
    turn = torch.rand(10, 512, generator=generator)
    assert set(sides.tolist()) == {3, 4, 5}
    for b in range(10):
        want: set[int] = set()
        for square in _squares(turn[b].argsort().tolist(), int(sides[b]), wrap):
            if len(want | square) > 400:
                break
            want |= square
        got = set(hidden[b].nonzero().flatten().tolist())
        assert want <= got
        assert got - want <= square
        assert len(got) == 400


def test_clusters_are_squares_of_three_to_five() -> None:
    few = ClusterMask(count=25, smallest=5).draw(PATCHES, 300, seeded()).masked.view(-1, 64, 8)
    whole = few[(few.sum(2) == 5).sum(1) == 5]
    assert len(whole) > 50
    assert ((whole.any(2).sum(1) == 5) & (whole.any(1).sum(1) == 5)).all()


def _inverse_blocks(draw: Callable[[int], int], share: float, steps: int, bands: int, size: int) -> set[int]:
    """fairseq's rule, block by block: offsets from the centre, clamped at the edges."""
    area = size * size if bands > 1 else size
    kept = set()
    for _ in range(int(steps * bands * share / area)):
        t, f = divmod(draw(steps * bands), bands)
        for i in range(size):
            for j in range(size if bands > 1 else 1):
                y = min(max(t + i - size // 2, 0), steps - 1)
                x = min(max(f + j - size // 2, 0), bands - 1) if bands > 1 else 0
                kept.add(y * bands + x)
    return kept


@pytest.mark.parametrize(
    ("grid", "ratio", "adjust", "size"), [(PATCHES, 0.8, 0.07, 5), (FRAMES, 0.5, 0.0, 5), (PATCHES, 0.6, 0.0, 4)]
)
def test_visible_blocks_against_a_loop(grid: Grid, ratio: float, adjust: float, size: int) -> None:
    mask = InverseBlockMask(ratio=ratio, adjust=adjust, size=size, even=False)
    seen = ~mask.draw(grid, 40, seeded()).masked
    area = size * min(size, grid.freq)
    noise = torch.rand(40, int(grid.tokens * (1 - ratio + adjust) / area), generator=seeded())
    for b in range(40):
        centres = iter((noise[b].double() * grid.tokens).long().tolist())
        want = _inverse_blocks(lambda _, c=centres: next(c), 1 - ratio + adjust, grid.time, grid.freq, size)
        assert set(seen[b].nonzero().flatten().tolist()) == want


def test_rate_of_inverse_spans_before_equalisation() -> None:
    """41 % if centres were drawn without replacement; the code draws with it, which gives 1 - 0.99^50 = 39 %."""
    mask = InverseBlockMask(ratio=0.5, adjust=0.0, even=False)
    share = float((~mask.draw(FRAMES, 1000, seeded()).masked).float().mean())
    assert share == pytest.approx(0.41, abs=0.025)
    assert share == pytest.approx(1 - (1 - 5 / 500) ** 50, abs=0.01)


@pytest.mark.parametrize("grid", [PATCHES, FRAMES], ids=["patches", "frames"])
def test_evened_blocks_differ_from_blocks_by_as_few_tokens_as_possible(grid: Grid) -> None:
    for config in (InverseBlockMask, BlockMask):
        blocks, evened = (config(even=even).draw(grid, 30, seeded()).masked for even in (False, True))
        assert torch.equal((blocks ^ evened).sum(1), (blocks.sum(1) - evened.sum(1)).abs())
        assert (evened.sum(1) == evened.sum(1)[0]).all()


def test_jepa_blocks() -> None:
    for seed in range(20):
        hidden = JepaMask().draw(PATCHES, 8, seeded(seed))
        assert hidden.predicted.sum() < hidden.masked.sum()
        share = hidden.predicted.float().mean(1)
        assert (share <= 4 * 0.2 + 0.05).all()
        assert (share >= 0.12).all()
    one = torch.cat([JepaMask(targets=1).draw(PATCHES, 4, seeded(s)).predicted for s in range(100)]).view(-1, 64, 8)
    tall, wide = one.any(2).sum(1), one.any(1).sum(1)
    assert torch.equal(tall * wide, one.sum((1, 2))), "a target is no rectangle"
    area = one.float().mean((1, 2))
    assert float(area.min()) >= 0.14
    assert float(area.max()) <= 0.21
    assert float(area.mean()) == pytest.approx(0.175, abs=0.01)
    # On a single band, blocks are spans of the same share.
    spans = torch.cat([JepaMask(targets=1).draw(FRAMES, 4, seeded(s)).predicted for s in range(50)])
    assert float(spans.float().mean()) == pytest.approx(0.175, abs=0.01)


def test_jepa_curriculum_goes_from_blocks_to_spans_and_bands() -> None:
    mask = JepaMask(targets=2, curriculum=True)

    def aware(progress: float) -> float:
        predicted = mask.draw(PATCHES, 200, seeded(), progress=progress).predicted.view(-1, 64, 8)
        return float((predicted.all(2).any(1) & predicted.all(1).any(1)).float().mean())

    assert aware(0.0) == 0.0
    assert aware(0.5) == pytest.approx(0.5, abs=0.12)
    assert aware(1.0) == 1.0
    plain = JepaMask(targets=2).draw(PATCHES, 20, seeded())
    assert torch.equal(plain.predicted, JepaMask(targets=2).draw(PATCHES, 20, seeded(), progress=1.0).predicted)
