"""From predictions to scores with intervals, and paired comparisons, for every type of task.

A score is the mean over seeds. The unit of inference is `TaskPredictions.group`: the source of a clip where a corpus
states one, else the clip itself. Intervals cover other units of the same kind, not other training clips.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from auricle.config import nearest
from auricle.errors import ConfigError, CorpusError
from auricle.metrics.catalogue import METRICS
from auricle.metrics.intervals import Difference, Interval, number_parts, paired_difference, score_interval
from auricle.metrics.weights import Floats
from auricle.results.predictions import TaskPredictions, load_predictions
from auricle.results.record import Result

BLOCK = 4_000_000  # weights held at once


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


def score(predictions: TaskPredictions, metric: str, *, confidence: float = 0.95) -> Scores:
    """Score predictions.

    Args:
        predictions: of the test units, with their truth.
        metric: the headline metric.
        confidence: coverage of the interval.

    Raises:
        ConfigError: the metric does not fit the task.
    """
    _check_metric(predictions, metric)
    ones = np.ones((1, len(predictions.names)))
    by_seed = {name: predictions.measure(name, ones)[:, 0] for name in predictions.metrics}
    folds = predictions.fold
    values = predictions.measure(metric, np.stack([folds == f for f in np.unique(folds)]).astype(np.float64))
    return Scores(
        value=float(by_seed[metric].mean()),
        interval=interval_of(predictions, metric, confidence=confidence),
        metrics={name: float(found.mean()) for name, found in by_seed.items()},
        per_fold=[float(v) for v in values.mean(0)],
        per_seed=[float(v) for v in by_seed[metric]],
        values=values.tolist(),
        detail=predictions.detail(),
    )


def interval_of(predictions: TaskPredictions, metric: str, *, confidence: float = 0.95) -> Interval:
    """Return the interval of a score (see `auricle.metrics.intervals.score_interval`)."""
    parts = number_parts(predictions.group, METRICS[metric], confidence)
    (whole,) = _measure(predictions, metric, lambda _: np.ones((1, len(parts))), 1)
    return score_interval(
        float(whole),
        _left_out(predictions, metric, parts),
        METRICS[metric],
        predictions.evidence(metric),
        predictions.group,
        _named(predictions),
        confidence,
        trials=predictions.trials and METRICS[metric].pooled,
    )


def compare(
    first: Result,
    second: Result,
    folder: Path | str,
    second_folder: Path | str | None = None,
    *,
    confidence: float = 0.95,
) -> Difference:
    """Return how much higher the first result's headline is than the second's, paired on the same test units.

    Args:
        first: a result.
        second: another one on the same task and corpus.
        folder: of the first's `results.jsonl`, with its predictions.
        second_folder: of the second's; None: the same.
        confidence: coverage of the interval.

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
    return compare_predictions(loaded[0], loaded[1], first.metric, confidence=confidence)


def compare_predictions(
    first: TaskPredictions,
    second: TaskPredictions,
    metric: str,
    *,
    confidence: float = 0.95,
) -> Difference:
    """Return how much higher the first one scores than the second on the same test units.

    The gain of a part (a source) is what the score gains if its predictions are the first one's instead of the
    second's, where those of all other parts are half of one and half of the other: what makes a unit hard for both
    cancels out, and the gains of a mean are the differences of its units. Scores of metrics that rank units against
    each other can't be mixed; there, the gain of a part is the jackknife's.

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
    value = one - two
    parts = number_parts(first.group, METRICS[metric], confidence)
    if METRICS[metric].pooled:
        gains = _swapped(first.joined(second), metric, parts)
        gains = len(gains) * gains
    else:
        with np.errstate(invalid="ignore"):
            left = _left_out(first, metric, parts) - _left_out(second, metric, parts)
            # These metrics go by jumps where a part is left out, which a jackknife's len - 1 makes too little of.
            gains = value + (len(left) + 1) * (left.mean() - left)
    # Equal predictions in another order differ by rounding.
    gains = np.where(np.abs(gains) < 1e-12 * max(1.0, abs(one), abs(two)), 0.0, gains)
    units = len(np.unique(first.group))
    return paired_difference(value, gains, units, _named(first), confidence)


def _check_metric(predictions: TaskPredictions, metric: str) -> None:
    if metric not in predictions.metrics:
        raise ConfigError(f"metric {metric!r} does not fit {predictions.title}{nearest(metric, predictions.metrics)}")


def _named(predictions: TaskPredictions) -> str:
    if len(np.unique(predictions.group)) < len(predictions.group):
        return "sources"
    return "clips" if predictions.type_name == "clips" else "units"


def _left_out(predictions: TaskPredictions, metric: str, parts: np.ndarray) -> Floats:
    """Score `(G,)` without each part."""
    return _measure(predictions, metric, lambda p: (parts != p[:, None]).astype(np.float64), int(parts.max()) + 1)


def _swapped(both: TaskPredictions, metric: str, parts: np.ndarray) -> Floats:
    """Gain `(G,)` of each part by the predictions of the first; `both` holds the first's units, then the second's."""

    def weights(number: np.ndarray, whose: int) -> Floats:
        mine = parts == number[:, None]
        sides = [np.where(mine, float(side == whose), 0.5) for side in (0, 1)]
        return np.concatenate(sides, axis=1)

    count = int(parts.max()) + 1
    up, down = (_measure(both, metric, lambda p, side=side: weights(p, side), count) for side in (0, 1))  # type: ignore[misc]
    return up - down


def _measure(predictions: TaskPredictions, metric: str, weights: Callable[[np.ndarray], Floats], count: int) -> Floats:
    """Measure under `count` weightings, mean over seeds, a block at a time: `weights` makes those of some numbers."""
    block = max(1, BLOCK // len(predictions.names))
    found = [
        predictions.measure(metric, weights(np.arange(begin, min(begin + block, count)))).mean(0)
        for begin in range(0, count, block)
    ]
    return np.concatenate(found)
