"""Linear layers and hidden blocks of many settings against torch's own modules, in double precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from auricle.kits.adam import SettingsAdam
from auricle.kits.block import hidden_block, setting_linear
from auricle.kits.head import KitHead, KitHeadConfig, _mask
from auricle.tokens.token_set import TokenShape

SHAPE = TokenShape(width=6, pooled_width=6, cls=0, freq=1)


def leaf(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize("settings", [1, 3])
@pytest.mark.parametrize("shared", [True, False])
def test_hidden_block_is_linear_batch_norm_dropout_relu(settings: int, shared: bool) -> None:
    B, D, H = 7, 5, 4
    x = leaf(B, D) if shared else leaf(settings, B, D)
    weight, gain, shift = leaf(settings, H, D, seed=1), leaf(settings, H, seed=2), leaf(settings, H, seed=3)
    mask = (torch.rand(B, H, generator=torch.Generator().manual_seed(4)) > 0.3).double() / 0.7
    found, mean, variance = hidden_block(x, weight, gain, shift, mask)
    probe = torch.randn(settings, B, H, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    grads = torch.autograd.grad((found * probe).sum(), [x, weight, gain, shift])
    want = []
    for s in range(settings):
        # Any bias: batch norm takes it out again.
        linear, norm = nn.Linear(D, H, dtype=torch.float64), nn.BatchNorm1d(H, dtype=torch.float64)
        y = nn.functional.linear(x if shared else x[s], weight[s], linear.bias)
        assert torch.allclose(mean[s] + linear.bias, y.mean(0))
        assert torch.allclose(variance[s], y.var(0, correction=0))
        z = nn.functional.batch_norm(y, None, None, gain[s], shift[s], training=True, eps=norm.eps)
        want.append(torch.relu(z * mask))
    expected = torch.stack(want)
    assert torch.allclose(found, expected, atol=1e-10)
    for got, right in zip(grads, torch.autograd.grad((expected * probe).sum(), [x, weight, gain, shift]), strict=True):
        assert torch.allclose(got, right, atol=1e-9)


@pytest.mark.parametrize("settings", [1, 3])
def test_setting_linear_is_a_linear_layer_each(settings: int) -> None:
    x, weight, bias = leaf(7, 5), leaf(settings, 4, 5, seed=1), leaf(settings, 4, seed=2)
    found = setting_linear(x, weight, bias)
    for s in range(settings):
        assert torch.allclose(found[s], nn.functional.linear(x, weight[s], bias[s]))


@pytest.mark.parametrize("settings", [1, 2])
def test_fast_products_are_near_the_exact_ones(settings: int) -> None:
    x, weight = leaf(32, 64).float(), leaf(settings, 48, 64, seed=1).float()
    gain, shift = torch.ones(settings, 48), torch.zeros(settings, 48)
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    parts = []
    for fast in (False, True):
        h, *_ = hidden_block(x, weight, gain, shift, None, fast=fast)
        y = setting_linear(h, weight[:, :, :48], fast=fast)
        parts.append([h, y, *torch.autograd.grad(y.square().sum(), [x, weight])])
    for exact, fast in zip(*parts, strict=True):
        assert exact.dtype == fast.dtype == torch.float32
        assert float((exact - fast).detach().norm() / exact.detach().norm()) < 0.05
        assert not torch.equal(exact, fast)


def test_dropout_keeps_the_share_and_the_mean() -> None:
    mask = _mask(500, 301, 0.1, torch.Generator().manual_seed(0), torch.device("cpu"))
    assert mask is not None
    assert mask.unique().tolist() == pytest.approx([0, 1 / 0.9])
    assert float((mask == 0).float().mean()) == pytest.approx(0.1, abs=0.003)
    assert float(mask.mean()) == pytest.approx(1, abs=0.003)
    again = _mask(500, 301, 0.1, torch.Generator().manual_seed(1), torch.device("cpu"))
    assert not torch.equal(mask, again)


@pytest.mark.parametrize(("decay", "clip"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.05)])
def test_adam_of_all_settings_is_torch_adam_of_each(decay: float, clip: float) -> None:
    config = KitHeadConfig(hidden=(5,), layer_norm=True)
    rates = [1e-2, 1e-3, 3e-2]
    head = config.build(SHAPE, 3, settings=3, generator=torch.Generator().manual_seed(0))
    copies = [[p[s].detach().clone().requires_grad_() for p in head.parameters()] for s in range(3)]
    ours = SettingsAdam(head, rates, weight_decay=decay, clip=clip)
    theirs = [torch.optim.Adam(c, lr=lr, weight_decay=decay) for c, lr in zip(copies, rates, strict=True)]
    generator = torch.Generator().manual_seed(1)
    for step in range(8):
        if step == 5:
            head.keep(torch.tensor([0, 2]))
            ours.keep([0, 2])
            copies, theirs, rates = [copies[0], copies[2]], [theirs[0], theirs[2]], [rates[0], rates[2]]
        for p in head.parameters():
            p.grad = torch.randn(p.shape, generator=generator)
        factors = [0.5 + 0.1 * step] * len(rates)
        for s, (copy, optimiser) in enumerate(zip(copies, theirs, strict=True)):
            for mine, p in zip(copy, head.parameters(), strict=True):
                mine.grad = p.grad[s].clone()
            if clip:
                torch.nn.utils.clip_grad_norm_(copy, clip)
            optimiser.param_groups[0]["lr"] = rates[s] * factors[s]
            optimiser.step()
        ours.step(factors)
    for s, copy in enumerate(copies):
        for mine, p in zip(copy, head.parameters(), strict=True):
            assert torch.allclose(p[s], mine, atol=1e-6)


def test_parameters_are_those_of_the_kits_heads() -> None:
    def params(config: KitHeadConfig, D: int, classes: int) -> int:
        shape = TokenShape(width=D, pooled_width=D, cls=0, freq=1, layers=13)
        return config.build(shape, classes, settings=2, generator=torch.Generator().manual_seed(0)).params

    one, two = (KitHeadConfig(hidden=(1024,) * k, batch_norm=True, dropout=0.1) for k in (1, 2))

    def kit(D: int, classes: int, layers: int) -> int:
        parts: list[nn.Module] = []
        for k in range(layers):
            parts += [nn.Linear(D if k == 0 else 1024, 1024), nn.BatchNorm1d(1024)]
        return sum(p.numel() for p in nn.Sequential(*parts, nn.Linear(1024, classes)).parameters())

    assert params(one, 192, 10) == kit(192, 10, 1)
    assert params(two, 768, 50) == kit(768, 50, 2)


@pytest.mark.parametrize(("init", "uniform"), [("xavier_uniform", True), ("xavier_normal", False)])
def test_xavier_gains_are_linear_first_and_relu_after(init: str, uniform: bool) -> None:
    shape = TokenShape(width=300, pooled_width=300, cls=0, freq=1)
    config = KitHeadConfig(hidden=(400, 400), batch_norm=True, init=init)  # type: ignore[arg-type]
    head = config.build(shape, 50, settings=1, generator=torch.Generator().manual_seed(0))
    assert isinstance(head, KitHead)
    for name, gain, fans in (("w0", 1, 700), ("w1", 2**0.5, 800), ("w2", 2**0.5, 450)):
        weight = getattr(head, name)[0].detach()
        deviation = gain * (2 / fans) ** 0.5
        assert float(weight.std()) == pytest.approx(deviation, rel=0.03)
        assert (float(weight.abs().max()) <= deviation * 3**0.5 + 1e-6) == uniform
