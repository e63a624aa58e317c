from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from auricle.audio.batch import Features
from auricle.objectives.contract import Loss, Objective, View
from auricle.training.backward import backward


class MeanOfClips(Objective):
    """Not coupled: the loss is a mean over clips."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 1)

    def forward(self, encoder, views, generator) -> Loss:
        loss = self.head(encoder(views[0].features.x)).tanh().square().mean()
        return Loss(loss, {"square": loss}, {"clips": views[0].clip.double().mean()})


def make(dtype=torch.float64):
    torch.manual_seed(0)
    encoder, objective = nn.Linear(6, 4).to(dtype), MeanOfClips().to(dtype)
    x = torch.randn(7, 6, dtype=dtype)
    return encoder, objective, [View(Features(x, torch.full((7,), 1), 1.0), torch.arange(7))]


@pytest.mark.parametrize("micro_batch", [1, 2, 3, 6, 7, 100, None])
def test_accumulated_gradients_are_those_of_the_whole_batch(micro_batch: int | None) -> None:
    encoder, objective, views = make()
    expected = objective(encoder, views, torch.Generator())
    grads = torch.autograd.grad(expected.total, [*encoder.parameters(), *objective.parameters()])
    loss = backward(objective, encoder, views, torch.Generator(), micro_batch=micro_batch, autocast=nullcontext)
    assert not loss.total.requires_grad
    assert loss.total.item() == pytest.approx(expected.total.item(), rel=1e-12)
    assert loss.parts["square"].item() == pytest.approx(expected.total.item(), rel=1e-12)
    # Watched are the last rows only: reading costs, and most steps do not read.
    size = min(micro_batch or 7, 7)
    last = torch.arange(7)[(6 // size) * size :]
    assert loss.watch["clips"].item() == pytest.approx(float(last.double().mean()))
    for parameter, grad in zip([*encoder.parameters(), *objective.parameters()], grads, strict=True):
        torch.testing.assert_close(parameter.grad, grad, rtol=1e-10, atol=1e-14)


def test_a_coupled_objective_keeps_the_full_gradient_in_micro_batches(toy) -> None:
    def gradients(micro_batch: int | None) -> tuple[float, list[torch.Tensor]]:
        encoder, objective = toy.parts()
        encoder, objective = encoder.double().eval(), objective.double()
        x = torch.randn(6, 64, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        views = [View(Features(x * gain, torch.full((6,), 64), 100.0), torch.arange(6)) for gain in (0.9, 1.1)]
        generator = torch.Generator().manual_seed(5)
        loss = backward(objective, encoder, views, generator, micro_batch=micro_batch, autocast=nullcontext)
        both = [*encoder.parameters(), *objective.parameters()]
        return loss.total.item(), [p.grad for p in both if p.grad is not None]

    loss, whole = gradients(None)
    for micro_batch in (1, 4):
        again, parts = gradients(micro_batch)
        assert again == pytest.approx(loss, rel=1e-10)
        difference = sum((a - b).square().sum() for a, b in zip(whole, parts, strict=True)).sqrt()
        assert difference / sum(a.square().sum() for a in whole).sqrt() < 1e-8
