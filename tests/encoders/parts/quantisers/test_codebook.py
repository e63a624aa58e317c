"""The codebook against loops: nearest directions, moving averages, codes that nobody uses."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from auricle.encoders.parts.quantisers.codebook import Codebook, CodebookConfig
from auricle.errors import ConfigError


def made(codes: int = 6, dim: int = 4, width: int = 5, **settings: object) -> Codebook:
    config = CodebookConfig(codes=codes, dim=dim, **settings)
    return Codebook(config, width, torch.Generator().manual_seed(0)).double()


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_nearest_direction_is_chosen() -> None:
    book = made()
    coded = book(normal(2, 3, 5))
    assert coded.x.shape == coded.unit.shape == (2, 3, 4)
    torch.testing.assert_close(coded.unit.norm(dim=-1), torch.ones(2, 3, dtype=torch.float64))
    for row in range(2):
        for token in range(3):
            distances = [float((coded.unit[row, token].detach() - code).square().sum()) for code in book.book]
            assert int(coded.codes[row, token]) == distances.index(min(distances))
            torch.testing.assert_close(coded.x[row, token], book.book[coded.codes[row, token]])


def test_gradient_passes_straight_through() -> None:
    book, weight = made(), normal(2, 3, 4, seed=2)
    x = normal(2, 3, 5).requires_grad_()
    (through,) = torch.autograd.grad((book(x).x * weight).sum(), x)
    (direct,) = torch.autograd.grad((book.project(x) * weight).sum(), x)
    torch.testing.assert_close(through, direct)
    assert not any(b.requires_grad for b in book.buffers())


def test_codes_follow_the_mean_direction_of_what_chose_them() -> None:
    book = made(decay=0.9, patience=0)
    unit, codes = F.normalize(normal(40, 4), dim=1), torch.randint(4, (40,), generator=torch.Generator().manual_seed(3))
    expected = book.book.clone()
    for code in range(4):
        mean = unit[codes == code].mean(0)
        expected[code] = 0.9 * expected[code] + 0.1 * mean / mean.norm()
        expected[code] /= expected[code].norm()
    one_hot = F.one_hot(codes, 6).double()
    moved = book.follow(one_hot.T @ unit, one_hot.sum(0), unit)
    assert int(moved) == 0
    torch.testing.assert_close(book.book, expected)
    # Codes 4 and 5 were chosen by none, and patience 0 leaves them where they are.
    assert book.idle.tolist() == [0, 0, 0, 0, 1, 1]


def test_codes_that_nobody_chooses_move_to_tokens() -> None:
    book = made(codes=4, patience=3)
    sums, counts = torch.zeros(4, 4, dtype=torch.float64), torch.tensor([2.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    sums[0, 0] = sums[3, 3] = 1.0
    tokens = F.normalize(normal(1, 4), dim=1)
    assert [int(book.follow(sums, counts, tokens)) for _ in range(2)] == [0, 0]
    # Two are dead and there is one token to move to: the other waits for the next step.
    assert int(book.follow(sums, counts, tokens)) == 1
    torch.testing.assert_close(book.book[1], tokens[0])
    assert book.idle.tolist() == [0, 0, 3, 0]
    again = F.normalize(normal(2, 4, seed=9), dim=1)
    assert int(book.follow(sums, counts, again)) == 1
    torch.testing.assert_close(book.book[2], again[0])


def test_a_step_without_tokens_changes_nothing() -> None:
    book = made(patience=1)
    before = {name: value.clone() for name, value in book.state_dict().items()}
    zeros = torch.zeros(6, 4, dtype=torch.float64)
    assert int(book.follow(zeros, zeros[:, 0], F.normalize(normal(2, 4), dim=1))) == 0
    for name, value in book.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_first_codes_are_brought_to_length_one() -> None:
    book = made()
    book.start(3 * normal(6, 4))
    torch.testing.assert_close(book.book.norm(dim=1), torch.ones(6, dtype=torch.float64))


def test_half_precision_around_it_changes_no_code() -> None:
    book = Codebook(CodebookConfig(codes=512, dim=8), 16, torch.Generator().manual_seed(0))
    x = torch.randn(8, 32, 16, generator=torch.Generator().manual_seed(1))
    plain = book(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = book(x)
    assert narrow.unit.dtype == torch.float32
    assert torch.equal(plain.codes, narrow.codes)


@pytest.mark.parametrize("settings", [{"codes": 1}, {"dim": 0}, {"decay": 1.0}, {"patience": -1}])
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        CodebookConfig(**settings)
