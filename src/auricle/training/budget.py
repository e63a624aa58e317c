"""`train.minutes` as a number of steps, so that the learning rate comes to its end when the time does."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from auricle.errors import TrainingError
from auricle.training.optimiser import Plan, fall_step, warm_up_steps
from auricle.training.run_record import STAGE, longer_command
from auricle.training.train_config import TrainConfig

# Steps that show the speed, after the first, which loads and compiles.
_SHOWN = 5
# Shares of the time after which the number of steps is measured (again).
_MARKS = (0.02, 0.25, 0.5, 0.75, 0.9)
# Kept for the last checkpoint.
_RESERVE = 0.02
# A number of steps that is off by less is left alone.
_CLOSE = 0.01


class Budget:
    """Fits the steps of a run to its minutes by the speed that is measured.

    A run that is resumed with the same minutes after its number of steps was fitted keeps that number: the rest is as
    it would have been. With other minutes the number is fitted again (see `take_over`).

    Args:
        config: with `minutes`, or None for no limit.
        plan: numbers of steps that were fitted before.
        fitted: the minutes that the plan's last number was fitted to; None: none, it is the recipe's.
        clock: returns seconds.

    Attributes:
        plan: the numbers of steps in force: `(from which step, steps)`.
        deadline: time by the clock at which the session ends; None: never.
    """

    def __init__(
        self,
        config: TrainConfig,
        plan: Plan = (),
        fitted: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.config, self.plan, self.clock, self.fitted = config, plan, clock, fitted
        self._begin = clock()
        self._first: tuple[int, float] | None = None
        kept = config.minutes is None or (plan and fitted == config.minutes)
        self._marks = [] if config.minutes is None or kept else [60 * config.minutes * mark for mark in _MARKS]
        self.deadline = None if config.minutes is None else self._begin + 60 * config.minutes

    @property
    def steps(self) -> int:
        """Steps of the whole run, as known now."""
        return self.plan[-1][1] if self.plan else self.config.steps

    @property
    def over(self) -> bool:
        """Whether the minutes of this session are over."""
        return self.deadline is not None and self.clock() >= self.deadline

    def take_over(self, step: int) -> bool:
        """Give up a number of steps that was fitted to other minutes, from `step` on; return whether there was one.

        The recipe's number is in force again until the new minutes show what fits.
        """
        if not self.plan or self.fitted in (None, self.config.minutes):
            return False
        self._set(step, self.config.steps, None)
        return True

    def fit(self, step: int) -> bool:
        """Fit the number of steps where it is time to, after `step` steps; return whether the plan changed."""
        now = self.clock()
        if self._first is None:
            self._first = (step, now)
        done, spent = step - self._first[0], now - self._first[1]
        if not self._marks or self.deadline is None or done < _SHOWN or now - self._begin < self._marks[0]:
            return False
        self._marks = [mark for mark in self._marks if mark > now - self._begin]
        # The next time, the speed since this one counts.
        self._first = (step, now)
        left = self.deadline - now - _RESERVE * (self.deadline - self._begin)
        steps = min(self.config.steps, step + max(1, int(left * done / max(spent, 1e-9))))
        if abs(steps - self.steps) <= _CLOSE * self.steps:
            return False
        self._set(step, steps, self.config.minutes)
        return True

    def _set(self, step: int, steps: int, fitted: float | None) -> None:
        # A run that was killed continues from a step before the last that it made.
        earlier = (place for place in self.plan if place[0] < step)
        self.plan, self.fitted = (*earlier, (step, steps)), fitted


def refuse_longer(path: Path, plan: Plan, fitted: float | None, config: TrainConfig) -> None:
    """Refuse other minutes for a run that made all the steps which were fitted to its own; a stage is used as it is.

    Raises:
        TrainingError: naming both.
    """
    if plan and path.name != STAGE and fitted not in (None, config.minutes):
        asked = "none" if config.minutes is None else f"{config.minutes:g}"
        raise TrainingError(
            f"{path} is complete: it made the {plan[-1][1]} steps that fit into train.minutes {fitted:g}, and its "
            f"learning rate has come to its end; expected the same minutes, found {asked}. Train on in another run: "
            f"{longer_command(path)} --train.minutes {asked}"
        )


def refuse_complete(path: Path, step: int, budget: Budget) -> None:
    """Refuse to continue a run that is complete.

    Raises:
        TrainingError: `step` is its last.
    """
    if step >= budget.steps:
        refuse_longer(path, budget.plan, budget.fitted, budget.config)
        raise TrainingError(
            f"{path} is complete: all its {step} steps are done; nothing is left to resume. Probe it, or start a "
            "longer run in another folder"
        )


def warm_up_warning(config: TrainConfig, planned: int, stopped_at: int | None = None) -> str | None:
    """Return a sentence about a run that ends in its warm-up or before its learning rate falls, with what to do.

    None where it does not.

    Args:
        config: of the run.
        planned: steps of the run, those that fit into its minutes.
        stopped_at: step at which its time was over before, so that it can be continued.
    """
    stopped, steps, warm = stopped_at is not None, stopped_at or planned, warm_up_steps(config, planned)
    timed = config.minutes is not None and (stopped or steps != config.steps)
    why = f" (train.minutes is {config.minutes:g})" if timed else ""
    more = "continue it, or" if stopped else f"set more --train.{'minutes' if timed else 'steps'}, or"
    if steps > warm:
        if stopped or not config.hold_steps or steps > fall_step(config, steps):
            return None
        return (
            f"the run ends at step {steps}{why}, before its learning rate falls from train.lr: it has "
            f"{warm} steps of warm-up and {config.hold_steps} at train.lr. To see it fall, {more} start "
            f"again in another --out with --train.hold-steps {(steps - warm) // 2}"
        )
    return (
        f"the run {'stopped' if stopped else 'ends'} at step {steps}{why}, inside its warm-up of {warm} "
        f"steps: the learning rate does not reach train.lr. To reach it, {more} start again in another --out with "
        f"--train.warmup-steps {steps // 10}"
    )
