"""Intervals: bootstrap over clips, Student's t over folds or seeds, paired differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from auricle.errors import ConfigError
from auricle.metrics.weights import Floats


@dataclass(frozen=True)
class Interval:
    """An interval `[low, high]` of some confidence, and its method in words."""

    low: float
    high: float
    confidence: float
    method: str


@dataclass(frozen=True)
class Difference:
    """`first - second` of one metric on the same clips, with its interval.

    Attributes:
        value: the difference.
        interval: bootstrap interval of the difference.
        p: two-sided p-value: of `sign_flip_p` where the metric is a mean over units; else of the bootstrap, twice the
            smaller share of resamples on one side of zero (ties count half), at least 1 / R.
    """

    value: float
    interval: Interval
    p: float

    @property
    def clear(self) -> bool:
        """True where the interval excludes zero and the p-value agrees."""
        apart = self.interval.low > 0 or self.interval.high < 0
        return apart and self.p <= 1 - self.interval.confidence


def bootstrap_weights(
    clips: int, resamples: int, generator: np.random.Generator, groups: Sequence[object] | np.ndarray | None = None
) -> Floats:
    """Draw how often each clip occurs in each bootstrap sample.

    Clips of one group (the same recording) are drawn together: they are not independent evidence.

    Args:
        clips: n.
        resamples: R.
        generator: source of all randomness.
        groups: `(n,)` group of each clip; None: each clip on its own.

    Returns:
        `(R, n)` counts; groups have expected count 1.

    Raises:
        ConfigError: no clips, no resamples, or not one group per clip.
    """
    if clips < 1 or resamples < 1:
        raise ConfigError(f"a bootstrap of {clips} clips with {resamples} resamples; expected at least 1 of each")
    if groups is not None and len(groups) != clips:
        raise ConfigError(f"{len(groups)} groups for {clips} clips; expected one per clip")
    names = np.arange(clips) if groups is None else np.asarray([str(g) for g in groups])
    _, member = np.unique(names, return_inverse=True)
    count = int(member.max()) + 1
    drawn = generator.multinomial(count, np.full(count, 1.0 / count), size=resamples)
    return drawn[:, member].astype(np.float64)


def percentile_interval(
    samples: np.ndarray, method: str, confidence: float = 0.95, centre: float | None = None
) -> Interval:
    """Return the central interval of bootstrap values `(R,)`; undefined (NaN) values are skipped.

    Args:
        samples: bootstrap values.
        method: of the interval, in words.
        confidence: coverage.
        centre: the score itself. Some metrics rise when clips are drawn twice (average precision: a clip's copies
            stand next to each other in the ranking), and with few clips by points: the values are then moved so that
            their mean is the score.

    Raises:
        ConfigError: the confidence does not lie between 0 and 1.
    """
    _check_confidence(confidence)
    samples = np.asarray(samples, dtype=np.float64)
    defined = samples[~np.isnan(samples)]
    if not defined.size:
        return Interval(math.nan, math.nan, confidence, method)
    # Some metrics are infinite where a draw separates the classes (d'): such values have no mean, nor any between them.
    finite = bool(np.isfinite(defined).all())
    if centre is not None and finite:
        defined = defined + (centre - defined.mean())
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = np.quantile(defined, ends, method="linear" if finite else "nearest")
    return Interval(float(low), float(high), confidence, method)


def paired_difference(
    first: float, second: float, first_samples: np.ndarray, second_samples: np.ndarray, confidence: float = 0.95
) -> Difference:
    """Return `first - second`, from bootstrap values of both under the *same* weights.

    Args:
        first: the first one's score.
        second: the second one's score.
        first_samples: `(R,)` its bootstrap values.
        second_samples: `(R,)` of the second, row by row from the same drawn clips.
        confidence: coverage of the interval.

    Raises:
        ConfigError: the samples differ in number.
    """
    first_samples, second_samples = np.asarray(first_samples), np.asarray(second_samples)
    if first_samples.shape != second_samples.shape:
        raise ConfigError(
            f"{first_samples.shape} and {second_samples.shape} bootstrap values; expected the same resamples of both"
        )
    method = "paired bootstrap over the same test clips"
    with np.errstate(invalid="ignore"):
        gap = first_samples - second_samples
    gap = gap[~np.isnan(gap)]
    if not (gap.size and np.isfinite(gap).all() and math.isfinite(first - second)):
        return Difference(first - second, Interval(math.nan, math.nan, confidence, method), math.nan)
    # Resamples in which both are equal say `equal`: they must not be moved to one side with the others.
    gap = np.where(gap == 0, 0.0, gap + (first - second - gap.mean()))
    interval = percentile_interval(gap, method, confidence)
    # Ties count half, so that two equal systems get p = 1.
    share = float((gap > 0).mean() + 0.5 * (gap == 0).mean())
    return Difference(first - second, interval, float(np.clip(2 * min(share, 1 - share), 1 / gap.size, 1.0)))


def sign_flip_p(differences: np.ndarray, generator: np.random.Generator, draws: int = 10_000) -> float:
    """Return the two-sided p-value of a mean of paired differences, by a randomisation test.

    If neither system is better, the sign of each difference is random. Few differences are flipped in all 2^m ways;
    many at random (Fisher, 1935; Good, 2005).

    Args:
        differences: `(m,)` of independent groups of units; zeros are dropped.
        generator: of the random flips.
        draws: number of random flips.
    """
    d = np.asarray(differences, dtype=np.float64)
    d = d[d != 0]
    if not d.size:
        return 1.0
    limit = abs(d.sum()) * (1 - 1e-12)
    if 2**d.size <= draws:
        flips = 1 - 2 * ((np.arange(2**d.size)[:, None] >> np.arange(d.size)) & 1)
        return float((np.abs(flips @ d) >= limit).mean())
    found = sum(
        int((np.abs(generator.choice([-1.0, 1.0], (block, d.size)) @ d) >= limit).sum())
        for block in np.full(max(1, draws // 500), 500)
    )
    return (1 + found) / (1 + max(1, draws // 500) * 500)


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence is {confidence}; expected a number between 0 and 1, such as 0.95")
