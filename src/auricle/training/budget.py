"""`train.minutes` as a number of steps, so that the learning rate comes to its end when the time does."""

from __future__ import annotations

import time
from collections.abc import Callable

from auricle.training.optimiser import Plan
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

    A run that is resumed after its number of steps was fitted keeps that number: the rest is as it would have been.

    Args:
        config: with `minutes`, or None for no limit.
        plan: numbers of steps that were fitted before.
        clock: returns seconds.

    Attributes:
        plan: the numbers of steps in force: `(from which step, steps)`.
        deadline: time by the clock at which the session ends; None: never.
    """

    def __init__(self, config: TrainConfig, plan: Plan = (), clock: Callable[[], float] = time.perf_counter) -> None:
        self.config, self.plan, self.clock = config, plan, clock
        self._begin = clock()
        self._first: tuple[int, float] | None = None
        self._marks = [] if config.minutes is None or plan else [60 * config.minutes * mark for mark in _MARKS]
        self.deadline = None if config.minutes is None else self._begin + 60 * config.minutes

    @property
    def steps(self) -> int:
        """Steps of the whole run, as known now."""
        return self.plan[-1][1] if self.plan else self.config.steps

    @property
    def over(self) -> bool:
        """Whether the minutes of this session are over."""
        return self.deadline is not None and self.clock() >= self.deadline

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
        self.plan = (*self.plan, (step, steps))
        return True


def warm_up_warning(config: TrainConfig, steps: int) -> str | None:
    """Return a sentence about a run that ends inside its warm-up, with what to do; None where it does not."""
    if steps > config.warmup_steps:
        return None
    why = "" if steps == config.steps or config.minutes is None else f" (train.minutes is {config.minutes:g})"
    return (
        f"the run ends at step {steps}{why}, inside its warm-up of {config.warmup_steps} steps: the learning rate does "
        f"not reach train.lr. Train longer, or start again with --train.warmup-steps {steps // 10}"
    )
