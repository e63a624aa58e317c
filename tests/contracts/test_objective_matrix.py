"""Every objective on every encoder: a legal pair trains, an illegal one is refused naming the need."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from auricle.audio.batch import Features
from auricle.encoders.contract import Ability, Encoder
from auricle.encoders.log_mel_statistics import LogMelStatisticsConfig
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.errors import NeedError
from auricle.objectives.contract import Objective, View
from auricle.objectives.contrastive import ContrastiveConfig
from auricle.objectives.masks import MaskConfig

ENCODERS: dict[str, Callable[[], Encoder]] = {
    "spectrogram_transformer": SpectrogramTransformerConfig(width=32, depth=2, heads=2, mels=32, frames=160).build,
    "log_mel_statistics": LogMelStatisticsConfig(mels=32).build,
}
OBJECTIVES: dict[str, Callable[[Encoder], Objective]] = {
    "contrastive": lambda encoder: ContrastiveConfig().build(encoder),
    "contrastive-released": lambda encoder: ContrastiveConfig(mask=MaskConfig(grid="released", time=0.5)).build(
        encoder
    ),
}
NEEDS = {"contrastive": {Ability.DROP}, "contrastive-released": {Ability.DROP}}
# Parameters that rightly get no gradient, or one of zero.
FROZEN = {"projector.4.bias"}


def views(count: int) -> list[View]:
    generator = torch.Generator().manual_seed(0)
    made = []
    for _ in range(count):
        x = torch.randn(6, 160, 32, generator=generator)
        made.append(View(Features(x, torch.full((6,), 160), 100.0), torch.arange(6)))
    return made


@pytest.mark.parametrize("encoder_name", list(ENCODERS))
@pytest.mark.parametrize("objective_name", list(OBJECTIVES))
def test_pair(encoder_name: str, objective_name: str) -> None:
    encoder = ENCODERS[encoder_name]()
    needs = NEEDS[objective_name]
    if not needs <= encoder.abilities:
        with pytest.raises(NeedError, match="|".join(sorted(need.name for need in needs - encoder.abilities))):
            OBJECTIVES[objective_name](encoder)
        return
    objective = OBJECTIVES[objective_name](encoder)
    assert objective.needs == needs
    torch.manual_seed(0)
    encoder.train()
    objective.train()
    loss = objective(encoder, views(objective.views), torch.Generator().manual_seed(0))
    loss.total.backward()
    assert loss.total.isfinite()
    assert all(value.isfinite() for value in (*loss.parts.values(), *loss.watch.values()))
    named = [*encoder.named_parameters(), *objective.named_parameters()]
    assert {n for n, p in named if p.grad is None or not bool(p.grad.abs().sum() > 0)} <= FROZEN
    before = float(loss.total.detach())
    with torch.no_grad():
        for _, p in named:
            if p.grad is not None:
                p -= 0.003 * p.grad / p.grad.norm().clamp(min=1e-6)
    torch.manual_seed(0)
    after = objective(encoder, views(objective.views), torch.Generator().manual_seed(0)).total
    assert float(after.detach()) < before
