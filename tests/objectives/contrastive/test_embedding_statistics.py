from __future__ import annotations

import math

import pytest
import torch

from auricle.objectives.contrastive.embedding_statistics import LazyWatch, alignment, effective_rank, uniformity


@pytest.mark.parametrize("shape", [(40, 7), (5, 30)])
def test_effective_rank_against_singular_values(shape: tuple[int, int]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    s = torch.linalg.svdvals(x)
    p = s / s.sum()
    assert float(effective_rank(x)) == pytest.approx(math.exp(-sum(v * math.log(v) for v in p.tolist())), rel=1e-5)


def test_effective_rank_of_known_matrices() -> None:
    assert float(effective_rank(torch.eye(9))) == pytest.approx(9, rel=1e-5)
    assert float(effective_rank(torch.ones(9, 4))) == pytest.approx(1, abs=1e-3)
    assert math.isnan(float(effective_rank(torch.full((3, 3), math.nan))))
    assert float(effective_rank(torch.zeros(3, 3))) == pytest.approx(1)


def test_alignment_and_uniformity_against_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(6, 3, generator=generator), torch.randn(6, 3, generator=generator)
    ua, ub = (x / x.norm(dim=1, keepdim=True) for x in (a, b))
    gap = sum(float(((ua[i] - ub[i]) ** 2).sum()) for i in range(6)) / 6
    assert float(alignment(a, b)) == pytest.approx(gap)
    gaps = [math.exp(-2 * float(((ua[i] - ua[j]) ** 2).sum())) for i in range(6) for j in range(i)]
    assert float(uniformity(a)) == pytest.approx(math.log(sum(gaps) / len(gaps)), abs=1e-5)
    assert float(uniformity(torch.ones(4, 3))) == pytest.approx(0, abs=1e-6)


def test_watch_is_computed_once_and_only_when_read() -> None:
    made: list[str] = []

    def make(name: str) -> torch.Tensor:
        made.append(name)
        return torch.tensor(1.0)

    watch = LazyWatch({"a": lambda: make("a"), "b": lambda: make("b")})
    assert list(watch) == ["a", "b"]
    assert made == []
    assert float(watch["b"]) == float(watch["b"]) == 1.0
    assert made == ["b"]
