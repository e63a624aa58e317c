"""Negatives: from the right places, never the token itself, uniformly, and alike for any split over ranks."""

from __future__ import annotations

import pytest
import torch

from auricle.objectives.contrastive.negatives import draw_negatives, numbered

VALID = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]]).bool()
PER_TOKEN = 4000


def drawn(group: list[int], outside: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    u = torch.rand(4, 4, PER_TOKEN, generator=torch.Generator().manual_seed(0))
    found = draw_negatives(VALID, torch.tensor(group), 0, u, outside)
    return found.index, found.enough


@pytest.mark.parametrize(
    ("group", "outside"),
    [([0, 1, 2, 3], False), ([0, 0, 0, 0], False), ([5, 2, 5, 2], False), ([0, 1, 2, 3], True), ([1, 0, 1, 0], True)],
)
def test_every_allowed_place_alike_and_no_other(group: list[int], outside: bool) -> None:
    index, enough = drawn(group, outside)
    for clip in range(4):
        for place in range(4):
            allowed = {
                other * 4 + p
                for other in range(4)
                for p in range(4)
                if VALID[other, p] and ((group[other] == group[clip]) != outside) and (other, p) != (clip, place)
            }
            if not VALID[clip, place] or not allowed:
                assert not enough[clip, place]
                continue
            assert enough[clip, place]
            places, counts = index[clip, place].unique(return_counts=True)
            assert set(places.tolist()) == allowed
            share = counts / PER_TOKEN
            assert (share - 1 / len(allowed)).abs().max() < 0.04


def test_ranks_draw_their_rows_of_it() -> None:
    u = torch.rand(4, 4, 7, generator=torch.Generator().manual_seed(0))
    group = torch.tensor([0, 1, 1, 0])
    whole = draw_negatives(VALID, group, 0, u).index
    for first in (0, 2):
        part = draw_negatives(VALID, group, first, u[first : first + 2])
        assert torch.equal(part.index[part.enough], whole[first : first + 2][part.enough])


def test_nothing_to_draw_from() -> None:
    u = torch.rand(1, 3, 2)
    alone = torch.tensor([[True, False, False]])
    assert not draw_negatives(alone, torch.tensor([0]), 0, u).possible
    assert not draw_negatives(torch.ones(1, 3).bool(), torch.tensor([0]), 0, u, outside=True).possible
    assert draw_negatives(torch.ones(1, 3).bool(), torch.tensor([0]), 0, u).possible
    nothing = draw_negatives(torch.zeros(1, 3).bool(), torch.tensor([0]), 0, u)
    assert not nothing.possible
    assert nothing.index.shape == (1, 3, 2)


def test_a_draw_of_almost_one_stays_inside() -> None:
    u = torch.full((1, 4, 1), 1 - 1e-9, dtype=torch.float64).float()
    found = draw_negatives(torch.ones(1, 4).bool(), torch.tensor([0]), 0, u)
    assert found.index.squeeze().tolist() == [3, 3, 3, 2]


def test_equal_values_have_equal_numbers() -> None:
    assert numbered(["a", "b", "a", 3, "b"]).tolist() == [0, 1, 0, 2, 1]
