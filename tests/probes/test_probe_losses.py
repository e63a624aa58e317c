"""Losses against torch's own and slow loops, hard and soft labels, and numbers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from auricle.errors import ConfigError
from auricle.probes.losses import LOSSES, LossConfig, get_loss

S, B, C = 3, 7, 4


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_losses_of_labels() -> None:
    logits, classes = numbers(S, B, C), torch.arange(B) % C
    hot = F.one_hot(classes, C).double()
    for s in range(S):
        assert get_loss("ce")(logits, classes)[s] == pytest.approx(F.cross_entropy(logits[s], classes).item())
        expected = F.binary_cross_entropy(logits[s].sigmoid(), hot).item()
        assert get_loss("bce")(logits, hot)[s].item() == pytest.approx(expected)


def test_asymmetric_loss_by_a_slow_loop() -> None:
    logits, y = numbers(1, B, C) * 3, (numbers(B, C, seed=1) > 0).double()
    for name, (neg, pos, margin) in {"asl": (4, 1, 0.05), "asl_bat": (1, 0, 0)}.items():
        total = 0.0
        for b in range(B):
            for c in range(C):
                p = 1 / (1 + math.exp(-logits[0, b, c].item()))
                q = min(1 - p + margin, 1.0)
                hit = (1 - p) ** pos * math.log(max(p, 1e-8))
                miss = (1 - q) ** neg * math.log(max(q, 1e-8))
                total -= hit if y[b, c] else miss
        assert get_loss(name)(logits, y)[0].item() == pytest.approx(total / (B * C))


@pytest.mark.parametrize("name", ["ce", "bce", "asl", "asl_bat"])
def test_mixed_labels_mix_the_losses(name: str) -> None:
    logits, one, two = numbers(S, B, C), torch.arange(B) % C, torch.arange(B) * 2 % C
    first, second = F.one_hot(one, C).double(), F.one_hot(two, C).double()
    loss = get_loss(name)
    mixed = loss(logits, 0.3 * first + 0.7 * second)
    torch.testing.assert_close(mixed, 0.3 * loss(logits, first) + 0.7 * loss(logits, second))
    if name == "ce":
        torch.testing.assert_close(loss(logits, first), loss(logits, one))


def test_losses_of_numbers() -> None:
    said, y = numbers(S, B, 2), numbers(B, 2, seed=1)
    wrong = (said - y).abs()
    torch.testing.assert_close(get_loss("mse")(said, y), wrong.square().mean((1, 2)))
    torch.testing.assert_close(get_loss("mae")(said, y), wrong.mean((1, 2)))
    delta = 0.5
    huber = torch.where(wrong < delta, wrong.square() / 2, delta * (wrong - delta / 2)).mean((1, 2))
    torch.testing.assert_close(LossConfig(name="huber", delta=delta)(said, y), huber)
    for name in ("mse", "mae", "huber"):
        assert get_loss(name).regression
        assert get_loss(name).scores(said) is said
    assert not any(get_loss(n).regression for n in ("ce", "bce", "asl"))


def test_every_loss_goes_to_json_and_back() -> None:
    for loss in LOSSES.values():
        assert LossConfig.from_json(loss.to_json()) == loss


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="did you mean 'huber'"):
        get_loss("hubert")
    with pytest.raises(ConfigError, match="expected 'ce', 'bce'"):
        LossConfig(name="l3")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="delta"):
        LossConfig(name="huber", delta=0)
