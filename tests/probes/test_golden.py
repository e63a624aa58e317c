"""Golden values of the published probes (measured on the originals, to six decimals), computed here in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from auricle.probes.contract import Inputs, ProbeHead
from auricle.probes.heads.mhca import Mhca, MhcaConfig
from auricle.probes.heads.protobin import Protobin, ProtobinConfig
from auricle.probes.losses import LossConfig, get_loss
from auricle.tokens.token_set import TokenShape

B, N, D, C = 2, 20, 24, 3
SHAPE = TokenShape(width=D, pooled_width=D, cls=0, freq=4)


def tokens() -> Tensor:
    j = torch.arange(B * N * D, dtype=torch.float64)
    return torch.cos(0.37 * j + 0.1).view(B, N, D)


def fill(head: ProbeHead, scale: float) -> None:
    head.double()
    for k, (_, p) in enumerate(head.named_parameters()):
        i = torch.arange(p[0].numel(), dtype=torch.float64)
        p.data.copy_((scale * torch.sin(0.7 * i + 1.3 * k)).view(p[0].shape).expand_as(p))


def protobin(precision: str = "exact") -> Protobin:
    config = ProtobinConfig(per_class=2, precision=precision)
    head = config.build(SHAPE, C, settings=2, generator=torch.Generator())
    fill(head, 0.05)
    return head


def mhca(norm: str) -> Mhca:
    head = MhcaConfig(heads=4, norm=norm).build(SHAPE, C, settings=2, generator=torch.Generator())
    fill(head, 1.0)
    return head


def check(found: Tensor, total: float, first: list[float]) -> None:
    """Both settings hold the same parameters, so both must give the published numbers."""
    for s in range(found.shape[0]):
        assert found[s].sum().item() == pytest.approx(total, abs=6e-7)
        assert found[s].flatten()[:4].tolist() == pytest.approx(first, abs=6e-7)


def normalised(head: Protobin) -> Inputs:
    return Inputs(torch.nn.functional.normalize(tokens(), dim=-1))


def test_protobin_forward() -> None:
    head = protobin().eval()
    check(head(normalised(head)), -0.039202, [0.028518, 0.010135, -0.058254, 0.028511])


def test_protobin_gradient() -> None:
    head = protobin()
    head(normalised(head)).sum().backward()
    assert head.prototypes.grad is not None
    for grad in head.prototypes.grad:
        assert grad.sum().item() == pytest.approx(-0.000158, abs=5e-7)
        assert grad.flatten()[:4].tolist() == pytest.approx([-5.4e-5, -6.6e-5, -6.8e-5, -5.9e-5], abs=5e-7)


def test_protobin_by_hand() -> None:
    head = ProtobinConfig(per_class=1).build(TokenShape(4, 4, 0, 1), 1, settings=1, generator=torch.Generator())
    head.prototypes.data.copy_(torch.tensor([0.3, -0.2, 0.0, -0.7]).view(1, 1, 4))
    x = torch.tensor([[[1.0, 2, -1, 0.5], [0, -1, 3, 1], [2, 0, 0, -2]]])
    h = head.eval().similarities(Inputs(torch.nn.functional.normalize(x, dim=-1)))
    assert h.item() == pytest.approx(0.7071068, abs=1e-7)
    h.sum().backward()
    assert head.prototypes.grad is not None
    expected = [0.1767767, 0.1767767, -0.1767767, -0.1767767]
    assert head.prototypes.grad.flatten().tolist() == pytest.approx(expected, abs=1e-7)


def test_aim_pooling_eval() -> None:
    check(mhca("batch").eval().pool(Inputs(tokens())), 0.180972, [-0.158044, 0.321055, -0.137762, -0.194126])


def test_aim_pooling_train() -> None:
    head = mhca("batch").train()
    check(head.pool(Inputs(tokens())), 0.238581, [-0.324545, 0.523879, -0.158134, -0.378181])
    flat = tokens().view(-1, D)
    torch.testing.assert_close(head.token_mean[1], 0.1 * flat.mean(0))
    torch.testing.assert_close(head.token_var[1], 0.9 + 0.1 * flat.var(0))


def test_bird_mae_attentive() -> None:
    check(mhca("none").pool(Inputs(tokens())), 0.180973, [-0.158044, 0.321055, -0.137763, -0.194127])


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (get_loss("asl"), 0.11656413),
        (get_loss("asl_bat"), 0.41217053),
        (LossConfig(name="asl", gamma_neg=0.0, gamma_pos=0.0, margin=0.0), 0.57821053),
        (get_loss("bce"), 0.57821053),
    ],
)
def test_asymmetric_loss(loss: LossConfig, expected: float) -> None:
    logits = torch.tensor([[2, -1, 0.5], [-3, 0, 1]], dtype=torch.float64)
    targets = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    found = loss(torch.stack([logits, logits.flip(0)]), targets)
    assert found.shape == (2,)
    assert found[0].item() == pytest.approx(expected, abs=1e-7)
    other = loss(logits.flip(0).unsqueeze(0), targets)
    assert found[1].item() == pytest.approx(other.item())


def test_parameter_counts() -> None:
    """The paper's urban case: ten classes, width 768."""
    shape = TokenShape(768, 768, 0, 8)
    build = {"settings": 1, "generator": torch.Generator()}
    assert ProtobinConfig().build(shape, 10, **build).params == 155_610
    assert MhcaConfig().build(shape, 10, **build).params == 1_180_416 + 10 * 769
    assert MhcaConfig().build(shape, 10, **build).heads == 12


def test_losses_are_finite_at_extremes() -> None:
    logits = torch.tensor([[[-200.0, 200.0, 0.0]]], requires_grad=True)
    for name in ("ce", "bce", "asl", "asl_bat"):
        y = torch.tensor([0]) if name == "ce" else torch.tensor([[1.0, 0.0, 1.0]])
        (grad,) = torch.autograd.grad(get_loss(name)(logits, y).sum(), logits)
        assert math.isfinite(get_loss(name)(logits, y).item())
        assert grad.isfinite().all()
