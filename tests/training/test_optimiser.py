from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from auricle.errors import CheckpointError, ConfigError
from auricle.training.optimiser import (
    build_optimiser,
    free_of_decay,
    learning_rate,
    named_parameters,
    optimiser_tensors,
    restore_optimiser,
    weight_decay,
)
from auricle.training.ranks import Ranks
from auricle.training.step import TrainingStep
from auricle.training.train_config import TrainConfig

CONFIG = TrainConfig(steps=1000, warmup_steps=100, lr=6e-4, min_lr=1e-6)


def test_begins_at_zero_peaks_after_warm_up_and_ends_at_the_minimum() -> None:
    assert learning_rate(0, CONFIG) == 0.0
    assert learning_rate(50, CONFIG) == pytest.approx(3e-4, abs=1e-12)
    assert learning_rate(100, CONFIG) == pytest.approx(6e-4, abs=1e-12)
    assert learning_rate(999, CONFIG) == pytest.approx(1e-6, abs=1e-12)


def test_cosine_by_the_half_angle_formula() -> None:
    for step in range(100, 1000):
        progress = (step - 100) / 899
        # (1 + cos x) / 2 = cos^2(x / 2): another way to the same curve
        expected = 1e-6 + (6e-4 - 1e-6) * math.cos(math.pi * progress / 2) ** 2
        assert learning_rate(step, CONFIG) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (1, 10), (5, 10), (11, 10), (10, 9), (2, 0)])
def test_short_runs_have_a_finite_positive_peak(steps: int, warmup: int) -> None:
    config = CONFIG.replace(steps=steps, warmup_steps=warmup)
    rates = [learning_rate(step, config) for step in range(steps)]
    assert all(math.isfinite(rate) and 0 <= rate <= config.lr for rate in rates)


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 0},
        {"micro_batch": 0},
        {"clip_norm": -1.0},
        {"lr": 1e-9},
        {"threads": 0},
        {"minutes": 0.0},
        {"keep": -1},
        {"lr": math.inf},
        {"lr": -1e-3, "min_lr": -1e-2},
        {"min_lr": -math.inf},
        {"weight_decay": math.inf},
        {"clip_norm": math.inf},
        {"minutes": math.inf},
        {"betas": (2.0, 0.9)},
        {"betas": (0.9, 1.0)},
        {"betas": (-0.1, 0.9)},
        {"betas": (0.9,)},
        {"eps": -1.0},
        {"eps": 0.0},
        {"eps": math.inf},
    ],
)
def test_settings_out_of_range_are_refused_by_name(changes: dict[str, float]) -> None:
    with pytest.raises(
        ConfigError,
        match=rf"[Tt]rain(Config)?.{next(iter(changes))}(\.\d)? (is .*(expected|below|set)|has 1 values; expected 2)",
    ):
        TrainConfig(**changes)


@pytest.mark.parametrize("name", ["lr", "min_lr", "weight_decay", "eps", "clip_norm", "minutes"])
def test_settings_that_are_not_a_number_are_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"train\.{name} is nan"):
        TrainConfig(**{name: math.nan})
    with pytest.raises(ConfigError, match=r"train\.betas\.1 is nan"):
        TrainConfig(betas=(0.9, math.nan))


def test_other_schedules_by_their_formulas() -> None:
    config = TrainConfig(steps=101, lr=1e-3, min_lr=1e-5, warmup_steps=20)
    linear, flat, noam = (config.replace(schedule=name) for name in ("linear", "constant", "inverse_sqrt"))
    for step in range(20):
        assert {learning_rate(step, c) for c in (config, linear, flat, noam)} == {1e-3 * step / 20}
    assert learning_rate(60, linear) == pytest.approx(1e-5 + (1e-3 - 1e-5) * 0.5)
    assert learning_rate(100, linear) == pytest.approx(1e-5)
    assert {learning_rate(step, flat) for step in (20, 60, 100)} == {1e-3}
    assert learning_rate(80, noam) == pytest.approx(1e-3 * (20 / 80) ** 0.5)
    assert learning_rate(10**9, noam) == 1e-5
    with pytest.raises(ConfigError, match=r"'exponential', 'constant' or 'inverse_sqrt'; did you mean 'cosine'"):
        TrainConfig(schedule="cosin")


def test_three_stages() -> None:
    """fairseq's tri-stage schedule: a linear rise, a plateau, and an exponential fall to a hundredth."""
    config = TrainConfig(steps=201, lr=1e-3, min_lr=1e-5, warmup_steps=20, hold_steps=80, schedule="exponential")
    assert learning_rate(10, config) == pytest.approx(5e-4)
    assert {learning_rate(step, config) for step in (20, 60, 100)} == {1e-3}
    for step in (101, 150, 200):
        assert learning_rate(step, config) == pytest.approx(1e-3 * math.exp(math.log(0.01) * (step - 100) / 100))
    assert learning_rate(60, config.replace(schedule="linear")) == 1e-3
    assert learning_rate(150, config.replace(schedule="linear")) == pytest.approx((1e-3 + 1e-5) / 2)
    with pytest.raises(ConfigError, match="set min_lr above 0"):
        config.replace(min_lr=0.0)
    with pytest.raises(ConfigError, match="set hold_steps to 0"):
        config.replace(schedule="constant")


def test_weight_decay_rises_along_a_cosine(toy) -> None:
    config = TrainConfig(steps=100, weight_decay=0.04, weight_decay_end=0.4)
    for step in (0, 25, 50, 99):
        wanted = 0.4 + 0.5 * (0.04 - 0.4) * (1 + math.cos(math.pi * step / 100))
        assert weight_decay(step, config) == pytest.approx(wanted)
    assert weight_decay(50, config.replace(weight_decay_end=None)) == 0.04
    encoder, objective = toy.parts()
    step = TrainingStep(encoder, objective, toy.augment, config, Ranks(0, 1, torch.device("cpu")))
    batch = next(toy.loader.iterate())
    step(50, step.views(50, batch.audio, batch.clip))
    assert [group["weight_decay"] for group in step.optimiser.param_groups] == [pytest.approx(0.22), 0.0]


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
