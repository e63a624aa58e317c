"""AdamW with the parameter groups that transformers are trained with, and its learning rate over the steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from auricle.errors import CheckpointError
from auricle.training.train_config import TrainConfig

Plan = tuple[tuple[int, int], ...]
"""Numbers of steps that were fitted to `train.minutes`: `(from which step, counted from 0; steps of the whole run)`."""


def planned_steps(step: int, config: TrainConfig, plan: Plan = ()) -> int:
    """Return the steps of the whole run, as known at a step."""
    return next((steps for begin, steps in reversed(plan) if begin <= step), config.steps)


def learning_rate(step: int, config: TrainConfig, plan: Plan = ()) -> float:
    """Return the learning rate of a step (counted from 0): linear warm-up from 0 to `lr`, then `schedule`.

    `cosine`, `linear` and `exponential` stay at `lr` up to `fall_step` and go down to `min_lr` at the last step,
    `steps - 1`; `constant` stays at `lr`; `inverse_sqrt` is `lr * sqrt(warm-up / step)`, but at least `min_lr`
    (Noam's). All are pure functions of the step, so that a resumed run needs no scheduler state. The cosine is
    AudioMosaic's released schedule (arXiv 2605.14231).

    Where the number of steps is fitted to the time (`plan`), the schedule goes on from where it is, without a jump.
    """
    rising, warm = _warm_up(step, config, plan)
    if step < warm:
        return rising
    if planned_steps(step, config, plan) - 1 <= warm:
        # A run that ends with its warm-up has no room for a cosine.
        return config.lr
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "inverse_sqrt":
        return max(config.min_lr, config.lr * math.sqrt(max(1, warm) / max(1, step)))
    progress = _progress(
        step, config, plan, lambda steps: fall_step(config, steps) + max(0, warm - warm_up_steps(config, steps)), last=1
    )
    if progress < 0:
        return config.lr
    if config.schedule == "exponential":
        return config.lr * (config.min_lr / config.lr) ** progress
    share = 1.0 - progress if config.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))
    return config.min_lr + (config.lr - config.min_lr) * share


def warm_up_steps(config: TrainConfig, steps: int) -> int:
    """Return the steps of warm-up of a run of `steps`, which its minutes may have lowered.

    They are the same share of the run as `warmup_steps` of `config.steps`, or a tenth where that is more, and at most
    `warmup_steps`: without that, a published warm-up is longer than what fits into an hour.
    """
    return min(config.warmup_steps, max(round(config.warmup_steps * steps / config.steps), steps // 10))


def _warm_up(step: int, config: TrainConfig, plan: Plan) -> tuple[float, int]:
    """Return the learning rate that the warm-up has reached at a step, and the step at which it ends.

    Where a fit lowers its length, the rate goes on from where it is. It is at most twice as steep as a warm-up of that
    length; where that would be missed, what is left of the rate takes the steps that it would have taken there.
    """
    begin, rate, end = 0, 0.0, config.warmup_steps
    for place, steps in plan:
        if place > step or place >= end:
            break
        rate += (config.lr - rate) * (place - begin) / (end - begin)
        end = warm_up_steps(config, steps)
        left = max(1, math.ceil(end * (1.0 - rate / config.lr)))
        begin, end = place, end if 2 * (end - place) >= left else place + left
    return rate + (config.lr - rate) * (step - begin) / max(1, end - begin), end


def fall_step(config: TrainConfig, steps: int) -> int:
    """Return the step from which the learning rate falls in a run of `steps`: `hold_steps` are a share of the run.

    They are as many as are set in a run of `config.steps`, and fewer where fewer steps fit into its minutes.
    """
    return warm_up_steps(config, steps) + round(config.hold_steps * steps / config.steps)


def weight_decay(step: int, config: TrainConfig, plan: Plan = ()) -> float:
    """Return the weight decay of a step (counted from 0): constant, or along half a cosine to `weight_decay_end`."""
    if config.weight_decay_end is None:
        return config.weight_decay
    share = 0.5 * (1.0 - math.cos(math.pi * training_progress(step, config, plan)))
    return config.weight_decay + (config.weight_decay_end - config.weight_decay) * share


def training_progress(step: int, config: TrainConfig, plan: Plan = ()) -> float:
    """Return the share of the training that is done before a step (counted from 0): 0 ... 1.

    Where the number of steps is fitted to the time (`plan`), it goes on from where it is, without a jump.
    """
    return _progress(step, config, plan, lambda steps: 0, last=0)


def _progress(step: int, config: TrainConfig, plan: Plan, first: Callable[[int], int], *, last: int) -> float:
    """Return how far a schedule is: below 0 before it, 0 at its first step, 1 at `last` steps before the end.

    Args:
        step: counted from 0.
        config: with the number of steps.
        plan: numbers of steps that replace it.
        first: number of steps -> step at which the schedule begins.
        last: steps at the end that are beyond the schedule.
    """
    steps, begin, done = config.steps, first(config.steps), 0.0
    for place, fitted in plan:
        if place > step:
            break
        if place > begin:
            done += (1.0 - done) * _share(place, begin, steps - last)
            begin = place
        else:
            begin = max(place, first(fitted))
        steps = fitted
    return done + (1.0 - done) * _share(step, begin, steps - last)


def _share(step: int, begin: int, end: int) -> float:
    span = end - begin
    return min(1.0, (step - begin) / span) if span > 0 else float(step >= begin)


def named_parameters(encoder: nn.Module, objective: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the trainable parameters of both, each once, as `encoder.…` and `objective.…`, in a fixed order."""
    seen: set[int] = set()
    for room, module in (("encoder", encoder), ("objective", objective)):
        for name, parameter in module.named_parameters():
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                yield f"{room}.{name}", parameter


def free_of_decay(encoder: nn.Module, objective: nn.Module) -> set[str]:
    """Return the names of the trainable parameters without weight decay.

    They are the 1-D ones, biases, and those that a module lists in its `no_decay` (class tokens, positions).
    """
    listed = {
        ".".join(part for part in (room, place, name) if part)
        for room, module in (("encoder", encoder), ("objective", objective))
        for place, child in module.named_modules()
        for name in getattr(child, "no_decay", ())
    }
    return {
        name
        for name, parameter in named_parameters(encoder, objective)
        if parameter.ndim < 2 or name.endswith(".bias") or name in listed
    }


def build_optimiser(encoder: nn.Module, objective: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """Build AdamW (fused) over both modules, in two groups: with weight decay and without."""
    named, free = list(named_parameters(encoder, objective)), free_of_decay(encoder, objective)
    groups = [
        {"params": [p for name, p in named if name not in free], "weight_decay": config.weight_decay, "decays": True},
        {"params": [p for name, p in named if name in free], "weight_decay": 0.0, "decays": False},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=True)


def optimiser_tensors(optimiser: torch.optim.Optimizer, encoder: nn.Module, objective: nn.Module) -> dict[str, Tensor]:
    """Return the optimiser's state as named tensors: `exp_avg/encoder.blocks.0…`."""
    tensors = {}
    for name, parameter in named_parameters(encoder, objective):
        for key, value in optimiser.state.get(parameter, {}).items():
            tensors[f"{key}/{name}"] = torch.as_tensor(value)
    return tensors


def restore_optimiser(
    optimiser: torch.optim.Optimizer, encoder: nn.Module, objective: nn.Module, tensors: dict[str, Tensor]
) -> None:
    """Restore the state of `optimiser_tensors`.

    Raises:
        CheckpointError: the tensors are those of another model.
    """
    rest = dict(tensors)
    for name, parameter in named_parameters(encoder, objective):
        state = {}
        for key in ("step", "exp_avg", "exp_avg_sq"):
            value = rest.pop(f"{key}/{name}", None)
            if value is None:
                continue
            if key != "step" and value.shape != parameter.shape:
                raise CheckpointError(
                    f"the optimiser state of {name} has shape {tuple(value.shape)}, expected "
                    f"{tuple(parameter.shape)}: the checkpoint is of another model; resume with its own recipe"
                )
            # The fused kernel expects its step counter on the parameter's device.
            state[key] = value.to(device=parameter.device)
        if state:
            optimiser.state[parameter] = state
    if rest:
        raise CheckpointError(
            f"the optimiser state holds {len(rest)} tensors that the model lacks (first: {sorted(rest)[0]}): the "
            "checkpoint is of another model; resume with its own recipe"
        )
