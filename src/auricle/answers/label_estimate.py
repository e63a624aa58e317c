"""How good a detector is, from a random sample of the library that it was not trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auricle.answers.label_log import Draw
from auricle.metrics.catalogue import MetricInfo
from auricle.metrics.intervals import Interval, score_interval

Floats = NDArray[np.float64]
# Of draws, the share that is uniform; the others are detections, so that precision is known where calls are rare.
UNIFORM = 0.5


@dataclass(frozen=True)
class Share:
    """A share with its interval.

    Attributes:
        value: NaN where nothing is known.
        interval: of the share.
        units: labelled segments that it rests on.
    """

    value: float
    interval: Interval
    units: int


@dataclass(frozen=True)
class Estimate:
    """How good a detector is on the library.

    Attributes:
        precision: share of detections that are right.
        recall: share of segments with the class that are detected.
        prevalence: share of segments with the class.
        drawn: labelled segments of the random sample.
        skipped: those that could not be decided; they are excluded.
    """

    precision: Share
    recall: Share
    prevalence: Share
    drawn: int
    skipped: int


def draw_probabilities(detected: NDArray[np.bool_]) -> Floats:
    """Return with which probability each segment that is left is drawn next.

    A mixture: `UNIFORM` of the draws from all, the others from the detections. Each segment can be drawn at any time,
    whatever the detector finds, so that weights correct for the mixture (`draw_weights`).

    Args:
        detected: `(n,)` whether the present detector finds the class there.
    """
    count = int(detected.sum())
    even = np.full(len(detected), 1 / len(detected))
    return UNIFORM * even + (1 - UNIFORM) * detected / count if count else even


def draw_weights(draws: Sequence[Draw], population: int) -> Floats:
    """Return the weight of each draw, `(n,)`: means under them are unbiased for the population.

    Draws are made one by one without replacement, each with the probabilities of its time; the correction is that of
    Farquhar, Gal and Rainforth, "On statistical bias in active learning", ICLR 2021, equation 5.

    Args:
        draws: in their order.
        population: number of segments that could be drawn.
    """
    ratio = np.array([1 / (draw.left * draw.probability) for draw in draws])
    place, count = np.arange(1, len(draws) + 1), len(draws)
    rest = np.maximum(population - place, 1)
    weights: Floats = 1 + max(population - count, 0) / rest * (ratio - 1)
    return weights


def estimate(
    weights: Floats,
    truth: NDArray[np.bool_],
    detected: NDArray[np.bool_],
    *,
    skipped: int = 0,
    confidence: float = 0.95,
) -> Estimate:
    """Score a detector on the random sample.

    The sample is of this library: draws are independent, so intervals are those of the library and not of other
    recordings. They are exact limits for as many trials as the weighted draws are worth (`score_interval`).

    Args:
        weights: `(n,)` of the labelled draws.
        truth: `(n,)` whether the class is there.
        detected: `(n,)` whether the detector finds it.
        skipped: draws that could not be decided.
        confidence: coverage of the intervals.
    """

    def share(name: str, right: NDArray[np.bool_], among: NDArray[np.bool_]) -> Share:
        return _share(name, weights[among], right[among], confidence)

    every = np.ones(len(truth), dtype=bool)
    return Estimate(
        share("precision", truth, detected),
        share("recall", detected, truth),
        share("prevalence", truth, every),
        len(truth),
        skipped,
    )


def _share(name: str, weights: Floats, right: NDArray[np.bool_], confidence: float) -> Share:
    if not len(weights):
        return Share(math.nan, Interval(math.nan, math.nan, confidence, "no labelled segment"), 0)
    total, hits = weights.sum(), (weights * right).sum()
    value = float(hits / total)
    rest = total - weights
    with np.errstate(invalid="ignore", divide="ignore"):
        left_out = (hits - weights * right) / rest
    interval = score_interval(
        value, left_out, MetricInfo(name, name), weights, np.arange(len(weights)), "segments", confidence, trials=True
    )
    return Share(value, interval, len(weights))
