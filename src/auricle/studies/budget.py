"""How many training steps fit into a budget: of processor time, or of clips."""

from __future__ import annotations

import json
import math
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional

from auricle.config import Config, Count, Positive
from auricle.corpus.loader import Loader
from auricle.corpus.table import Corpus
from auricle.devices import find_device
from auricle.errors import ConfigError
from auricle.recipes import Recipe
from auricle.recipes.building import build
from auricle.recipes.matrix import make_ready
from auricle.storage import write_json
from auricle.training.ranks import Ranks
from auricle.training.step import TrainingStep
from auricle.training.threads import threads

# Steps that are not counted, the fewest that are, and the seconds that they take at least.
_WARM, _LEAST_STEPS, _LEAST_SECONDS = 3, 6, 6.0
# Convolutions that the speed is measured by: some tenths of a second.
_TIMED = 20
# The shortest schedule.
_FEWEST = 20


@dataclass(frozen=True)
class Budget(Config, section="budget"):
    """What a pre-training may cost; all stages of a recipe share it equally.

    Attributes:
        minutes: of a processor, on `threads` threads; the steps that fit are measured before training begins, as at the
            machine's fastest speed.
        clips: windows shown, whatever they cost.
        threads: of a training step. With one thread a busy machine takes longer and does the same work.
    """

    minutes: Positive | None = 5.0
    clips: Count | None = None
    threads: Count = 1

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.clips is None):
            raise ConfigError("budget needs minutes or clips, and not both; set one of them")

    @property
    def words(self) -> str:
        """The budget for tables: `5 min of a processor`."""
        return f"{self.clips:,} clips" if self.minutes is None else f"{self.minutes:g} min of a processor"


def pace(file: Path, count: int) -> float:
    """Return the share of its fastest speed that a processor has now, at most 1, and remember the fastest.

    Other processes slow down even a step's processor time, by shared caches and memory. A fixed convolution is timed
    now and compared with the fastest time on file, so that a budget buys as many steps on a busy machine.

    Args:
        file: keeps the fastest times.
        count: threads.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(16, 64, 48, 32, generator=generator, requires_grad=True)
    weight = torch.randn(64, 64, 3, 3, generator=generator)
    with threads(count):
        functional.conv2d(x, weight, padding=1).sum().backward()
        began = time.process_time()
        for _ in range(_TIMED):
            functional.conv2d(x, weight, padding=1).sum().backward()
        now = time.process_time() - began
    key = f"{platform.node()}, {count} threads"
    held = json.loads(file.read_text()) if file.exists() else {}
    if now < held.get(key, math.inf):
        held[key] = now
        write_json(file, held)
    return float(held[key]) / now


def stages(recipe: Recipe) -> list[Recipe]:
    """Return the stages of a recipe, the first to be trained first."""
    return [*([] if recipe.previous is None else stages(recipe.previous)), recipe]


def fit_steps(
    recipe: Recipe, corpus: Corpus, budget: Budget, seed: int, device: str = "cpu", *, speeds: Path | None = None
) -> Recipe:
    """Return the recipe with as many steps as fit into the budget, its previous stages likewise.

    Args:
        recipe: its own number of steps is not used; its warm-up takes a fifth of the steps at most.
        corpus: what is trained on: the time of a step includes decoding.
        budget: of all stages together.
        seed: added to the recipe's seed.
        device: where it is trained.
        speeds: file of the fastest speed of this machine (see `pace`); None: the time of a step is taken as it is.
    """
    every = stages(recipe)
    fit = None
    for stage in every:
        if budget.clips is not None:
            steps = budget.clips // (stage.loader.batch * len(every))
        else:
            share = 60 * (budget.minutes or 0) / len(every)
            spent = seconds_a_step(stage, corpus, budget.threads, device)
            steps = int(share / (spent if speeds is None else spent * pace(speeds, budget.threads)))
        steps = max(_FEWEST, steps)
        train = stage.train.replace(
            steps=steps,
            warmup_steps=min(stage.train.warmup_steps, steps // 5),
            threads=budget.threads,
            save_every=max(1, steps // 4),
            keep=1,
            seed=stage.train.seed + seed,
            device=device,
        )
        fit = stage.replace(previous=fit, train=train)
    return fit or recipe


def seconds_a_step(recipe: Recipe, corpus: Corpus, count: int, device: str = "cpu") -> float:
    """Measure a training step in processor seconds: decoding, views, forward, backward, update.

    On a quiet machine one thread's processor time is that of the clock; on a busy one only the first says what fits.

    Args:
        recipe: one stage; its previous ones have random weights.
        corpus: what is trained on.
        count: threads.
        device: where it is trained; on a GPU the clock's time is measured.
    """
    place = find_device(device)
    clock = time.process_time if place.type == "cpu" else time.perf_counter
    frontend, encoder, objective = build(recipe, recipe.train.seed)
    make_ready(recipe, frontend, encoder, objective)
    objective.take_columns({name: corpus.column(name) for name in objective.columns})
    with threads(count):
        views = recipe.augment.build(frontend)
        step = TrainingStep(encoder.to(place), objective.to(place), views, recipe.train, Ranks(0, 1, place))
        loader = Loader(corpus, recipe.window, recipe.loader, rate=frontend.rate, seed=0)
        began = spent = 0.0
        for batch in loader.iterate():
            spent = clock() - began
            if batch.step == _WARM:
                began = clock()
            elif batch.step > _WARM + _LEAST_STEPS and spent > _LEAST_SECONDS:
                return spent / (batch.step - _WARM)
            step(batch.step, step.views(batch.step, batch.audio, batch.clip))
    raise AssertionError("the loader ended")
