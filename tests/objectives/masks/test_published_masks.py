"""Masks of the paper sizes by what they really mask: shares and lengths of runs, against the published rules in loops.

Nominal ratios say little, because spans and blocks overlap, are cut at edges, and are evened out afterwards.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from auricle.audio.batch import Features
from auricle.encoders.contract import Grid
from auricle.objectives.masks.corruption import DiceSpansConfig, NoiseFillConfig
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.recipes import get_recipe

CLIPS = 400
Rule = Callable[[random.Random, Grid], set[int]]


def objective(name: str) -> MaskedPredictionConfig:
    found = get_recipe(name, "paper").objective
    assert isinstance(found, MaskedPredictionConfig)
    return found


def drawn(name: str, grid: Grid, clips: int = CLIPS) -> Tensor:
    """Return the masked tokens of clips that are drawn one by one, as loaders of single clips do."""
    mask = objective(name).mask
    assert mask is not None
    return torch.cat([mask.draw(grid, 1, torch.Generator().manual_seed(seed)).masked for seed in range(clips)])


def runs(row: Tensor | list[bool]) -> list[int]:
    """Return the lengths of the runs of masked steps."""
    lengths, now = [], 0
    for value in [*torch.as_tensor(row).tolist(), False]:
        now += bool(value)
        if not value and now:
            lengths.append(now)
            now = 0
    return lengths


def by_rule(rule: Rule, grid: Grid, clips: int = CLIPS) -> Tensor:
    dice = random.Random(0)
    rows = torch.zeros(clips, grid.tokens, dtype=torch.bool)
    for row in rows:
        row[sorted(rule(dice, grid))] = True
    return rows


def spans(p: float, length: int, least: int) -> Rule:
    """fairseq's static spans: a number rounded by chance, starts without replacement, overlaps allowed."""

    def rule(dice: random.Random, grid: Grid) -> set[int]:
        count = max(least, int(p * grid.time / length + dice.random()))
        starts = dice.sample(range(grid.time - length), count)
        return {start + i for start in starts for i in range(length)}

    return rule


def inverse_blocks(dice: random.Random, grid: Grid) -> set[int]:
    """EAT's and BAT's: 5 x 5 blocks around centres drawn with replacement stay, then a fifth exactly."""
    kept = set()
    for _ in range(int(grid.tokens * 0.27 / 25)):
        t, f = divmod(dice.randrange(grid.tokens), grid.freq)
        kept |= {
            y * grid.freq + x
            for y in range(max(0, t - 2), min(grid.time, t + 3))
            for x in range(max(0, f - 2), min(grid.freq, f + 3))
        }
    wanted = int(grid.tokens * 0.2)
    while len(kept) > wanted:
        kept.remove(dice.choice(sorted(kept)))
    while len(kept) < wanted:
        kept.add(dice.choice(sorted(set(range(grid.tokens)) - kept)))
    return set(range(grid.tokens)) - kept


def squares(count: int) -> Rule:
    """SSAST's: squares of 3 to 5 patches a side in bands-first order, running on in the next band."""

    def rule(dice: random.Random, grid: Grid) -> set[int]:
        side, hidden = dice.randrange(3, 6), set()
        while len(hidden) < count:
            corner = dice.randrange(grid.tokens)
            square = {corner + grid.time * i + j for i in range(side) for j in range(side)}
            hidden |= {place for place in square if place < grid.tokens}
        places = sorted(hidden)[:count]
        return {place % grid.time * grid.freq + place // grid.time for place in places}

    return rule


FRAMES, PATCHES = Grid(250, 1, 25.0), Grid(64, 8, 6.25)


def alike(rows: Tensor, grid: Grid) -> float:
    """Return the share of neighbours in time, band by band, that are masked or shown together."""
    line = rows.view(-1, grid.time, grid.freq)
    return float((line[:, 1:] == line[:, :-1]).float().mean())


def test_atst_frame_masks_half_in_runs_of_five_and_more() -> None:
    ours = drawn("atst-frame", FRAMES)
    assert float(ours.float().mean()) == pytest.approx(0.503, abs=0.006)
    assert min(length for row in ours for length in runs(row)) == 5


@pytest.mark.parametrize(
    ("name", "grid", "p", "length", "least"),
    [
        ("atst-frame", FRAMES, 0.65, 5, 2),
        ("data2vec", Grid(780, 1, 50.0), 0.65, 10, 2),
        ("data2vec2", Grid(780, 1, 50.0), 0.5, 5, 1),
        ("dinosr", Grid(780, 1, 50.0), 0.8, 10, 2),
        ("hubert", Grid(780, 1, 50.0), 0.8, 10, 2),
        ("wav2vec2", Grid(780, 1, 50.0), 0.65, 10, 2),
    ],
)
def test_spans(name: str, grid: Grid, p: float, length: int, least: int) -> None:
    ours, rule = drawn(name, grid), by_rule(spans(p, length, least), grid)
    assert float(ours.float().mean()) == pytest.approx(float(rule.float().mean()), abs=0.006)
    mine, theirs = ([run for row in rows for run in runs(row)] for rows in (ours, rule))
    assert min(mine) == min(theirs) == length
    assert np.mean(mine) == pytest.approx(np.mean(theirs), rel=0.04)
    assert np.percentile(mine, 90) == pytest.approx(np.percentile(theirs, 90), rel=0.1)


@pytest.mark.parametrize(
    ("name", "rule", "share"),
    [
        ("bat", inverse_blocks, 410 / 512),
        ("eat", inverse_blocks, 410 / 512),
        ("sslam", inverse_blocks, 410 / 512),
        ("ssamba", squares(300), 300 / 512),
        ("ssast", squares(400), 400 / 512),
    ],
)
def test_blocks_and_squares(name: str, rule: Rule, share: float) -> None:
    ours, theirs = drawn(name, PATCHES, 200), by_rule(rule, PATCHES, 200)
    for rows in (ours, theirs):
        assert rows.float().mean(1).tolist() == pytest.approx([share] * 200)
    assert alike(ours, PATCHES) == pytest.approx(alike(theirs, PATCHES), abs=0.012)
    # Neither single patches nor one block.
    assert alike(ours, PATCHES) > share**2 + (1 - share) ** 2 + 0.05
    bands = [rows.view(-1, 64, 8).float().mean((0, 1)) for rows in (ours, theirs)]
    # The published codes drop surplus patches of squares from the highest bands, ours anywhere.
    torch.testing.assert_close(*bands, atol=0.07, rtol=0)


@pytest.mark.parametrize(
    ("name", "share"), [("mae-ast", 0.75), ("maskspec", 0.75), ("msm-mae", 0.75), ("audio-mae", 410 / 512)]
)
def test_single_patches(name: str, share: float) -> None:
    ours = drawn(name, PATCHES, 200)
    assert float(ours.float().mean()) == pytest.approx(share)
    # Neighbours are no more alike than by chance.
    assert alike(ours, PATCHES) == pytest.approx(share**2 + (1 - share) ** 2, abs=0.01)


def test_dasheng_masks_neighbours_in_pairs() -> None:
    grid = Grid(252, 1, 25.0)
    ours = drawn("dasheng", grid, 50)
    assert ours.sum(1).tolist() == [189] * 50
    pairs = ours.view(50, 126, 2)
    # 63 visible tokens make 31 pairs and a half.
    assert (pairs[..., 0] != pairs[..., 1]).sum(1).tolist() == [1] * 50


def test_w2v_bert_starts_spans_by_chance() -> None:
    grid = Grid(400, 1, 25.0)

    def rule(dice: random.Random, grid: Grid) -> set[int]:
        starts = [step for step in range(grid.time) if dice.random() < 0.065]
        return {step for start in starts for step in range(start, min(grid.time, start + 10))}

    ours, theirs = drawn("w2v-bert", grid), by_rule(rule, grid)
    assert float(ours.float().mean()) == pytest.approx(float(theirs.float().mean()), abs=0.01)
    mine, other = ([run for row in rows for run in runs(row)] for rows in (ours, theirs))
    assert np.mean(mine) == pytest.approx(np.mean(other), rel=0.05)


def altered(corruption: NoiseFillConfig | DiceSpansConfig, frames: int, clips: int = 300) -> Tensor:
    features = Features(torch.randn(clips, frames, 4), torch.full((clips,), frames), 100.0)
    made = corruption.apply(features, torch.Generator().manual_seed(0))
    return made.altered.any(2)


def test_best_rq_masks_a_third_of_the_frames_in_spans_of_400_ms() -> None:
    corruption = objective("best-rq").corruption
    assert isinstance(corruption, NoiseFillConfig)
    ours = altered(corruption, 1600)
    assert float(ours.float().mean()) == pytest.approx(1 - 0.99**40, abs=0.012)
    # The last run may be cut by the end of the clip.
    assert min(run for row in ours for run in runs(row)[:-1]) >= 40
    # A token of four frames counts as masked from half of them on; from 0.8 on, as in NeMo, it would be fewer.
    share = ours.view(300, 400, 4).float().mean(2)
    half, most = (share >= 0.5).float().mean(), (share >= 0.8).float().mean()
    assert 0.0 < float(half - most) < 0.04


@pytest.mark.parametrize("name", ["mockingjay", "audio-albert", "tera"])
def test_mockingjay_masks_spans_of_seven_frames(name: str) -> None:
    corruption = objective(name).corruption
    spans_of = corruption if isinstance(corruption, DiceSpansConfig) else corruption.parts[0]
    ours = altered(spans_of, 1500)
    # Starts of 15 % / 7 of the frames, without replacement, overlaps allowed.
    count = int(1500 * 0.15 / 7)
    rule = by_rule(
        lambda dice, grid: {s + i for s in dice.sample(range(grid.time - 7), count) for i in range(7)},
        Grid(1500, 1, 100.0),
    )
    marked = ours[ours.any(1)]
    assert float(marked.float().mean()) == pytest.approx(float(rule.float().mean()), abs=0.005)
    assert min(run for row in marked for run in runs(row)) == 7
