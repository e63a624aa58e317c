"""Losses and baselines of scored candidates against loops over every prediction."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from auricle.objectives.contrastive.future_scores import Scored, chance, contrast_loss, contrast_watch, right

B, N, K, M, C = 3, 7, 2, 4, 5
SHIFTS = (1, 3)


def scored(seed: int = 0) -> Scored:
    g = torch.Generator().manual_seed(seed)
    equal = torch.rand(B, N, M, generator=g) < 0.2
    equal[0, 0] = True  # nothing is left to compare with
    return Scored(
        torch.randn(B, N, K, 1 + M, generator=g, dtype=torch.float64), torch.rand(B, N, K, generator=g) < 0.7, equal,
        torch.randn(B, N, 1 + M, C, generator=g, dtype=torch.float64), SHIFTS,
    )  # fmt: skip


def rows(made: Scored) -> list[tuple[int, int, int]]:
    return [(b, n, k) for b in range(B) for n in range(N) for k in range(K) if made.chosen[b, n, k]]


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_both_losses_against_loops(weight: float) -> None:
    made = scored()
    softmax, binary = [], []
    for b, n, k in rows(made):
        true, *wrong = made.scores[b, n, k].tolist()
        wrong = [s for s, same in zip(wrong, made.equal[b, n].tolist(), strict=True) if not same]
        softmax.append(math.log(sum(math.exp(s) for s in (true, *wrong))) - true)
        binary.append(math.log1p(math.exp(-true)) + weight * sum(math.log1p(math.exp(s)) for s in wrong))
    assert float(contrast_loss(made, "nce")) == pytest.approx(sum(softmax) / len(softmax), rel=1e-12)
    assert float(contrast_loss(made, "binary", weight)) == pytest.approx(sum(binary) / len(binary), rel=1e-12)


def test_accuracies_and_the_copying_baseline_against_loops() -> None:
    made = scored(1)
    watch = contrast_watch(made, "nce", 1.0, torch.randn(B, N, C))
    hits, copies = [], []
    for b, n, k in rows(made):
        kept = [j for j in range(M) if not made.equal[b, n, j]]
        true, others = made.scores[b, n, k, 0], [made.scores[b, n, k, 1 + j] for j in kept]
        hits.append((k, bool(others) and bool(true > max(others))))
        past = made.candidates[b, n - SHIFTS[k], 0] if n >= SHIFTS[k] else torch.zeros(C, dtype=torch.float64)
        near = [float(past @ c / max(float(past.norm()), 1e-12) / c.norm()) for c in made.candidates[b, n]]
        copies.append(bool(kept) and near[0] > max(near[1 + j] for j in kept))
    assert float(watch["future/accuracy"]()) == pytest.approx(sum(hit for _, hit in hits) / len(hits))
    for step in range(K):
        own = [hit for k, hit in hits if k == step]
        assert float(watch[f"future/accuracy_{step + 1}"]()) == pytest.approx(sum(own) / len(own))
    assert float(watch["future/copy_accuracy"]()) == pytest.approx(sum(copies) / len(copies))
    assert float(watch["future/chance_accuracy"]()) == pytest.approx(1 / 5)


@given(negatives=st.integers(1, 200), weight=st.floats(0.01, 3.0))
def test_chance_is_the_least_loss_of_one_score_for_all(negatives: int, weight: float) -> None:
    wrong = weight * negatives

    def binary(score: float) -> float:
        return math.log1p(math.exp(-score)) + wrong * math.log1p(math.exp(score))

    best = chance(negatives, "binary", weight)
    assert best == pytest.approx(binary(-math.log(wrong)), rel=1e-9)
    assert all(binary(-math.log(wrong) + step) >= best for step in (-1.0, -0.1, 0.1, 1.0))
    assert chance(negatives, "nce") == pytest.approx(math.log(1 + negatives))


def test_a_tie_is_not_enough_and_without_negatives_nothing_is_right() -> None:
    scores = torch.tensor([[[[1.0, 1.0, 0.0]], [[1.0, 0.5, 9.0]], [[5.0, 0.0, 0.0]]]])
    equal = torch.tensor([[[False, False], [False, True], [True, True]]])
    assert right(scores, equal)[0, :, 0].tolist() == [False, True, False]
