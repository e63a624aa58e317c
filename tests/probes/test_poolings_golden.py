"""Golden values of the published poolings (measured on the originals, to six decimals), computed here in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from auricle.probes.contract import Inputs, ProbeConfig, ProbeHead
from auricle.probes.heads.abmilp import AbmilpConfig
from auricle.probes.heads.ep import EpConfig
from auricle.probes.heads.jepa import JepaConfig
from auricle.probes.heads.linear import LinearConfig
from auricle.probes.heads.linear_pre import LinearPreConfig
from auricle.probes.heads.mhca import MhcaConfig
from auricle.probes.heads.mlp import MlpConfig
from auricle.probes.heads.simpool import SimPool, SimPoolConfig
from auricle.tokens.token_set import TokenShape

B, N, D, C = 2, 20, 24, 3
SHAPE = TokenShape(width=D, pooled_width=D, cls=0, freq=4)


def tokens() -> Tensor:
    j = torch.arange(B * N * D, dtype=torch.float64)
    return torch.cos(0.37 * j + 0.1).view(B, N, D)


def filled(config: ProbeConfig, scale: float = 1.0) -> ProbeHead:
    head = config.build(SHAPE, C, settings=2, generator=torch.Generator()).double()
    for k, (_, p) in enumerate(head.named_parameters()):
        i = torch.arange(p[0].numel(), dtype=torch.float64)
        p.data.copy_((scale * torch.sin(0.7 * i + 1.3 * k)).view(p[0].shape).expand_as(p))
    return head


def check(found: Tensor, total: float, first: list[float]) -> None:
    """Both settings hold the same parameters, so both must give the published numbers (the originals ran in fp32)."""
    assert found.shape == (2, B, D)
    for s in range(2):
        assert found[s].sum().item() == pytest.approx(total, abs=1.5e-6)
        assert found[s].flatten()[:4].tolist() == pytest.approx(first, abs=6e-7)


def test_ep() -> None:
    head = filled(EpConfig(queries=4, norm="none"))
    check(head.pool(Inputs(tokens())), 0.134950, [0.256622, 0.254419, -0.491034, 0.197998])


def test_simpool() -> None:
    head = filled(SimPoolConfig(norm="none"))
    check(head.pool(Inputs(tokens())), 0.406647, [0.963558, 0.960822, 0.487044, -0.228153])


def test_simpool_without_affine_part() -> None:
    head = filled(SimPoolConfig(norm="none"))
    assert isinstance(head, SimPool)
    head.gain.data.fill_(1.0)
    head.shift.data.fill_(0.0)
    check(head.pool(Inputs(tokens())), 0.0, [0.384443, 0.263318, 0.108809, -0.058172])


def test_abmilp() -> None:
    head = filled(AbmilpConfig(norm="none"))
    check(head.pool(Inputs(tokens())), 1.008952, [-0.128493, -0.055132, 0.025691, 0.103037])


def test_bird_mae_attentive_drops_the_class_token() -> None:
    head = filled(MhcaConfig(heads=4, norm="none"))
    check(head.pool(Inputs(tokens())), 0.180973, [-0.158044, 0.321055, -0.137763, -0.194127])


@pytest.mark.parametrize("classes", [10, 527])
def test_parameter_counts_of_the_paper(classes: int) -> None:
    shape = TokenShape(width=768, pooled_width=768, cls=1, freq=8)
    head = classes * 769
    expected = {
        LinearConfig(): head,
        MlpConfig(): 590_592 + head,
        LinearPreConfig(): head,
        MhcaConfig(): 1_180_416 + head,
        EpConfig(): 614_400 + head,
        EpConfig(d_out=2): 32 * 768 + 768 * 384 + classes * 385,
        SimPoolConfig(): 1_181_184 + head,
        SimPoolConfig(gamma=2.0): 1_181_184 + head,
        AbmilpConfig(): 591_361 + head,
        AbmilpConfig(depth=1): 769 + head,
    }
    for config, count in expected.items():
        assert config.build(shape, classes, settings=1, generator=torch.Generator()).params == count, config


def test_parameters_of_the_attentive_block() -> None:
    shape = TokenShape(width=768, pooled_width=768, cls=0, freq=8)
    linears = 4 * (768 * 768 + 768) + 768 * 3072 + 3072 + 3072 * 768 + 768
    norms, query, head = 2 * 2 * 768, 768, 10 * 769
    found = JepaConfig().build(shape, 10, settings=1, generator=torch.Generator()).params
    assert found == linears + norms + query + head == 12 * 768**2 + 14 * 768 + head
