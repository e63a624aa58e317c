from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from auricle.objectives.baselines import (
    constant_prediction,
    majority,
    position_accuracy,
    position_prediction,
    spread,
    unigram_entropy,
)

ROWS, PLACES, SIZE, CLONES = 6, 5, 4, 2


@pytest.fixture
def chosen() -> torch.Tensor:
    picked = torch.rand(ROWS, PLACES, generator=torch.Generator().manual_seed(1)) < 0.6
    picked[:, 2] = False  # a place that nobody chose
    picked[0, 2] = True  # ... but one clip
    return picked


@pytest.fixture
def target() -> torch.Tensor:
    return torch.randn(ROWS, PLACES, 3, generator=torch.Generator().manual_seed(2)).double()


@pytest.fixture
def codes() -> torch.Tensor:
    return torch.randint(0, SIZE, (ROWS, PLACES), generator=torch.Generator().manual_seed(3))


def test_constant_is_the_mean_of_what_is_chosen(target: torch.Tensor, chosen: torch.Tensor) -> None:
    mean = torch.stack([target[r, n] for r in range(ROWS) for n in range(PLACES) if chosen[r, n]]).mean(0)
    torch.testing.assert_close(constant_prediction(target, chosen), mean.expand(ROWS, PLACES, 3))


def test_position_leaves_the_own_clip_out(target: torch.Tensor, chosen: torch.Tensor) -> None:
    found = position_prediction(target, chosen, CLONES)
    overall = constant_prediction(target, chosen)[0, 0]
    for r in range(ROWS):
        for n in range(PLACES):
            others = [target[q, n] for q in range(ROWS) if q // CLONES != r // CLONES and chosen[q, n]]
            expected = torch.stack(others).mean(0) if others else overall
            torch.testing.assert_close(found[r, n], expected)


def test_spread_is_the_deviation_over_chosen_places(target: torch.Tensor, chosen: torch.Tensor) -> None:
    values = target[chosen]
    torch.testing.assert_close(spread(target, chosen), values.std(0, correction=0).mean())
    assert float(spread(torch.ones_like(target), chosen)) == 0


def test_unigram_and_majority_are_counts(codes: torch.Tensor, chosen: torch.Tensor) -> None:
    counts = Counter(codes[chosen].tolist())
    total = sum(counts.values())
    entropy = -sum(c / total * math.log(c / total) for c in counts.values())
    assert float(unigram_entropy(codes, chosen, SIZE)) == pytest.approx(entropy, rel=1e-5)
    assert float(majority(codes, chosen, SIZE)) == pytest.approx(max(counts.values()) / total)


def test_position_accuracy_guesses_what_others_have_there(codes: torch.Tensor, chosen: torch.Tensor) -> None:
    hits = total = 0
    for r in range(ROWS):
        for n in range(PLACES):
            if not chosen[r, n]:
                continue
            total += 1
            others = [int(codes[q, n]) for q in range(ROWS) if q // CLONES != r // CLONES and chosen[q, n]]
            counts = [others.count(k) for k in range(SIZE)]
            if others and counts.index(max(counts)) == int(codes[r, n]):
                hits += 1
    assert float(position_accuracy(codes, chosen, SIZE, CLONES)) == pytest.approx(hits / total)
