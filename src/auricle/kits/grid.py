"""The grid of a kit: points of different heads and learning rates, and the selection of one of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch

from auricle.config import Config, Positive
from auricle.errors import ConfigError
from auricle.kits.head import KitHeadConfig
from auricle.kits.training import KitFit, KitTraining, keep_best, train_kit_head
from auricle.probes.contract import Labelled
from auricle.tokens.token_set import TokenSet

T = TypeVar("T")


@dataclass(frozen=True)
class GridPoint(Config):
    """A point of a grid.

    Attributes:
        head: the head to train.
        lr: its learning rate.
    """

    head: KitHeadConfig
    lr: Positive


def fit_points(
    points: Sequence[GridPoint],
    training: KitTraining,
    train: Labelled,
    valid: Labelled,
    classes: int,
    *,
    single: bool,
    seed: int,
    device: torch.device | str = "cpu",
    memory_mb: float = 256.0,
    workers: int = 1,
    calibrate_on: TokenSet | None = None,
    progress: Callable[[float], None] | None = None,
) -> list[KitFit]:
    """Train all points of a grid, those of one head together.

    With a race (`training.race`), all points train up to its first rung; the best of them restart and train up to the
    next one, and so on; the last ones train to their end. Restarting costs some epochs, but no memory for waiting
    settings.

    Args:
        points: the grid.
        training: the kit's rules.
        train: training clips, in the kit's order.
        valid: validation clips.
        classes: C.
        single: one label a clip or several.
        seed: of start, order and dropout.
        device: where to train.
        memory_mb: bound on the memory of settings in training, all workers together.
        workers: heads that train in parallel, one thread each; results do not depend on it.
        calibrate_on: see `train_kit_head`.
        progress: called with the share of the work that is done, as an upper bound.

    Returns:
        One fit per point, in the order of the points; only the best one (`best_point`) keeps its weights.
    """
    stages = len(training.race) + 1

    def fit(places: list[int], rules: KitTraining, stage: int) -> dict[int, KitFit]:
        """Train some points; return position -> fit."""
        groups = list(_by_head(points, places).values())
        side = min(workers, len(groups))
        done = [0.0] * len(groups)

        def one(number: int) -> list[KitFit]:
            def advance(share: float) -> None:
                done[number] = share
                if progress is not None:
                    progress((stage + sum(done) / len(done)) / stages)

            return train_kit_head(
                points[groups[number][0]].head,
                rules,
                [points[k].lr for k in groups[number]],
                train,
                valid,
                classes,
                single=single,
                seed=seed,
                device=device,
                memory_mb=memory_mb / side,
                calibrate_on=calibrate_on,
                keep="best",
                progress=advance,
            )

        found = side_by_side([lambda number=n: one(number) for n in range(len(groups))], side)  # type: ignore[misc]
        return dict(zip(itertools.chain(*groups), itertools.chain(*found), strict=True))

    rules = training.replace(race=())
    fits: dict[int, KitFit] = {}
    alive = list(range(len(points)))
    for stage, (checks, share) in enumerate(training.race):
        length = {"steps" if rules.steps else "epochs": checks * rules.check_every}
        _merge(fits, fit(alive, rules.replace(**length), stage))
        alive.sort(key=lambda k: (-fits[k].score, fits[k].loss))
        for k in alive[max(1, math.ceil(share * len(points))) :]:
            fits[k].raced_out = True
        alive = sorted(k for k in alive if not fits[k].raced_out)
    _merge(fits, fit(alive, rules, stages - 1))
    found = [fits[k] for k in range(len(points))]
    keep_best(found)
    return found


def _merge(fits: dict[int, KitFit], found: dict[int, KitFit]) -> None:
    for k, fit in found.items():
        fit.spent += fits[k].spent if k in fits else 0
        fits[k] = fit


def best_point(fits: Sequence[KitFit]) -> int:
    """Return the index of the best validation score, the first of equals, among points that trained to their end.

    Raises:
        ConfigError: none has a finite score.
    """
    able = [k for k, fit in enumerate(fits) if fit.at and not fit.raced_out]
    if not able:
        raise ConfigError("no point of the grid has a finite validation score; check that the embeddings are finite")
    return max(able, key=lambda k: fits[k].score)


def side_by_side(jobs: Sequence[Callable[[], T]], workers: int) -> list[T]:
    """Run jobs on several threads, each with one torch thread; results are in the order of the jobs.

    Small products gain nothing from being shared among cores; training different settings on each core does.
    """
    if workers <= 1 or len(jobs) <= 1:
        return [job() for job in jobs]
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return [future.result() for future in [pool.submit(job) for job in jobs]]
    finally:
        torch.set_num_threads(threads)


def _by_head(points: Sequence[GridPoint], places: Sequence[int]) -> dict[KitHeadConfig, list[int]]:
    groups: dict[KitHeadConfig, list[int]] = {}
    for place in places:
        groups.setdefault(points[place].head, []).append(place)
    return groups
