"""The search of arXiv 2509.24901: Sobol points, then proposals of a tree-structured Parzen estimator, pruned.

Differences from 50 sequential trials: Sobol points train together in one pass, TPE proposes a few at a time (running
proposals count as bad ones), and a setting is pruned when it is not among the best share of all settings begun so far,
at the same epoch. The sampler is optuna's; Sobol points are SciPy's (which optuna uses too), all drawn at once.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import qmc

from auricle.extras import require
from auricle.probes.fitted import Trial
from auricle.probes.search.config import SearchConfig
from auricle.probes.search.settings_run import Finished, Rungs, Setting, Work, train_settings

Ranges = tuple[tuple[float, float], tuple[float, float]]
_NAMES = ("lr", "weight_decay")


def passes(search: SearchConfig) -> list[int]:
    """Return the number of settings of each pass: Sobol points in large passes, proposals in small ones."""
    startup = min(search.startup, search.trials)
    return [*_even(startup, search.sobol_batch), *_even(search.trials - startup, search.tpe_batch)]


def tpe_search(work: Work, seed: int, *, progress: Callable[[int, int], None] | None = None) -> Finished:
    """Search learning rate and weight decay for a probe.

    Args:
        work: to learn; `work.search` gives the trials and their ranges.
        seed: of the points, the proposals, the probe's start and the order of clips.
        progress: called with (passes finished, epochs of the running one).

    Returns:
        All trials, and the weights of the best `top_k` finished ones.

    Raises:
        MissingExtraError: optuna is not installed.
    """
    rungs: Rungs = {}
    merged = Finished([], [], rungs)
    number = 0

    def run(settings: list[Setting]) -> list[Trial]:
        nonlocal number
        report = None if progress is None else lambda epoch, number=number: progress(number, epoch)
        found = train_settings(work, settings, seed, progress=report, earlier=rungs)
        for epoch, ranks in found.rungs.items():
            rungs.setdefault(epoch, []).extend(ranks)
        merged.trials.extend(found.trials)
        merged.states.extend(found.states)
        # Weights of a setting that can't be among the best any more are dropped.
        for k in merged.finishers()[work.search.top_k :]:
            merged.states[k] = {}
        number += 1
        return found.trials

    propose_and_run(run, work.search, work.search.ranges(work.config), seed)
    return merged


def propose_and_run(
    run: Callable[[list[Setting]], list[Trial]], search: SearchConfig, ranges: Ranges, seed: int
) -> list[Trial]:
    """Run the settings that Sobol and TPE propose, pass by pass, and report their scores to TPE.

    Args:
        run: trains settings and returns their trials; one with fewer epochs than `search.epochs` was pruned.
        search: number of trials, and sizes of the passes.
        ranges: ends of the learning rates and of the weight decays; both are searched on a log scale.
        seed: of points and proposals.

    Raises:
        MissingExtraError: optuna is not installed.
    """
    optuna = require("optuna", extra="search")
    spaces = {name: _space(optuna, *ends) for name, ends in zip(_NAMES, ranges, strict=True)}
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            # optuna marks `constant_liar` as experimental.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=0, constant_liar=True)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for point in sobol_points(min(search.startup, search.trials), ranges, seed):
            study.enqueue_trial(dict(zip(_NAMES, point, strict=True)))
        tried: list[Trial] = []
        for count in passes(search):
            asked = [study.ask(fixed_distributions=spaces) for _ in range(count)]
            found = run([(a.params["lr"], a.params["weight_decay"]) for a in asked])
            for proposal, trial in zip(asked, found, strict=True):
                _report(optuna, study, proposal, trial, search.epochs)
            tried.extend(found)
        return tried
    finally:
        optuna.logging.set_verbosity(level)


def sobol_points(count: int, ranges: Ranges, seed: int) -> list[Setting]:
    """Return the first points of a scrambled Sobol sequence over the ranges, log-spaced."""
    engine = qmc.Sobol(d=2, scramble=True, seed=np.random.default_rng(seed))
    # The sequence is balanced over powers of two, and SciPy warns of other counts.
    unit = engine.random_base2(max(0, math.ceil(math.log2(max(count, 1)))))[:count]
    columns = [_between(unit[:, i], *ends) for i, ends in enumerate(ranges)]
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _between(unit: np.ndarray, low: float, high: float) -> np.ndarray:
    if low <= 0:
        return low + unit * (high - low)
    # Rounding must not leave the range: optuna would refuse the point.
    return np.clip(low * (high / low) ** unit, low, high)


def _space(optuna: Any, low: float, high: float) -> Any:
    return optuna.distributions.FloatDistribution(low, high, log=low > 0)


def _report(optuna: Any, study: Any, proposal: Any, trial: Trial, epochs: int) -> None:
    finished = trial.epochs == epochs and math.isfinite(trial.score)
    if finished:
        study.tell(proposal, trial.score)
        return
    if math.isfinite(trial.score):
        # TPE ranks pruned trials by their last epoch, then by their score.
        proposal.report(trial.score, trial.epochs)
    # A diverged one reports nothing, and ranks behind all others.
    study.tell(proposal, state=optuna.trial.TrialState.PRUNED)


def _even(count: int, most: int) -> list[int]:
    """Split a count into the fewest parts of at most `most`, all about equal."""
    parts = math.ceil(count / most)
    return [len(part) for part in np.array_split(np.arange(count), parts)] if parts else []
