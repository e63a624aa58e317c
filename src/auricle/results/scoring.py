"""From predictions to scores with intervals, and paired comparisons, for every type of task.

A score is the mean over seeds. The interval is a bootstrap over test units: units of one source are drawn together
where sources are known. The interval covers other test units of the same kind, not other training clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auricle.config import nearest
from auricle.errors import ConfigError, CorpusError
from auricle.metrics.catalogue import METRICS
from auricle.metrics.intervals import (
    Difference,
    Interval,
    bootstrap_weights,
    paired_difference,
    percentile_interval,
    sign_flip_p,
)
from auricle.metrics.weights import Floats
from auricle.results.predictions import TaskPredictions, load_predictions
from auricle.results.record import Result

LEAST_SOURCES = 5  # below this many test sources, units are drawn instead of sources
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
    """The numbers of a `Result` that follow from predictions; see there. `detail` is `TaskPredictions.detail`."""

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
    """Score predictions.

    Args:
        predictions: of the test units, with their truth.
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


def compare(
    first: Result,
    second: Result,
    folder: Path | str,
    second_folder: Path | str | None = None,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Return how much higher the first result's headline is than the second's, paired on the same test units.

    Args:
        first: a result.
        second: another one on the same task and corpus.
        folder: of the first's `results.jsonl`, with its predictions.
        second_folder: of the second's; None: the same.
        resamples: bootstrap samples.
        confidence: coverage of the interval.
        seed: of the bootstrap.

    Raises:
        CorpusError: the two are not of the same task and metric, or predictions are missing or of other clips.
    """
    if (first.task, first.metric) != (second.task, second.metric):
        raise CorpusError(
            f"can't compare {first.metric} on {first.task} with {second.metric} on {second.task}; choose two "
            "results of one task and metric"
        )
    loaded = []
    for result, place in ((first, folder), (second, folder if second_folder is None else second_folder)):
        if result.predictions is None:
            raise CorpusError(
                f"the result of {result.encoder} on {result.task} kept no predictions; run the probe again"
            )
        loaded.append(load_predictions(Path(place) / result.predictions))
    return compare_predictions(
        loaded[0], loaded[1], first.metric, resamples=resamples, confidence=confidence, seed=seed
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
        CorpusError: the two are of different units, labels or classes.
        ConfigError: the metric does not fit the task.
    """
    if first.type_name != second.type_name:
        raise CorpusError(f"predictions of {first.title} can't be compared with predictions of {second.title}")
    second = second.reorder(first.names)
    if not first.same_truth(second):
        raise CorpusError(
            "the two predictions differ in the truth of the clips; evaluate both on the same corpus and task"
        )
    _check_metric(first, metric)
    ones = np.ones((1, len(first.names)))
    one, two = (float(predictions.measure(metric, ones).mean()) for predictions in (first, second))
    (a, b), _ = _bootstrap([first, second], metric, resamples, seed)
    found = paired_difference(one, two, a, b, confidence)
    values = [_unit_values(predictions, metric) for predictions in (first, second)]
    if values[0] is None or values[1] is None:
        return found
    # A bootstrap is overconfident where few units differ; for means there is an exact test.
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
