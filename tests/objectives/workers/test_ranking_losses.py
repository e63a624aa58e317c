"""Differentiable ranking against slow oracles: pool adjacent violators, all permutations, products of probabilities."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.isotonic import IsotonicRegression

from auricle.objectives.workers.ranking_losses import (
    fenchel_young,
    hard_ranks,
    isotonic_falling,
    plackett_luce,
    soft_ranks,
    spearman,
)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def places(rows: int, n: int) -> torch.Tensor:
    return random(rows, n, seed=9).argsort(1)


def test_isotonic_regression_is_that_of_pooled_violators() -> None:
    x = random(60, 9)
    expected = np.stack([IsotonicRegression(increasing=False).fit_transform(np.arange(9), row) for row in x.numpy()])
    np.testing.assert_allclose(isotonic_falling(x).numpy(), expected, atol=1e-12)


def test_soft_ranks_are_the_nearest_point_of_the_permutahedron() -> None:
    scores, strength = random(20, 4), 0.7
    made = soft_ranks(scores, strength)
    corners = torch.tensor(list(itertools.permutations(range(4))), dtype=torch.float64)
    # Inside: sums agree; nearest: no corner lies further in the direction of what is left over.
    torch.testing.assert_close(made.sum(1), torch.full((20,), 6.0, dtype=torch.float64))
    left = scores / strength - made
    assert bool(((left @ corners.T) <= (left * made).sum(1, keepdim=True) + 1e-9).all())
    torch.testing.assert_close(soft_ranks(scores, 1e-4), hard_ranks(scores).double())
    torch.testing.assert_close(soft_ranks(scores, 1e6), torch.full_like(scores, 1.5), atol=1e-4, rtol=0)


def test_gradients() -> None:
    scores = random(4, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: soft_ranks(s, 0.8), scores)
    assert torch.autograd.gradcheck(lambda s: plackett_luce(s, places(4, 5)), scores)


def test_plackett_luce_is_the_product_of_choices() -> None:
    scores, true = random(6, 4), places(6, 4)
    for row, place, value in zip(scores, true, plackett_luce(scores, true), strict=True):
        order = sorted(range(4), key=lambda item: int(place[item]))  # the last is drawn first
        likelihood, left = 1.0, list(order)
        for item in reversed(order):
            likelihood *= math.exp(row[item]) / sum(math.exp(row[other]) for other in left)
            left.remove(item)
        assert math.isclose(float(value), -math.log(likelihood), rel_tol=1e-9)
    torch.testing.assert_close(plackett_luce(torch.zeros(1, 5), places(1, 5)), torch.tensor([math.log(120)]))


def test_fenchel_young_moves_scores_by_ranks_minus_places() -> None:
    scores, true, noise = random(3, 4).requires_grad_(), places(3, 4), random(3, 50, 4, seed=5)
    fenchel_young(scores, true, noise).sum().backward()
    expected = torch.zeros(3, 4, dtype=torch.float64)
    for b in range(3):
        for m in range(50):
            disturbed = (scores.detach()[b] + noise[b, m]).tolist()
            best = max(
                itertools.permutations(range(4)), key=lambda y: sum(p * s for p, s in zip(y, disturbed, strict=True))
            )
            expected[b] += torch.tensor(best) / 50
    torch.testing.assert_close(scores.grad, expected - true)
    # True places that are far apart: hardly any noise changes them, and the gradient vanishes.
    far = (100.0 * true).requires_grad_()
    fenchel_young(far, true, noise).sum().backward()
    assert float(far.grad.abs().max()) == 0.0


def test_spearman_is_scipys() -> None:
    scores, true = random(7, 6), places(7, 6)
    expected = [spearmanr(s, t).statistic for s, t in zip(scores.numpy(), true.numpy(), strict=True)]
    np.testing.assert_allclose(spearman(scores, true).numpy(), expected, atol=1e-12)
