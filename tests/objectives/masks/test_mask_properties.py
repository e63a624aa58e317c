"""Properties of masks that hold for any grid and any padding, and the choices that they are made of against loops."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from auricle.encoders.contract import Grid
from auricle.errors import ConfigError
from auricle.objectives.masks.blocks import BlockMask, ClusterMask
from auricle.objectives.masks.exact_choice import check_count, filled, lowest, padding, ranks
from auricle.objectives.masks.hidden_stretches import masked_shares
from auricle.objectives.masks.samplers import FrameMask, GroupMask, RandomMask
from auricle.objectives.masks.spans import bernoulli_spans, widen
from auricle.objectives.masks.token_mask import TokenMaskConfig

SEEDS = st.integers(0, 2**31)
SHARES = st.integers(1, 19).map(lambda n: n / 20)
SAMPLERS = st.one_of(
    SHARES.map(lambda share: RandomMask(ratio=share)),
    SHARES.map(lambda share: RandomMask(keep=share)),
    SHARES.map(lambda share: FrameMask(ratio=share)),
    st.tuples(st.integers(1, 5), SHARES).map(lambda pair: GroupMask(group=pair[0], keep=pair[1])),
    SHARES.map(lambda share: ClusterMask(ratio=share, smallest=1, largest=3)),
    SHARES.map(lambda share: BlockMask(ratio=share, size=2)),
)
GRIDS = st.builds(Grid, st.integers(2, 40), st.integers(1, 6), st.just(25.0))


@given(mask=SAMPLERS, grid=GRIDS, lengths=st.lists(st.integers(1, 40), min_size=1, max_size=5), seed=SEEDS)
@settings(max_examples=200)
def test_every_row_shows_equally_many_and_predicts_no_padding(
    mask: TokenMaskConfig, grid: Grid, lengths: list[int], seed: int
) -> None:
    steps = torch.tensor([min(n, grid.time) for n in lengths])
    valid = (torch.arange(grid.time) < steps.unsqueeze(1)).repeat_interleave(grid.freq, 1)
    try:
        drawn = mask.draw(grid, len(lengths), torch.Generator().manual_seed(seed), valid)
    except ConfigError as error:
        if "of the grid" in str(error):  # a mask of nothing, or of everything
            return
        raise
    visible = (~drawn.masked).sum(1)
    assert len(set(visible.tolist())) == 1
    assert 0 < int(visible[0]) < grid.tokens
    assert not (drawn.predicted & ~(drawn.masked & valid)).any()
    assert torch.equal(drawn.predicted, drawn.masked & valid)
    # A clip's share of visible tokens is that of the whole grid, to a step of time.
    share = int(visible[0]) / grid.tokens
    for row, n in enumerate(steps.tolist()):
        shown = int((~drawn.masked & valid)[row].sum())
        assert abs(shown - share * n * grid.freq) <= 2 * grid.freq
        # These two choose what is masked, at least one token of each clip: a clip of a single token shows none.
        assert shown >= 1 or (isinstance(mask, ClusterMask | BlockMask) and n * grid.freq <= grid.time)
    again = mask.draw(grid, len(lengths), torch.Generator().manual_seed(seed), valid)
    assert torch.equal(drawn.masked, again.masked)
    index = drawn.visible()
    assert index is not None
    assert bool((index.diff(dim=1) > 0).all())
    assert not drawn.masked.gather(1, index).any()


@given(
    rows=st.lists(st.tuples(st.integers(0, 12), SEEDS), min_size=1, max_size=4), count=st.integers(1, 12),
    beyond=st.integers(0, 6),
)  # fmt: skip
def test_the_lowest_scores_are_chosen_as_a_sort_chooses_them(
    rows: list[tuple[int, int]], count: int, beyond: int
) -> None:
    places, of = 12, 12 + beyond
    score = torch.stack([torch.rand(places, generator=torch.Generator().manual_seed(seed)) for _, seed in rows])
    valid = torch.arange(places) < torch.tensor([n for n, _ in rows]).unsqueeze(1)
    chosen = lowest(score, count, valid, of)
    full = max(1, count * places // of)
    for row, (n, _) in enumerate(rows):
        own = max(count * n // of, min(n, 1))
        order = sorted(range(places), key=lambda place, row=row: float(score[row, place]))
        expected = [p for p in order if p < n][:own] + [p for p in order if p >= n][: full - own]
        assert chosen[row].nonzero()[:, 0].tolist() == sorted(expected)


@given(among=st.lists(st.booleans(), min_size=1, max_size=20), seed=SEEDS)
def test_ranks_count_the_smaller_ones_that_count(among: list[bool], seed: int) -> None:
    score = torch.rand(1, len(among), generator=torch.Generator().manual_seed(seed))
    mask = torch.tensor([among])
    found = ranks(score, mask)[0]
    assert sorted(found.tolist()) == list(range(len(among)))
    for place, counts in enumerate(among):
        if counts:
            assert int(found[place]) == int((mask[0] & (score[0] < score[0, place])).sum())


@given(starts=st.lists(st.booleans(), min_size=1, max_size=25), length=st.integers(1, 30))
def test_widened_starts_are_spans_cut_at_the_end(starts: list[bool], length: int) -> None:
    expected = [any(starts[max(0, t - length + 1) : t + 1]) for t in range(len(starts))]
    assert widen(torch.tensor([starts]), length)[0].tolist() == expected


@given(valid=st.integers(1, 30), start=SHARES, length=st.integers(1, 12), least=st.integers(0, 3), seed=SEEDS)
def test_spans_that_start_by_chance_stay_in_their_clip(
    valid: int, start: float, length: int, least: int, seed: int
) -> None:
    noise = torch.rand(1, 30, generator=torch.Generator().manual_seed(seed))
    inside = torch.arange(30).unsqueeze(0) < valid
    spans = bernoulli_spans(noise, start, length, least, inside)[0]
    begins = {t for t in range(valid) if noise[0, t] < start}
    begins |= set(sorted(range(valid), key=lambda t: float(noise[0, t]))[:least])
    expected = [t < valid and any(s <= t < s + length for s in begins) for t in range(30)]
    assert spans.tolist() == expected


@given(
    hidden=st.lists(st.booleans(), min_size=1, max_size=8), hop=st.integers(1, 40), rate=st.integers(1, 50),
    steps=st.integers(1, 30),
)  # fmt: skip
def test_shares_of_hidden_hops_are_exact_fractions(hidden: list[bool], hop: int, rate: int, steps: int) -> None:
    """Hops of n / 64 s, which floats hold exactly; steps of 1 / rate s; overlaps as fractions."""
    found = masked_shares(torch.tensor([hidden]), torch.tensor([hop / 64]), steps, float(rate))[0].tolist()
    for step, share in enumerate(found):
        begin, end = Fraction(step, rate), Fraction(step + 1, rate)
        inside = Fraction(0)
        for number, hides in enumerate(hidden):
            low, high = Fraction(number * hop, 64), Fraction((number + 1) * hop, 64)
            if hides:
                inside += max(Fraction(0), min(end, high) - max(begin, low))
        assert share == pytest.approx(float(inside * rate), abs=1e-9)


@given(counts=st.lists(st.integers(0, 6), min_size=1, max_size=5), missing=st.integers(0, 6))
def test_padding_fills_up_rows_from_its_front(counts: list[int], missing: int) -> None:
    assume(all(max(counts) - c <= missing or c == max(counts) for c in counts))
    valid = torch.zeros(len(counts), 6 + missing, dtype=torch.bool)
    valid[:, :6] = True
    chosen = torch.arange(6 + missing) < torch.tensor(counts).unsqueeze(1)
    full = filled(chosen, valid)
    assert set(full.sum(1).tolist()) == {max(counts)}
    assert torch.equal(full & valid, chosen)
    for row in full[:, 6:].tolist():
        assert row == sorted(row, reverse=True)


def test_shapes_and_numbers_that_do_not_fit_are_refused_with_a_remedy() -> None:
    with pytest.raises(ConfigError, match=r"found `valid` of shape \(2, 5\), expected \(2, 12\).*4 x 3 tokens"):
        padding(torch.ones(2, 5, dtype=torch.bool), 2, Grid(4, 3, 1.0))
    assert padding(torch.ones(2, 12, dtype=torch.bool), 2, Grid(4, 3, 1.0)) is None
    with pytest.raises(ConfigError, match="covers all 8 tokens of the grid and leaves nothing visible; use more"):
        check_count(0, 8, "tokens", "use more")
    with pytest.raises(ConfigError, match="covers none of the 8 tokens of the grid; use more"):
        check_count(8, 8, "tokens", "use more")
