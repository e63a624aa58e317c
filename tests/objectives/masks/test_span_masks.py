from __future__ import annotations

import pytest
import torch
from sampler_cases import FRAMES, PATCHES, prefixes, seeded
from torch import Tensor

from auricle.encoders.contract import Grid
from auricle.errors import ConfigError
from auricle.objectives.masks import exact_choice
from auricle.objectives.masks.jepa import JepaMask
from auricle.objectives.masks.spans import BernoulliSpanMask, SpanMask
from auricle.objectives.masks.token_mask import MaskedPositions, TokenMaskConfig
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.recipes import get_recipe


def _fairseq_rate(p: float, length: int, steps: int, clips: int) -> float:
    """Independent oracle: the loop, with the random module."""
    import random

    dice, total = random.Random(0), 0
    for _ in range(clips):
        count = max(2, int(p * steps / length + dice.random()))
        hidden: set[int] = set()
        for start in dice.sample(range(steps - length), count):
            hidden.update(range(start, start + length))
        total += len(hidden)
    return total / clips / steps


@pytest.mark.parametrize(("p", "length", "published"), [(0.65, 10, 0.49), (0.8, 10, 0.57), (0.8, 5, 0.58)])
def test_effective_rate_of_spans(p: float, length: int, published: float) -> None:
    shares = SpanMask(p=p, length=length, same_count=False).draw(FRAMES, 2000, seeded()).masked.float().mean(1)
    assert float(shares.mean()) == pytest.approx(published, abs=0.01)
    assert float(shares.mean()) == pytest.approx(_fairseq_rate(p, length, 500, 500), abs=0.006)
    assert float(shares.std()) < 0.04


def test_spans_have_their_length_and_number() -> None:
    hidden = SpanMask(p=0.65, length=10, same_count=False).draw(FRAMES, 200, seeded()).masked
    # floor(32.5 + u) is the same for all clips of a batch; two spans at most overlap wholly by chance.
    for row in hidden:
        edges = torch.diff(
            row.int(), prepend=torch.zeros(1, dtype=torch.int32), append=torch.zeros(1, dtype=torch.int32)
        )
        runs = (edges == -1).nonzero().flatten() - (edges == 1).nonzero().flatten()
        assert (runs >= 10).all()
    # The last possible span is never drawn.
    assert not hidden[:, -1].any()
    assert hidden[:, 0].any()


def test_same_count_punches_holes_at_random() -> None:
    free = SpanMask(same_count=False).draw(FRAMES, 64, seeded()).masked
    evened = SpanMask().draw(FRAMES, 64, seeded()).masked
    assert (evened.sum(1) == free.sum(1).min()).all()
    assert not (evened & ~free).any()
    # Holes are spread over the clip, not cut from one end of it.
    holes = (free & ~evened).nonzero()[:, 1].float()
    assert float(holes.mean()) == pytest.approx(250, abs=25)
    with pytest.raises(ConfigError, match="no clip of the batch got a span"):
        SpanMask(p=0.001, min_spans=0).draw(FRAMES, 2, seeded())


@pytest.mark.parametrize("name", ["hubert", "wavlm", "aves", "wav2vec2", "decoar2", "data2vec", "dinosr"])
def test_a_short_clip_takes_nothing_from_the_others(name: str) -> None:
    """One clip of 2 s among clips of 15.6 s, padded: all hide the published share of what they have."""
    objective = get_recipe(name, size="paper").objective
    assert isinstance(objective, MaskedPredictionConfig)
    mask = objective.mask
    assert isinstance(mask, SpanMask)
    rate = 5 * mask.length  # spans of 0.2 s
    grid = Grid(int(15.6 * rate), 1, float(rate))
    valid = prefixes(grid, [grid.time] * 15 + [2 * rate])
    share = torch.stack([(h.masked & valid).sum(1) / valid.sum(1) for h in _draws(mask, grid, 16, valid, 40)])
    published = {0.65: 0.49, 0.8: 0.57}[mask.p]
    # The least of 15 clips lies about 0.045 below their mean, with and without the short one.
    alone = torch.stack([h.masked.float().mean(1) for h in _draws(mask, grid, 15, None, 40)])
    assert float(share[:, :15].mean()) == pytest.approx(float(alone.mean()), abs=0.005)
    assert float(share[:, :15].mean()) == pytest.approx(published - 0.045, abs=0.01)
    assert float(share[:, 15].mean()) == pytest.approx(published, abs=0.03)
    assert (share[:, :15] == share[:, :1]).all(), "clips of equal length hide different numbers"


def _draws(mask: TokenMaskConfig, grid: Grid, rows: int, valid: Tensor | None, times: int) -> list[MaskedPositions]:
    return [mask.draw(grid, rows, seeded(seed), valid) for seed in range(times)]


def test_a_short_clip_takes_no_context_from_the_others() -> None:
    valid = prefixes(PATCHES, [64] * 7 + [8])
    alone = torch.stack([(~h.masked).float().mean(1) for h in _draws(JepaMask(), PATCHES, 7, None, 40)])
    drawn = _draws(JepaMask(), PATCHES, 8, valid, 40)
    share = torch.stack([(~h.masked & valid).sum(1) / valid.sum(1) for h in drawn])
    assert all(h.visible() is not None for h in drawn)
    assert float(share[:, :7].mean()) == pytest.approx(float(alone.mean()), abs=0.03)
    assert float(share[:, 7].mean()) > 0.2


def test_even_counts_against_a_loop() -> None:
    for seed in range(20):
        length = torch.randint(0, 30, (12,), generator=seeded(seed))
        count = (torch.rand(12, generator=seeded(seed + 1)) * (length + 1)).long()
        even = exact_choice.even_counts(count, length)
        pairs = list(zip(count.tolist(), length.tolist(), strict=True))
        assert even.tolist() == [min(c + max(0, n - m) for c, m in pairs) for _, n in pairs]
        order = length.argsort(stable=True)
        assert (even[order].diff() >= 0).all()
        assert ((length - even)[order].diff() >= 0).all()
    far = exact_choice.even_counts(torch.tensor([400, 380, 49, 52, 0]), torch.tensor([780, 780, 100, 100, 0]))
    assert far.tolist() == [380, 380, 49, 49, 0]


def test_filled_rows_choose_equally_many() -> None:
    valid = prefixes(Grid(20, 1, 1.0), [20, 12, 5, 0])
    chosen = valid & (torch.arange(20) % 2 == 0)
    more = exact_choice.filled(chosen, valid)
    assert more.sum(1).tolist() == [10] * 4
    assert torch.equal(more & valid, chosen)


def test_spans_of_padded_clips_are_counted_from_their_own_length() -> None:
    valid = prefixes(FRAMES, [500, 250] * 300)
    share = (SpanMask(same_count=False).draw(FRAMES, 600, seeded(), valid).masked).sum(1) / valid.sum(1)
    assert float(share[0::2].mean()) == pytest.approx(0.49, abs=0.01)
    assert float(share[1::2].mean()) == pytest.approx(0.49, abs=0.01)


@pytest.mark.parametrize(
    ("start", "length", "grid", "published"), [(0.065, 10, FRAMES, 0.49), (0.01, 40, Grid(1000, 1, 100.0), 0.33)]
)
def test_effective_rate_of_bernoulli_spans(start: float, length: int, grid: Grid, published: float) -> None:
    shares = BernoulliSpanMask(start=start, length=length).draw(grid, 2000, seeded()).masked.float().mean(1)
    assert float(shares.mean()) == pytest.approx(published, abs=0.015)
    # Far from the start of the clip the rate is 1 - (1 - start)^length.
    rate = BernoulliSpanMask(start=start, length=length, min_spans=0).draw(grid, 2000, seeded()).masked[:, length:]
    assert float(rate.float().mean()) == pytest.approx(1 - (1 - start) ** length, abs=0.01)
    if length == 40:
        assert float(shares.std()) == pytest.approx(0.09, abs=0.02)


def test_bernoulli_spans_never_leave_a_clip_without_any() -> None:
    grid = Grid(60, 1, 100.0)
    assert BernoulliSpanMask(start=0.001, length=40).draw(grid, 200, seeded()).masked.any(1).all()
    assert not BernoulliSpanMask(start=0.001, length=40, min_spans=0).draw(grid, 200, seeded()).masked.any(1).all()
