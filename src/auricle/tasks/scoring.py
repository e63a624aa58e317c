"""From predictions to numbers with intervals.

The headline of a single-label task is its metric over the test clips of all folds together; that of a multi-label task
is the mean over folds, since scores of different probes can't be ranked against each other. Both are means over seeds.

The interval is a bootstrap over test clips: clips of one source are drawn together where sources are known. It tells
how far the score may be off for other test clips of the same kind; it does not cover other training clips.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from auricle.config import nearest
from auricle.errors import ConfigError, CorpusError
from auricle.metrics.classification import Floats, average_precision, confusion_matrix, per_class_scores
from auricle.metrics.intervals import Difference, Interval, bootstrap_weights, paired_difference, percentile_interval
from auricle.metrics.resampled import (
    weighted_accuracy,
    weighted_balanced_accuracy,
    weighted_macro_auc,
    weighted_macro_f1,
    weighted_mean_average_precision,
)
from auricle.tasks.predictions import Predictions

LEAST_SOURCES = 5  # below this many test sources, drawing sources says nothing: clips are drawn instead
BLOCK = 4_000_000  # weights held at once

SINGLE: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], Floats]] = {
    "accuracy": weighted_accuracy,
    "macro_f1": weighted_macro_f1,
    "balanced_accuracy": weighted_balanced_accuracy,
}
MULTI: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], Floats]] = {
    "mAP": weighted_mean_average_precision,
    "macro_auc": weighted_macro_auc,
}


@dataclass(frozen=True)
class Scores:
    """The numbers of a `Result` that follow from predictions; see there."""

    value: float
    interval: Interval
    metrics: dict[str, float]
    per_fold: list[float]
    per_seed: list[float]
    values: list[list[float]]
    per_class: dict[str, dict[str, float | None]]
    confusion: list[list[float]] | None


def score_predictions(
    predictions: Predictions, metric: str, *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> Scores:
    """Score predictions.

    Args:
        predictions: truth and scores of the test clips.
        metric: the headline metric.
        resamples: bootstrap samples.
        confidence: coverage of the interval.
        seed: of the bootstrap.

    Raises:
        ConfigError: the metric does not fit the kind of labels.
    """
    known = SINGLE if predictions.kind == "single" else MULTI
    if metric not in known:
        raise ConfigError(f"metric {metric!r} does not fit {predictions.kind}-label tasks{nearest(metric, known)}")
    ones = np.ones((1, len(predictions.clips)))
    by_seed = {name: _by_seed(predictions, name, ones)[:, 0] for name in known}
    (samples,), drawn = _bootstrap([predictions], metric, resamples, seed)
    values = _by_seed_and_fold(predictions, metric)
    value = float(by_seed[metric].mean())
    words = f"bootstrap, {resamples} draws of {drawn}, centred on the score"
    interval = percentile_interval(samples, words, confidence, centre=value)
    return Scores(
        value=value,
        interval=replace(interval, low=max(interval.low, 0.0), high=min(interval.high, 1.0)),
        metrics={name: float(found.mean()) for name, found in by_seed.items()},
        per_fold=[float(v) for v in values.mean(0)],
        per_seed=[float(v) for v in by_seed[metric]],
        values=values.tolist(),
        per_class=_per_class(predictions),
        confusion=_confusion(predictions).tolist() if predictions.kind == "single" else None,
    )


def compare_predictions(
    first: Predictions,
    second: Predictions,
    metric: str,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Return how much better the first one is than the second on the same test clips.

    Both are scored on the same bootstrap draws, so what makes a clip hard for both cancels out.

    Raises:
        CorpusError: they speak of different clips, labels or classes.
        ConfigError: the metric does not fit the kind of labels.
    """
    second = second.order(first.clips)
    if first.classes != second.classes or not np.array_equal(first.truth, second.truth):
        raise CorpusError(
            "two predictions differ in what is true of the clips; evaluate both on the same corpus and task"
        )
    known = SINGLE if first.kind == "single" else MULTI
    if metric not in known:
        raise ConfigError(f"metric {metric!r} does not fit {first.kind}-label tasks{nearest(metric, known)}")
    ones = np.ones((1, len(first.clips)))
    one, two = (float(_by_seed(p, metric, ones).mean()) for p in (first, second))
    (a, b), _ = _bootstrap([first, second], metric, resamples, seed)
    return paired_difference(one, two, a, b, confidence)


def _by_seed(predictions: Predictions, metric: str, weights: np.ndarray) -> Floats:
    """Headline metric `(S, R)` of each seed under each weighting."""
    if predictions.kind == "single":
        return np.stack([SINGLE[metric](predictions.numbers, said, weights) for said in predictions.said])
    rows = []
    folds = [predictions.fold == f for f in np.unique(predictions.fold)]
    for scores in predictions.scores:
        each = np.stack([MULTI[metric](predictions.truth[f], scores[f], weights[:, f]) for f in folds])
        defined = ~np.isnan(each)
        total, count = np.where(defined, each, 0.0).sum(0), defined.sum(0)
        rows.append(np.divide(total, count, out=np.full(total.shape, math.nan), where=count > 0))
    return np.stack(rows)


def _by_seed_and_fold(predictions: Predictions, metric: str) -> Floats:
    """Headline metric `(S, folds)` of each trained probe."""
    found = []
    for fold in np.unique(predictions.fold):
        here = predictions.fold == fold
        ones = np.ones((1, int(here.sum())))
        if predictions.kind == "single":
            column = [SINGLE[metric](predictions.numbers[here], said[here], ones)[0] for said in predictions.said]
        else:
            column = [MULTI[metric](predictions.truth[here], s[here], ones)[0] for s in predictions.scores]
        found.append(column)
    return np.asarray(found, dtype=np.float64).T


def _bootstrap(
    systems: Sequence[Predictions], metric: str, resamples: int, seed: int
) -> tuple[list[NDArray[np.float64]], str]:
    """Bootstrap values `(R,)` of each system, mean over its seeds, all from the same draws; and what was drawn."""
    groups = systems[0].group
    sources, clips = len(np.unique(groups)), len(groups)
    by_source = LEAST_SOURCES <= sources < clips
    if by_source:
        drawn = f"the {sources} test sources"
    else:
        drawn = f"the {clips} test clips" + (f" (they name only {sources} sources)" if sources < clips else "")
    generator = np.random.default_rng(seed)
    found: list[list[Floats]] = [[] for _ in systems]
    left = resamples
    while left:
        block = min(left, max(1, BLOCK // clips))
        weights = bootstrap_weights(clips, block, generator, groups if by_source else None)
        for system, values in zip(systems, found, strict=True):
            values.append(_by_seed(system, metric, weights).mean(0))
        left -= block
    return [np.concatenate(values) for values in found], drawn


def _confusion(predictions: Predictions) -> Floats:
    count = len(predictions.classes)
    each = [confusion_matrix(predictions.numbers, said, count) for said in predictions.said]
    mean: Floats = np.mean(each, axis=0)
    return mean


def _per_class(predictions: Predictions) -> dict[str, dict[str, float | None]]:
    if predictions.kind == "single":
        matrix = _confusion(predictions)
        columns = {**per_class_scores(matrix), "clips": matrix.sum(1)}
    else:
        columns = {"ap": _mean_ap(predictions), "positives": predictions.truth.sum(0).astype(np.float64)}
    return {
        name: {key: None if math.isnan(values[c]) else float(values[c]) for key, values in columns.items()}
        for c, name in enumerate(predictions.classes)
    }


def _mean_ap(predictions: Predictions) -> Floats:
    """Average precision of each class `(C,)`, mean over seeds and over the folds where it is defined."""
    folds = [predictions.fold == f for f in np.unique(predictions.fold)]
    each = np.stack([average_precision(predictions.truth[f], s[f]) for s in predictions.scores for f in folds])
    defined = ~np.isnan(each)
    total, count = np.where(defined, each, 0.0).sum(0), defined.sum(0)
    return np.divide(total, count, out=np.full(total.shape, math.nan), where=count > 0)
