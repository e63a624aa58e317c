from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from auricle.config import Config
from auricle.encoders.contract import Grid
from auricle.errors import ConfigError
from auricle.objectives.masks import exact_choice
from auricle.objectives.masks.blocks import BlockMask, ClusterMask, InverseBlockMask
from auricle.objectives.masks.exact_choice import lowest
from auricle.objectives.masks.jepa import JepaMask
from auricle.objectives.masks.samplers import FrameMask, GroupMask, HalvesMask, RandomMask, StructuredMask
from auricle.objectives.masks.spans import BernoulliSpanMask, SpanMask
from auricle.objectives.masks.structured import MaskConfig
from auricle.objectives.masks.token_mask import MaskedPositions, TokenMaskConfig
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.recipes import get_recipe

PATCHES = Grid(64, 8, 6.25)
FRAMES = Grid(500, 1, 50.0)

EVERY: list[TokenMaskConfig] = [
    RandomMask(),
    RandomMask(keep=0.2),
    FrameMask(),
    FrameMask(count=30),
    GroupMask(),
    GroupMask(group=3, keep=0.4),
    HalvesMask(),
    StructuredMask(),
    StructuredMask(axis="freq", ratio=0.4),
    StructuredMask(grid="released"),
    SpanMask(),
    SpanMask(p=0.8, same_count=False),
    BernoulliSpanMask(),
    ClusterMask(),
    ClusterMask(wrap=True),
    BlockMask(),
    BlockMask(even=False),
    InverseBlockMask(),
    InverseBlockMask(even=False),
    JepaMask(),
    JepaMask(curriculum=True),
]
IDS = [f"{type(mask).__name__}-{i}" for i, mask in enumerate(EVERY)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def prefixes(grid: Grid, lengths: list[int]) -> Tensor:
    steps = torch.arange(grid.time) < torch.tensor(lengths).unsqueeze(1)
    return steps.repeat_interleave(grid.freq, 1)


@pytest.mark.parametrize("grid", [PATCHES, FRAMES], ids=["patches", "frames"])
@pytest.mark.parametrize("mask", EVERY, ids=IDS)
def test_promises_of_every_sampler(mask: TokenMaskConfig, grid: Grid) -> None:
    if isinstance(mask, StructuredMask) and mask.axis == "freq" and grid.freq == 1:
        pytest.skip("one band can't be split")
    if isinstance(mask, StructuredMask) and mask.grid == "released" and grid.freq == 1:
        pytest.skip("one block can't be split")
    state = torch.get_rng_state()
    hidden = mask.draw(grid, 12, seeded(), progress=0.5)
    again = mask.draw(grid, 12, seeded(), progress=0.5)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(hidden.masked, again.masked)
    assert torch.equal(hidden.predicted, again.predicted)
    assert not torch.equal(hidden.masked, mask.draw(grid, 12, seeded(1), progress=0.5).masked)
    assert hidden.masked.shape == (12, grid.tokens)
    assert hidden.masked.dtype == hidden.predicted.dtype == torch.bool
    assert hidden.predicted.any(1).all()
    assert (~hidden.masked).any(1).all()
    assert not (hidden.predicted & ~hidden.masked).any(), "what is predicted must be hidden"
    if mask.equal_count:
        assert hidden.visible() is not None
    if not isinstance(mask, JepaMask):
        assert torch.equal(hidden.masked, hidden.predicted)
    assert Config.from_json(mask.to_json()) == mask


@pytest.mark.parametrize("grid", [PATCHES, FRAMES], ids=["patches", "frames"])
@pytest.mark.parametrize("mask", EVERY, ids=IDS)
def test_padding_is_never_predicted_and_short_clips_keep_their_share(mask: TokenMaskConfig, grid: Grid) -> None:
    if isinstance(mask, StructuredMask) and (grid.freq == 1 and (mask.axis == "freq" or mask.grid == "released")):
        pytest.skip("can't be split")
    whole = grid.time
    lengths = [whole, whole, whole // 2, whole // 2, whole // 3, whole // 3, whole - 1, whole - 1]
    valid = prefixes(grid, lengths)
    hidden = mask.draw(grid, 8, seeded(), valid, 0.5)
    assert not (hidden.predicted & ~valid).any()
    if mask.equal_count:
        assert hidden.visible() is not None
    released = isinstance(mask, StructuredMask) and mask.grid == "released"
    if not released and not isinstance(mask, SpanMask | BernoulliSpanMask):
        assert (~hidden.masked & valid).any(1).all(), "a clip shows nothing of its own"
    assert hidden.predicted.any(1).all()
    exact = isinstance(mask, RandomMask | HalvesMask | InverseBlockMask | ClusterMask | FrameMask)
    if exact and mask.equal_count:
        share = (hidden.masked & valid).sum(1) / valid.sum(1)
        assert float(share.max() - share.min()) < 0.03
    full = torch.ones(8, grid.tokens, dtype=torch.bool)
    assert torch.equal(mask.draw(grid, 8, seeded(), full, 0.5).masked, mask.draw(grid, 8, seeded(), None, 0.5).masked)


def test_wrong_shape_of_valid_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"expected \(4, 512\)"):
        RandomMask().draw(PATCHES, 4, seeded(), torch.ones(4, 500, dtype=torch.bool))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("mask", EVERY, ids=IDS)
def test_two_ranks_hide_what_one_hides(mask: TokenMaskConfig, padded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = [64, 64, 40, 40, 33, 33, 64, 64]
    valid = prefixes(PATCHES, lengths) if padded else None
    together = mask.draw(PATCHES, 8, seeded(), valid, 0.5)
    everyone = torch.ones(8, 512, dtype=torch.bool) if valid is None else valid
    monkeypatch.setattr(draws, "world", lambda: 2)
    monkeypatch.setattr(exact_choice, "gather_rows", lambda _: everyone.to(torch.uint8))
    for rank in range(2):
        monkeypatch.setattr(draws, "rank", lambda rank=rank: rank)
        part = None if valid is None else valid[4 * rank : 4 * rank + 4]
        hidden = mask.draw(PATCHES, 4, seeded(), part, 0.5)
        assert torch.equal(hidden.masked, together.masked[4 * rank : 4 * rank + 4])
        assert torch.equal(hidden.predicted, together.predicted[4 * rank : 4 * rank + 4])


def test_lowest_against_a_loop() -> None:
    score = torch.rand(6, 40, generator=seeded())
    valid = prefixes(Grid(40, 1, 1.0), [40, 39, 20, 7, 1, 0])
    for count in (1, 3, 13, 39):
        chosen = lowest(score, count, valid)
        for b in range(6):
            n = int(valid[b].sum())
            quota = max(count * n // 40, min(n, 1))
            inside = sorted(range(n), key=lambda i: float(score[b, i]))[:quota]
            outside = sorted(range(n, 40), key=lambda i: float(score[b, i]))[: count - quota]
            assert chosen[b].nonzero().flatten().tolist() == sorted(inside + outside)
        assert torch.equal(lowest(score, count).sum(1), torch.full((6,), count))
        assert torch.equal(lowest(score, count), lowest(score, count, torch.ones_like(valid)))


def grid_of(name: str) -> Grid:
    """Return the grid of a whole window of a recipe of paper size; its encoder has one block, which is enough."""
    recipe = get_recipe(name, "paper")
    front = recipe.frontend.build()
    frames = front.frames(recipe.window.samples(front.rate))
    return recipe.encoder.replace(depth=1).build(seeded()).grid(frames)


def test_windows_of_the_published_sizes_fill_their_patches() -> None:
    for name, time, freq in (("m2d", 38, 5), ("msm-mae", 13, 5), ("atst-frame", 250, 1), ("ssam", 50, 5)):
        grid = grid_of(name)
        assert (name, grid.time, grid.freq) == (name, time, freq)


def test_exact_counts_of_the_published_methods() -> None:
    def visible(mask: TokenMaskConfig, grid: Grid) -> int:
        index = mask.draw(grid, 4, seeded()).visible()
        assert index is not None
        return index.shape[1]

    assert visible(RandomMask(ratio=0.8), PATCHES) == 102  # Audio-MAE
    assert visible(RandomMask(ratio=0.7), grid_of("m2d")) == 57
    assert visible(RandomMask(keep=0.5), Grid(50, 5, 25.0)) == 125  # SSAM
    assert visible(GroupMask(), Grid(252, 1, 25.0)) == 63  # Dasheng
    assert visible(InverseBlockMask(), PATCHES) == 102  # EAT
    assert visible(InverseBlockMask(ratio=0.5, adjust=0.05), FRAMES) == 250  # data2vec 2.0
    assert visible(BlockMask(), grid_of("atst-frame")) == 250 - 162
    assert visible(ClusterMask(), PATCHES) == 112  # SSAST, 400 of 512
    assert visible(ClusterMask(count=250), PATCHES) == 262
    assert visible(FrameMask(), Grid(512, 1, 50.0)) == 112
    assert visible(HalvesMask(), PATCHES) == 256
    assert visible(StructuredMask(), PATCHES) == 25 * 8
    assert visible(StructuredMask(axis="freq", ratio=0.4), PATCHES) == 4 * 64


def test_random_mask_is_uniform() -> None:
    share = RandomMask(ratio=0.8).draw(PATCHES, 4000, seeded()).masked.float().mean(0)
    torch.testing.assert_close(share, torch.full((512,), 410 / 512), atol=0.03, rtol=0)


def test_structured_mask_keeps_what_audiomosaic_keeps() -> None:
    for axis, ratio in (("time", 0.6), ("freq", 0.4)):
        for layout in ("true", "released"):
            mask = StructuredMask(axis=axis, ratio=ratio, grid=layout)
            kept = MaskConfig(time=0.6, freq=0.4, grid=layout).draw(axis, PATCHES, 5, seeded()).index
            assert torch.equal(mask.draw(PATCHES, 5, seeded()).visible(), kept)


def test_groups_are_whole() -> None:
    kept = ~GroupMask().draw(Grid(252, 1, 25.0), 50, seeded()).masked.view(50, 126, 2)
    partial = kept.any(2) & ~kept.all(2)
    # 63 is odd: one group shows its first step only.
    assert (partial.sum(1) == 1).all()
    assert kept[partial][:, 0].all()
    kept = ~GroupMask(group=4, keep=0.5).draw(Grid(64, 1, 25.0), 50, seeded()).masked.view(50, 16, 4)
    assert torch.equal(kept.any(2), kept.all(2))


def test_halves_are_complementary_pairs() -> None:
    hidden = HalvesMask().draw(PATCHES, 6, seeded()).masked
    assert (hidden[0::2] ^ hidden[1::2]).all()
    odd = HalvesMask().draw(Grid(7, 1, 1.0), 6, seeded()).masked
    assert ((odd[0::2] & odd[1::2]).sum(1) == 1).all()
    assert (odd[0::2] | odd[1::2]).all()
    with pytest.raises(ConfigError, match="pairs of rows, found 5"):
        HalvesMask().draw(PATCHES, 5, seeded())


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


def test_masks_that_leave_nothing_are_refused() -> None:
    small = Grid(3, 1, 1.0)
    with pytest.raises(ConfigError, match="leaves nothing visible"):
        RandomMask(ratio=0.9).draw(small, 2, seeded())
    with pytest.raises(ConfigError, match="hides none of the 3"):
        FrameMask(ratio=0.1).draw(small, 2, seeded())
    with pytest.raises(ConfigError, match="leaves nothing visible"):
        FrameMask(count=3).draw(small, 2, seeded())
    with pytest.raises(ConfigError, match="more than the 10 of one span"):
        SpanMask().draw(Grid(10, 1, 50.0), 2, seeded())
    with pytest.raises(ConfigError, match="more than the 40 of one span"):
        BernoulliSpanMask(length=40).draw(Grid(30, 1, 50.0), 2, seeded())
    with pytest.raises(ConfigError, match="leaves nothing visible"):
        ClusterMask(count=600).draw(PATCHES, 2, seeded())
    with pytest.raises(ConfigError, match="leaves nothing visible"):
        InverseBlockMask().draw(small, 2, seeded())
    with pytest.raises(ConfigError, match="at least 2 time steps and 4"):
        JepaMask().draw(small, 2, seeded())
    with pytest.raises(ConfigError, match="without context"):
        JepaMask(targets=12, least=0.5, most=0.6).draw(Grid(2, 2, 1.0), 30, seeded())


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: RandomMask(ratio=1.0), "ratio=1.0"),
        (lambda: RandomMask(keep=0.0), "keep=0.0"),
        (lambda: FrameMask(ratio=0.0), "ratio=0.0"),
        (lambda: GroupMask(group=0), "group=0"),
        (lambda: GroupMask(keep=1.5), "keep=1.5"),
        (lambda: StructuredMask(axis="mel"), "unknown axis 'mel'"),
        (lambda: SpanMask(p=0.0), "p=0.0"),
        (lambda: SpanMask(length=0), "length=0"),
        (lambda: SpanMask(min_spans=-1), "min_spans=-1"),
        (lambda: BernoulliSpanMask(start=1.0), "start=1.0"),
        (lambda: ClusterMask(smallest=6), "smallest=6"),
        (lambda: BlockMask(size=0), "size=0"),
        (lambda: InverseBlockMask(ratio=0.8, adjust=0.9), "adjusted"),
        (lambda: JepaMask(targets=0), "targets=0"),
        (lambda: JepaMask(least=0.3), "least=0.3"),
        (lambda: JepaMask(flattest=2.0), "flattest=2.0"),
        (lambda: JepaMask(context=0.0), "context=0.0"),
    ],
)
def test_bad_settings_are_refused(build: Callable[[], TokenMaskConfig], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        build()
