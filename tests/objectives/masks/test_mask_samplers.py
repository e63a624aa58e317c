from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from sampler_cases import EVERY, FRAMES, IDS, PATCHES, prefixes, seeded

from auricle.config import Config
from auricle.encoders.contract import Grid
from auricle.errors import ConfigError
from auricle.objectives import distributed
from auricle.objectives.masks import exact_choice
from auricle.objectives.masks.blocks import BlockMask, ClusterMask, InverseBlockMask
from auricle.objectives.masks.exact_choice import lowest
from auricle.objectives.masks.jepa import JepaMask
from auricle.objectives.masks.samplers import FrameMask, GroupMask, HalvesMask, RandomMask, StructuredMask
from auricle.objectives.masks.spans import BernoulliSpanMask, SpanMask
from auricle.objectives.masks.structured import MaskConfig
from auricle.objectives.masks.token_mask import TokenMaskConfig
from auricle.recipes import get_recipe


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
    monkeypatch.setattr(distributed, "world", lambda: 2)
    monkeypatch.setattr(exact_choice, "gather_rows", lambda _: everyone.to(torch.uint8))
    monkeypatch.setattr(exact_choice, "widest", lambda places, device: places)
    for rank in range(2):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
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


def test_masks_that_leave_nothing_are_refused() -> None:
    small = Grid(3, 1, 1.0)
    with pytest.raises(ConfigError, match="leaves nothing visible"):
        RandomMask(ratio=0.9).draw(small, 2, seeded())
    with pytest.raises(ConfigError, match="covers none of the 3"):
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
        (lambda: RandomMask(ratio=1.0), "ratio is 1.0"),
        (lambda: RandomMask(keep=0.0), "keep is 0.0"),
        (lambda: FrameMask(ratio=0.0), "ratio is 0.0"),
        (lambda: GroupMask(group=0), "group is 0"),
        (lambda: GroupMask(keep=1.5), "keep is 1.5"),
        (lambda: StructuredMask(axis="mel"), "axis is 'mel'"),
        (lambda: SpanMask(p=0.0), "p is 0.0"),
        (lambda: SpanMask(length=0), "length is 0"),
        (lambda: SpanMask(min_spans=-1), "min_spans is -1"),
        (lambda: BernoulliSpanMask(start=1.0), "start is 1.0"),
        (lambda: ClusterMask(smallest=6), "smallest is 6"),
        (lambda: BlockMask(size=0), "size is 0"),
        (lambda: InverseBlockMask(ratio=0.8, adjust=0.9), "adjusted"),
        (lambda: JepaMask(targets=0), "targets is 0"),
        (lambda: JepaMask(least=0.3), "least is 0.3"),
        (lambda: JepaMask(flattest=2.0), "flattest 2.0"),
        (lambda: JepaMask(context=0.0), "context is 0.0"),
    ],
)
def test_bad_settings_are_refused(build: Callable[[], TokenMaskConfig], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        build()
