"""From answers to numbers with intervals, for every type of task.

A score is the mean over seeds. The interval is a bootstrap over test units: units of one source are drawn together
where sources are known. It tells how far the score may be off for other test units of the same kind; it does not cover
other training clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auricle.config import nearest
from auricle.errors import ConfigError, CorpusError
from auricle.metrics.catalogue import METRICS
from auricle.metrics.classification import Floats
from auricle.metrics.intervals import (
    Difference,
    Interval,
    bootstrap_weights,
    paired_difference,
    percentile_interval,
    sign_flip_p,
)
from auricle.results.predictions import TaskPredictions

LEAST_SOURCES = 5  # below this many test sources, drawing sources says nothing: units are drawn instead
BLOCK = 4_000_000  # weights held at once
# Metrics that are means over units (of single-label clips, queries, numbers): tested by flipping signs.
MEANS = {
    "accuracy",
    "map_retrieval",
    "recall_at_1",
    "recall_at_5",
    "recall_at_10",
    "mrr",
    "ndcg",
    "mae",
    "mae_semitones",
    "mae_db",
    "pitch_accuracy",
    "chroma_accuracy",
}


@dataclass(frozen=True)
class Scores:
    """The numbers of a `Result` that follow from answers; see there. `detail` is `TaskPredictions.detail`."""

    value: float
    interval: Interval
    metrics: dict[str, float]
    per_fold: list[float]
    per_seed: list[float]
    values: list[list[float]]
    detail: dict[str, Any] = field(default_factory=dict)


def score(
    predictions: TaskPredictions, metric: str, *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> Scores:
    """Score answers.

    Args:
        predictions: truth and answers of the test units.
        metric: the headline metric.
        resamples: bootstrap samples.
        confidence: coverage of the interval.
        seed: of the bootstrap.

    Raises:
        ConfigError: the metric does not fit the task.
    """
    _check_metric(predictions, metric)
    ones = np.ones((1, len(predictions.names)))
    by_seed = {name: predictions.measure(name, ones)[:, 0] for name in predictions.metrics}
    (samples,), drawn = _bootstrap([predictions], metric, resamples, seed)
    folds = predictions.fold
    values = predictions.measure(metric, np.stack([folds == f for f in np.unique(folds)]).astype(np.float64))
    value = float(by_seed[metric].mean())
    words = f"bootstrap, {resamples} draws of {drawn}, centred on the score"
    interval = percentile_interval(samples, words, confidence, centre=value)
    about = METRICS[metric]
    low, high = np.clip([interval.low, interval.high], about.low, about.high).tolist()
    return Scores(
        value=value,
        interval=replace(interval, low=low, high=high),
        metrics={name: float(found.mean()) for name, found in by_seed.items()},
        per_fold=[float(v) for v in values.mean(0)],
        per_seed=[float(v) for v in by_seed[metric]],
        values=values.tolist(),
        detail=predictions.detail(),
    )


def compare_predictions(
    first: TaskPredictions,
    second: TaskPredictions,
    metric: str,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Return how much higher the first one scores than the second on the same test units.

    Both are scored on the same bootstrap draws, so what makes a unit hard for both cancels out.

    Raises:
        CorpusError: they speak of different units, labels or classes.
        ConfigError: the metric does not fit the task.
    """
    if first.type_name != second.type_name:
        raise CorpusError(f"answers about {first.title} can't be compared with answers about {second.title}")
    second = second.reorder(first.names)
    if not first.same_truth(second):
        raise CorpusError(
            "two predictions differ in what is true of the clips; evaluate both on the same corpus and task"
        )
    _check_metric(first, metric)
    ones = np.ones((1, len(first.names)))
    one, two = (float(predictions.measure(metric, ones).mean()) for predictions in (first, second))
    (a, b), _ = _bootstrap([first, second], metric, resamples, seed)
    found = paired_difference(one, two, a, b, confidence)
    values = [_unit_values(predictions, metric) for predictions in (first, second)]
    if values[0] is None or values[1] is None:
        return found
    # A bootstrap is too sure where few units differ; for means there is an exact test.
    gaps = np.bincount(np.unique(first.group, return_inverse=True)[1], weights=values[0] - values[1])
    return replace(found, p=sign_flip_p(gaps, np.random.default_rng(seed)))


def _unit_values(predictions: TaskPredictions, metric: str) -> Floats | None:
    """Value `(n,)` of each unit alone, mean over seeds, if the metric is their mean; else None."""
    if metric not in MEANS:
        return None
    n = len(predictions.names)
    alone = [predictions.measure(metric, np.eye(n)[start : start + 500]).mean(0) for start in range(0, n, 500)]
    values: Floats = np.concatenate(alone)
    whole = float(predictions.measure(metric, np.ones((1, n))).mean())
    return values if np.isfinite(values).all() and abs(values.mean() - whole) < 1e-9 else None


def _check_metric(predictions: TaskPredictions, metric: str) -> None:
    if metric not in predictions.metrics:
        raise ConfigError(f"metric {metric!r} does not fit {predictions.title}{nearest(metric, predictions.metrics)}")


def _bootstrap(
    systems: Sequence[TaskPredictions], metric: str, resamples: int, seed: int
) -> tuple[list[NDArray[np.float64]], str]:
    """Bootstrap values `(R,)` of each system, mean over its seeds, all from the same draws; and what was drawn."""
    groups = systems[0].group
    sources, units = len(np.unique(groups)), len(groups)
    by_source = LEAST_SOURCES <= sources < units
    named = "clips" if systems[0].type_name == "clips" else "units"
    if by_source:
        drawn = f"the {sources} test sources"
    else:
        drawn = f"the {units} test {named}" + (f" (they name only {sources} sources)" if sources < units else "")
    generator = np.random.default_rng(seed)
    found: list[list[Floats]] = [[] for _ in systems]
    left = resamples
    while left:
        block = min(left, max(1, BLOCK // units))
        weights = bootstrap_weights(units, block, generator, groups if by_source else None)
        for system, values in zip(systems, found, strict=True):
            values.append(system.measure(metric, weights).mean(0))
        left -= block
    return [np.concatenate(values) for values in found], drawn
