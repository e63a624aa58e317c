"""Confidence intervals of a score, and of the difference of two, over independent units.

The unit of inference is the source (recording, speaker, day ...) where a corpus states one, else the clip; every
interval and p-value of the house counts these units. Choices and their coverage: `benchmarks/reliability/intervals.md`.

Letters in shapes: n units, G parts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta
from scipy.stats import t as student

from auricle.errors import ConfigError
from auricle.metrics.catalogue import MetricInfo
from auricle.metrics.weights import Floats

PARTS = 500  # more units than this are left out in random parts
# A metric that rests on extreme scores hardly moves without one unit: the jackknife is sound only with large parts.
EXTREME_PARTS = 10
FLIPS = 9999  # random flips of signs; all 2^G where these are fewer


@dataclass(frozen=True)
class Interval:
    """An interval `[low, high]` of some confidence and its method in words; NaN and the reason where there is none."""

    low: float
    high: float
    confidence: float
    method: str

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return not (math.isnan(self.low) or math.isnan(self.high))


@dataclass(frozen=True)
class Difference:
    """`first - second` of one metric on the same units.

    Attributes:
        value: the difference.
        interval: all differences that flipping signs does not reject (see `paired_difference`).
        p: two-sided p-value of the same test: `p <= 1 - confidence` exactly where the interval excludes zero.
        least_p: the smallest p-value that these parts can have.
    """

    value: float
    interval: Interval
    p: float
    least_p: float = math.nan

    @property
    def clear(self) -> bool:
        """True where the interval excludes zero."""
        return self.interval.low > 0 or self.interval.high < 0


def least_units(confidence: float = 0.95) -> int:
    """Return how many independent units an interval takes: with fewer, no outcome has `p <= 1 - confidence`.

    At least three: t limits of two are infinitely wide (see `score_interval`).

    Examples:
        >>> least_units(0.95), least_units(0.99)
        (6, 8)

    Raises:
        ConfigError: the confidence does not lie between 0 and 1.
    """
    _check_confidence(confidence)
    return max(3, math.ceil(1 + math.log2(1 / (1 - confidence)) - 1e-9))


def number_parts(
    groups: Sequence[object] | np.ndarray, info: MetricInfo | None = None, confidence: float = 0.95
) -> NDArray[np.int64]:
    """Return the part 0 ... G - 1 of each unit `(n,)`: one part a group, or random parts where groups are many.

    Args:
        groups: `(n,)` group of each unit; units of one group are no independent evidence and share a part.
        info: the metric; one that rests on extreme scores has few parts.
        confidence: of what is made of the parts: it takes `least_units` of them.
    """
    most = max(EXTREME_PARTS, least_units(confidence)) if info is not None and info.extreme else PARTS
    _, member = np.unique(np.asarray([str(g) for g in groups]), return_inverse=True)
    count = int(member.max()) + 1
    if count > most:
        # Seeded, and in equal numbers: the same predictions have the same interval in any order.
        member = (np.random.default_rng(0).permutation(count) % most)[member]
    numbers: NDArray[np.int64] = member.astype(np.int64)
    return numbers


def score_interval(
    value: float,
    left_out: np.ndarray,
    info: MetricInfo,
    evidence: np.ndarray,
    groups: np.ndarray,
    named: str,
    confidence: float = 0.95,
    *,
    trials: bool = False,
) -> Interval:
    """Return the interval of a score: jackknife over parts, Student's t, on a scale that keeps to the metric's range.

    Metrics with two ends (shares, correlations): Clopper-Pearson's exact limits for as many trials as the jackknife's
    variance is worth (at most one a unit, where a unit is one answer), and fewer by the ratio of the t-quantiles (Korn
    and Graubard, Survey Methodology 24, 1998). For accuracy over independent clips these are the exact limits; a
    perfect score has exact limits for as many trials as there are independent units, by their weight (Kish, 1965).
    Metrics with one end: t limits of the logarithm of the distance to that end. Others: Tukey's t limits. t limits are
    wider by `sqrt(G / (G - 2))`, since squares of few errors vary more than by the jackknife.

    Args:
        value: the score.
        left_out: `(G,)` the score without each part of `number_parts`.
        info: the metric.
        evidence: `(n,)` how much each unit counts in the metric, in any unit of measure.
        groups: `(n,)` group of each unit.
        named: what the groups are (`sources`, `clips`).
        confidence: coverage.
        trials: whether each unit is one right or wrong answer, and so worth no more than one trial; means over the
            parts of a unit, and what ranks units, vary less than that.

    Raises:
        ConfigError: the confidence does not lie between 0 and 1.
    """
    _, member = np.unique(groups, return_inverse=True)
    units, clips, parts = int(member.max()) + 1, len(member), len(left_out)

    def none(reason: str) -> Interval:
        return Interval(math.nan, math.nan, confidence, reason)

    if units < least_units(confidence):
        return none(too_few(units, named, confidence))
    if not (math.isfinite(value) and np.isfinite(left_out).all()):
        return none(f"the metric is undefined without some of the {units} test {named}")
    error = math.sqrt((parts - 1) / parts * float(((left_out - left_out.mean()) ** 2).sum()))
    error = 0.0 if error < 1e-12 * max(1.0, abs(value)) else error
    if info.extreme:
        error *= (parts + 1) / (parts - 1)
    tail = (1 - confidence) / 2
    quantile = float(student.ppf(1 - tail, min(units, parts) - 1))
    words = f"jackknife over the {units} test {named}"
    ends = math.isfinite(info.low), math.isfinite(info.high)
    if all(ends):
        span = info.high - info.low
        share = min(max((value - info.low) / span, 0.0), 1.0)
        worth = _kish(np.bincount(member, weights=evidence))
        if error:
            most = _kish(evidence) if trials else math.inf
            worth = min(share * (1 - share) * span**2 / error**2, most)
            worth *= (float(student.ppf(1 - tail, clips - 1)) / quantile) ** 2
        low, high = _exact(share, worth, tail)
        return Interval(info.low + span * low, info.low + span * high, confidence, f"exact limits, {words}")
    if not error and info.unit == "%" and value == info.low:
        # No error at all: as for a share of units with an error, since each of these would add at most one or so.
        return Interval(value, _exact(0.0, float(units), tail)[1], confidence, f"exact limits over {units} {named}")
    if not error:
        return none(f"the score does not vary between the {units} test {named}")
    half = quantile * error * math.sqrt(parts / (parts - 2))
    if not any(ends):
        return Interval(value - half, value + half, confidence, f"t limits, {words}")
    end = info.low if ends[0] else info.high
    if half > 50 * abs(value - end):
        return none(f"the score rests on few of the {units} test {named}")
    ratio = math.exp(half / abs(value - end))
    low, high = sorted((end + (value - end) / ratio, end + (value - end) * ratio))
    return Interval(low, high, confidence, f"t limits of the logarithm, {words}")


def too_few(units: int, named: str, confidence: float = 0.95) -> str:
    """Say that there are too few independent units for an interval."""
    return f"too few {named}: {units} of at least {least_units(confidence)}"


def paired_difference(value: float, gains: np.ndarray, units: int, named: str, confidence: float = 0.95) -> Difference:
    """Return a difference with its interval and p-value, both of one randomisation test: flipping signs.

    If the true difference is d, the sign of each part's `gain - d` is random (Fisher, 1935; Good, "Permutation,
    Parametric and Bootstrap Tests", 2005). The interval holds every d that this test does not reject; its ends are
    quantiles of the mean gains of subsets of the parts (Hartigan, "Using subsample values as typical values", JASA 64,
    1969). For accuracy on independent clips the p-value is that of McNemar's exact test.

    Args:
        value: the difference.
        gains: `(G,)` of each part; their mean is the difference, or nearly.
        units: number of independent units.
        named: what they are (`sources`, `clips`).
        confidence: coverage.

    Raises:
        ConfigError: the confidence does not lie between 0 and 1.
    """
    alpha, gains = 1 - confidence, np.asarray(gains, dtype=np.float64)

    def none(reason: str, p: float = math.nan) -> Difference:
        return Difference(value, Interval(math.nan, math.nan, confidence, reason), p)

    if units < least_units(confidence):
        return none(too_few(units, named, confidence))
    if not (math.isfinite(value) and np.isfinite(gains).all()):
        return none(f"the metric is undefined on some of the {units} test {named}")
    if not gains.any():
        return none(f"the two do not differ on any of the {units} test {named}", 1.0)
    tiny = 1e-9 * float(np.abs(gains).max())
    if np.ptp(gains) <= tiny:
        return none(f"the gain does not vary between the {units} test {named}")
    below, above = _subset_means(gains)
    # The mean of a subset that should be zero is not, by rounding.
    below, above = (np.sort(np.where(np.abs(each) < tiny, 0.0, each)) for each in (below, above))
    skipped = math.floor(alpha / 2 * len(below) + 1e-9)
    low, high = float(below[skipped]), float(above[-1 - skipped])
    if not low <= value <= high:
        return none(f"the gain is not a sum of gains of the {units} test {named}")
    least = 2 / len(below)
    p = min(1.0, least * min(int((below <= 0).sum()), int((above >= 0).sum())))
    return Difference(value, Interval(low, high, confidence, f"flipped signs of the {units} test {named}"), p, least)


def _subset_means(gains: Floats) -> tuple[Floats, Floats]:
    """Means of the gains of all subsets, or of random ones; empty subsets are -inf in the first, inf in the second."""
    parts = len(gains)
    if 2**parts <= FLIPS + 1:
        chosen = ((np.arange(2**parts)[:, None] >> np.arange(parts)) & 1).astype(np.float64)
    else:
        chosen = np.random.default_rng(0).integers(0, 2, (FLIPS + 1, parts)).astype(np.float64)
        chosen[0] = 0  # the outcome itself is one of the flips
    count = chosen.sum(1)
    means = chosen @ gains / np.maximum(count, 1)
    return np.where(count, means, -math.inf), np.where(count, means, math.inf)


def _exact(share: float, trials: float, tail: float) -> tuple[float, float]:
    """Clopper and Pearson's limits of a share, for any number of trials, whole or not."""
    hits, misses = share * trials, (1 - share) * trials
    low = float(beta.ppf(tail, hits, misses + 1)) if hits > 1e-9 else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, misses)) if misses > 1e-9 else 1.0
    return low, high


def _kish(weights: np.ndarray) -> float:
    """Number of units of equal weight that are worth as much as these."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence is {confidence}; expected a number between 0 and 1, such as 0.95")
