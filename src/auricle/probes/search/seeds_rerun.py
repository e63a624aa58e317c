"""The best few settings, trained again with other seeds: the best mean over seeds wins (arXiv 2509.24901).

One validation score is a draw; the best of fifty is a lucky draw. Means over seeds tell a better setting from luck.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from auricle.errors import TrainingError
from auricle.probes.search.settings_run import Finished, State, Work, train_settings


def rerun(
    work: Work,
    found: Finished,
    best: Sequence[int],
    seeds: Sequence[int],
    *,
    progress: Callable[[int], None] | None = None,
) -> tuple[list[int], list[State]]:
    """Train some settings with further seeds and find the best by mean validation score (ties: lower mean loss).

    Each of their trials gets `reruns`, its validation scores by seed. All settings of a seed train in one pass.

    Args:
        work: what is to be learnt.
        found: the search, made with `seeds[0]`; its own scores are those of that seed.
        best: places of the settings in `found.trials`.
        seeds: all seeds.
        progress: called with the epochs done.

    Returns:
        The places, best mean first, and the weights of the first for each seed.

    Raises:
        TrainingError: every setting diverged with some seed.
    """
    scores = {k: [found.trials[k].score] for k in best}
    losses = {k: [found.trials[k].loss] for k in best}
    states = {k: [found.states[k]] for k in best}
    settings = [(found.trials[k].lr, found.trials[k].weight_decay) for k in best]
    for number, seed in enumerate(seeds[1:]):
        shift = number * work.search.epochs
        report = None if progress is None else lambda epoch, shift=shift: progress(shift + epoch)
        again = train_settings(work, settings, seed, halving=False, progress=report)
        for k, trial, state in zip(best, again.trials, again.states, strict=True):
            scores[k].append(trial.score)
            losses[k].append(trial.loss)
            states[k].append(state)
    if work.valid is not None:
        for k in best:
            found.trials[k].reruns = scores[k]
    chosen = [k for k in best if all(states[k])]
    if not chosen:
        raise TrainingError(
            f"none of {len(best)} settings trained to a finite validation loss with all of {len(seeds)} seeds; give "
            "lower learning rates"
        )

    def standing(k: int) -> tuple[float, float, int]:
        mean, loss = float(np.mean(scores[k])), float(np.mean(losses[k]))
        return (-mean if math.isfinite(mean) else math.inf), loss, best.index(k)

    order = sorted(chosen, key=standing)
    return order, states[order[0]]
