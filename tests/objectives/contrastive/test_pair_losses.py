from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from auricle.config import Config
from auricle.errors import ConfigError
from auricle.objectives.contrastive.pair_losses import (
    BarlowConfig,
    InBatchConfig,
    NTXentConfig,
    PairLossConfig,
    cross_correlation,
)

ALL = slice(None)


def pairs(n: int = 7, width: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z0 = torch.randn(n, width, generator=generator, dtype=torch.float64)
    return z0, z0 + 0.5 * torch.randn(n, width, generator=generator, dtype=torch.float64)


def softmax_loss(scores: np.ndarray) -> float:
    """The slow way: minus the log of each row's own share."""
    losses = [-math.log(math.exp(row[i]) / sum(math.exp(s) for s in row)) for i, row in enumerate(scores)]
    return float(np.mean(losses))


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("similarity", ["bilinear", "cosine"])
def test_in_batch_softmax_is_the_slow_one(similarity: str, symmetric: bool) -> None:
    loss = InBatchConfig(similarity=similarity, temperature=0.3, symmetric=symmetric).build(5).double()
    z0, z1 = pairs()
    a, b = z0.numpy(), z1.numpy()
    if similarity == "bilinear":
        assert loss.matrix is not None
        with torch.no_grad():
            loss.matrix.add_(torch.randn(5, 5, generator=torch.Generator().manual_seed(3)).double())
        w = loss.matrix.detach().numpy()
        scores = np.array([[float(x @ w @ y) for y in b] for x in a])
    else:
        scores = np.array([[float(x @ y / np.linalg.norm(x) / np.linalg.norm(y)) / 0.3 for y in b] for x in a])
    expected = softmax_loss(scores)
    accuracy = np.mean(scores.argmax(1) == np.arange(7))
    if symmetric:
        expected = (expected + softmax_loss(scores.T)) / 2
        accuracy = (accuracy + np.mean(scores.T.argmax(1) == np.arange(7))) / 2
    result = loss(z0, z1, ALL)
    assert float(result.loss.detach()) == pytest.approx(expected, rel=1e-12)
    assert float(result.accuracy) == pytest.approx(accuracy)


def test_cola_contrasts_in_one_direction() -> None:
    """Only the second views are candidates: another first view may come near without any cost."""
    loss = InBatchConfig().build(5).double()
    z0, z1 = pairs()
    z0.requires_grad_()
    loss(z0, z1, slice(0, 1)).loss.backward()
    assert z0.grad is not None
    assert float(z0.grad[1:].abs().sum()) == 0
    assert float(z0.grad[0].abs().sum()) > 0


def test_a_fresh_matrix_is_a_scaled_dot_product() -> None:
    z0, z1 = (torch.tanh(z) for z in pairs(32, 512))
    expected = softmax_loss((z0 @ z1.T).numpy() / math.sqrt(512))
    assert float(InBatchConfig().build(512).double()(z0, z1, ALL).loss.detach()) == pytest.approx(expected, rel=1e-6)


def test_barlow_is_the_slow_one() -> None:
    z0, z1 = pairs(9, 4)
    c = np.corrcoef(z0.numpy().T, z1.numpy().T)[:4, 4:]
    np.testing.assert_allclose(cross_correlation(z0, z1, eps=0.0).numpy(), c, atol=1e-12)
    result = BarlowConfig(off_diagonal=0.05).build(4)(z0, z1, ALL)
    expected = sum((1 - c[i, i]) ** 2 for i in range(4))
    expected += 0.05 * sum(c[i, j] ** 2 for i in range(4) for j in range(4) if i != j)
    assert float(result.loss) == pytest.approx(expected, rel=1e-4)
    off = np.sqrt(np.mean([c[i, j] ** 2 for i in range(4) for j in range(4) if i != j]))
    assert float(result.watch["diagonal"]()) == pytest.approx(np.diag(c).mean(), rel=1e-4)
    assert float(result.watch["off_diagonal"]()) == pytest.approx(off, rel=1e-4)


def test_equal_views_of_independent_dimensions_cost_nothing() -> None:
    """Collapsed views are the worst case, not the best one."""
    z = torch.linalg.qr(pairs(16, 4)[0] - pairs(16, 4)[0].mean(0))[0]
    loss = BarlowConfig().build(4)
    assert float(loss(z * 1e3, z * 1e3, ALL).loss) < 1e-6
    collapsed = torch.zeros(16, 4, dtype=torch.float64) + 3.0
    assert float(loss(collapsed, collapsed, ALL).loss) == pytest.approx(4.0)


def test_a_random_matrix_is_drawn_from_the_generator() -> None:
    first, again, other = (
        InBatchConfig(draw="normal").build(64, torch.Generator().manual_seed(seed)).matrix for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert float(first.detach().std()) == pytest.approx(0.05, rel=0.05)
    with pytest.raises(ConfigError, match=r"draw is .norm..*did you mean .normal"):
        InBatchConfig(draw="norm")  # type: ignore[arg-type]


@pytest.mark.parametrize("config", [NTXentConfig(), InBatchConfig(), BarlowConfig()])
def test_shares_of_ranks_average_to_the_whole(config: PairLossConfig) -> None:
    loss = config.build(5).double()
    z0, z1 = pairs(8)
    whole = loss(z0, z1, ALL)
    halves = [loss(z0, z1, slice(i, i + 4)) for i in (0, 4)]
    assert sum(float(h.loss.detach()) for h in halves) / 2 == pytest.approx(float(whole.loss.detach()), rel=1e-12)
    assert sum(float(h.accuracy) for h in halves) / 2 == pytest.approx(float(whole.accuracy))


@pytest.mark.parametrize("config", [NTXentConfig(), InBatchConfig(), InBatchConfig("cosine"), BarlowConfig()])
def test_a_collapsed_space_finds_no_partner(config: PairLossConfig) -> None:
    z = torch.ones(8, 5, dtype=torch.float64)
    assert float(config.build(5).double()(z, z, ALL).accuracy) <= 1 / 8


@pytest.mark.parametrize("config", [NTXentConfig(), InBatchConfig(), BarlowConfig()])
def test_refusals(config: PairLossConfig) -> None:
    loss = config.build(5).double()
    z0, z1 = pairs(1)
    with pytest.raises(ConfigError, match="batch of 1 clip, expected at least 2"):
        loss(z0, z1, ALL)
    with pytest.raises(ConfigError, match="expected two of one shape"):
        loss(pairs(3)[0], pairs(4)[1], ALL)
    assert Config.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: NTXentConfig(temperature=0.0), "temperature is 0.0"),
        (lambda: NTXentConfig(chunk=0), "chunk is 0"),
        (lambda: InBatchConfig(similarity="bilinaer"), "did you mean 'bilinear'"),
        (lambda: InBatchConfig(temperature=-1.0), "temperature is -1.0"),
        (lambda: BarlowConfig(off_diagonal=-0.1), "off_diagonal is -0.1"),
    ],
)
def test_bad_settings(make: object, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        make()  # type: ignore[operator]
