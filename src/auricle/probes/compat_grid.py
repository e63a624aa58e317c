"""The grid of a kit: points of different heads and learning rates, and how one of them is chosen."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch

from auricle.config import Config
from auricle.errors import ConfigError
from auricle.probes.compat_head import CompatHeadConfig
from auricle.probes.compat_stopping import Race
from auricle.probes.compat_training import CompatFit, CompatTraining, keep_best, train_compat
from auricle.probes.contract import Labelled
from auricle.tokens.token_set import TokenSet

T = TypeVar("T")


@dataclass(frozen=True)
class GridPoint(Config):
    """A point of a grid.

    Attributes:
        head: what is trained.
        lr: its learning rate.
    """

    head: CompatHeadConfig
    lr: float


def fit_points(
    points: Sequence[GridPoint],
    training: CompatTraining,
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
) -> list[CompatFit]:
    """Train all points of a grid, those of one head together.

    Args:
        points: the grid.
        training: the kit's rules. With a race, heads train one after another in the order of the points, so that each
            is ranked among all that came before.
        train: training clips, in the kit's order.
        valid: validation clips.
        classes: C.
        single: one label a clip or several.
        seed: of start, order and dropout.
        device: where to train.
        memory_mb: bound on what settings hold while they train, all workers together.
        workers: heads that train side by side, one thread each; results do not depend on it.
        calibrate_on: see `train_compat`.
        progress: called with the share of the work that is done at most.

    Returns:
        One fit a point, in the order of the points; only the best one (`best_point`) keeps its weights.
    """
    groups = [list(g) for g in _by_head(points).values()]
    race = Race(training.race)
    workers = 1 if training.race else min(workers, len(groups))
    done = [0.0] * len(groups)

    def fit(place: int) -> list[CompatFit]:
        def tell(share: float) -> None:
            done[place] = share
            if progress is not None:
                progress(sum(done) / len(done))

        return train_compat(
            points[groups[place][0]].head,
            training,
            [points[k].lr for k in groups[place]],
            train,
            valid,
            classes,
            single=single,
            seed=seed,
            device=device,
            memory_mb=memory_mb / workers,
            calibrate_on=calibrate_on,
            race=race if training.race else None,
            keep="best",
            progress=tell,
        )

    found = side_by_side([lambda place=place: fit(place) for place in range(len(groups))], workers)  # type: ignore[misc]
    by_place = dict(zip(itertools.chain(*groups), itertools.chain(*found), strict=True))
    fits = [by_place[k] for k in range(len(points))]
    keep_best(fits)
    return fits


def best_point(fits: Sequence[CompatFit]) -> int:
    """Return the place of the best validation score, the first of equals, among those that trained to their end.

    Raises:
        ConfigError: none has a finite score.
    """
    able = [k for k, fit in enumerate(fits) if fit.at and not fit.raced_out]
    if not able:
        raise ConfigError("no point of the grid has a finite validation score; check that the embeddings are finite")
    return max(able, key=lambda k: fits[k].score)


def side_by_side(jobs: Sequence[Callable[[], T]], workers: int) -> list[T]:
    """Run jobs on so many threads, each with one thread of its own for torch; results are in the order of the jobs.

    Small products gain nothing from sharing one among cores; training different settings on each core does.
    """
    if workers <= 1 or len(jobs) <= 1:
        return [job() for job in jobs]
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return [future.result() for future in [pool.submit(job) for job in jobs]]
    finally:
        torch.set_num_threads(threads)


def _by_head(points: Sequence[GridPoint]) -> dict[CompatHeadConfig, list[int]]:
    groups: dict[CompatHeadConfig, list[int]] = {}
    for place, point in enumerate(points):
        groups.setdefault(point.head, []).append(place)
    return groups
