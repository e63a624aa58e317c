"""From fitted folds to the answers of all test clips in a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from auricle.tasks.clips.answers import ClipPredictions
from auricle.tasks.clips.fold_fits import FoldFit
from auricle.tasks.folds import Fold
from auricle.tasks.targets import Targets
from auricle.tasks.task_type import Job


def known_targets(job: Job, targets: Targets) -> Targets:
    """Return the targets of the clips that could be read, in the order of `job.tokens()`."""
    return replace(targets, rows=targets.rows[job.here], truth=targets.truth[job.here])


def clip_answers(
    job: Job, targets: Targets, folds: Sequence[Fold], fits: Sequence[FoldFit], seeds: Sequence[int]
) -> ClipPredictions:
    """Put the test clips of all folds in a row.

    Args:
        job: names and sources of the clips.
        targets: of the clips that could be read (`known_targets`).
        folds: with places in `targets`.
        fits: of each fold.
        seeds: of the fits' scores.
    """
    predictions = np.concatenate([fold.test for fold in folds])
    return ClipPredictions(
        kind=targets.kind,
        classes=targets.classes,
        names=job.clip_names[job.here][predictions],
        fold=np.repeat(np.arange(len(folds)), [len(fold.test) for fold in folds]),
        group=job.plan.groups[job.here][predictions],
        truth=targets.truth[predictions],
        scores=np.concatenate([fit.scores for fit in fits], axis=1),
        seeds=tuple(seeds),
    )
