from __future__ import annotations

import pytest
import torch

from auricle.probes.contract import Inputs
from auricle.probes.heads.mhca import MhcaConfig
from auricle.probes.search.optimiser import SettingsAdamW, cosine
from auricle.tokens.token_set import TokenShape


def test_one_step_of_all_settings_is_adamw_of_each() -> None:
    rates, decays, steps = [1e-4, 3e-2, 1e-2], [0.0, 0.5, 1e-2], 12
    shape = TokenShape(8, 8, 0, 1)
    build = MhcaConfig(heads=2, norm="none").build
    head = build(shape, 3, settings=3, generator=torch.Generator().manual_seed(0)).double()
    ours = SettingsAdamW(head, torch.tensor(rates).double(), torch.tensor(decays).double())
    alone = [build(shape, 3, settings=1, generator=torch.Generator().manual_seed(0)).double() for _ in rates]
    theirs = [
        torch.optim.AdamW(h.parameters(), lr=lr, weight_decay=wd)
        for h, lr, wd in zip(alone, rates, decays, strict=True)
    ]
    schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(o, steps) for o in theirs]
    draw = torch.Generator().manual_seed(1)
    for step in range(steps):
        inputs = Inputs(torch.randn(4, 5, 8, generator=draw, dtype=torch.float64))
        head.zero_grad()
        head(inputs).square().mean((1, 2)).sum().backward()
        ours.step(cosine(step, steps))
        for h, optimiser, schedule in zip(alone, theirs, schedules, strict=True):
            optimiser.zero_grad()
            h(inputs).square().mean().backward()
            optimiser.step()
            schedule.step()
        if step == 5:
            # A setting that is pruned takes its moments along.
            rows = torch.tensor([0, 2])
            head.keep(rows)
            ours.keep(rows)
            alone, theirs, schedules = ([a[0], a[2]] for a in (alone, theirs, schedules))
    for k, h in enumerate(alone):
        for p, q in zip(head.parameters(), h.parameters(), strict=True):
            torch.testing.assert_close(p[k], q[0], rtol=1e-6, atol=1e-9)


def test_cosine_ends() -> None:
    assert cosine(0, 10) == 1.0
    assert cosine(5, 10) == pytest.approx(0.5)
    assert cosine(10, 10) == pytest.approx(0.0)
