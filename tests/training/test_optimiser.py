from __future__ import annotations

import pytest
import torch
from torch import nn

from auricle.errors import CheckpointError
from auricle.training.optimiser import (
    build_optimiser,
    free_of_decay,
    named_parameters,
    optimiser_tensors,
    restore_optimiser,
)
from auricle.training.train_config import TrainConfig


def test_no_decay_on_one_dimensional_tensors_class_token_and_positions(toy) -> None:
    encoder, objective = toy.parts()
    free = free_of_decay(encoder, objective)
    assert {"encoder.cls_token", "encoder.positions"} <= free
    for name, parameter in named_parameters(encoder, objective):
        weight_matrix = parameter.ndim == 2
        assert (name not in free) == weight_matrix, name
    groups = build_optimiser(encoder, objective, TrainConfig()).param_groups
    assert [group["weight_decay"] for group in groups] == [0.05, 0.0]
    assert sum(len(group["params"]) for group in groups) == len(list(named_parameters(encoder, objective)))


def test_frozen_parameters_stay_out(toy) -> None:
    encoder, objective = toy.parts()
    assert "objective.projector.4.bias" not in dict(named_parameters(encoder, objective))


def test_an_adamw_step_matches_the_formula() -> None:
    torch.manual_seed(0)
    encoder, objective = nn.Linear(3, 2), nn.Identity()
    config = TrainConfig(lr=0.1, weight_decay=0.05)
    optimiser = build_optimiser(encoder, objective, config)
    weight, bias = encoder.weight.detach().clone().double(), encoder.bias.detach().clone().double()
    encoder.weight.grad, encoder.bias.grad = torch.randn(2, 3), torch.randn(2)
    optimiser.step()
    for before, parameter, decay in ((weight, encoder.weight, 0.05), (bias, encoder.bias, 0.0)):
        grad = parameter.grad.double()
        mean, square = 0.1 * grad / (1 - 0.9), 0.001 * grad**2 / (1 - 0.999)
        expected = before * (1 - 0.1 * decay) - 0.1 * mean / (square.sqrt() + 1e-8)
        assert torch.allclose(parameter.double(), expected, atol=1e-6)


def test_state_survives_by_name(toy) -> None:
    encoder, objective = toy.parts()
    optimiser = build_optimiser(encoder, objective, TrainConfig())
    for _, parameter in named_parameters(encoder, objective):
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    tensors = optimiser_tensors(optimiser, encoder, objective)
    other_encoder, other_objective = toy.parts()
    other = build_optimiser(other_encoder, other_objective, TrainConfig())
    restore_optimiser(other, other_encoder, other_objective, tensors)
    again = optimiser_tensors(other, other_encoder, other_objective)
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)


def test_state_of_another_model_is_refused(toy) -> None:
    encoder, objective = toy.parts()
    optimiser = build_optimiser(encoder, objective, TrainConfig())
    with pytest.raises(CheckpointError, match="another model"):
        restore_optimiser(optimiser, encoder, objective, {"exp_avg/encoder.cls_token": torch.zeros(1, 1, 5)})
    with pytest.raises(CheckpointError, match="another model"):
        restore_optimiser(optimiser, encoder, objective, {"exp_avg/encoder.none": torch.zeros(1)})
