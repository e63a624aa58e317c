"""Thresholds for a stated goal, chosen on validation clips, and what they do on test clips."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from auricle.errors import ConfigError
from auricle.metrics.catalogue import METRICS
from auricle.metrics.intervals import number_parts, score_interval

Truth = NDArray[np.bool_]
Counts = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class Goal:
    """What thresholds are chosen for.

    Attributes:
        name: `f1`: the highest F1 of each class; `precision`, `recall`: the threshold with the best recall (precision)
            that keeps at least `value` on the validation clips.
        value: the stated share.
    """

    name: str = "f1"
    value: float = math.nan

    @classmethod
    def read(cls, text: str) -> Self:
        """Read `f1`, `precision=0.9` or `recall=0.9`.

        Examples:
            >>> Goal.read("precision=0.9").value
            0.9

        Raises:
            ConfigError: the goal is none of these, or its share is not between 0 and 1.
        """
        name, equals, value = text.partition("=")
        if name == "f1" and not equals:
            return cls()
        try:
            share = float(value)
        except ValueError:
            share = math.nan
        if name not in ("precision", "recall") or not 0 < share <= 1:
            raise ConfigError(f"found goal {text!r}; expected f1, or for example precision=0.9 or recall=0.9")
        return cls(name, share)

    def __str__(self) -> str:
        return self.name if self.name == "f1" else f"{self.name} of at least {self.value:g}"


def choose_thresholds(
    scores: NDArray[np.floating], truth: Truth, goal: Goal, classes: Sequence[str], *, single: bool = False
) -> tuple[tuple[float, ...], list[dict[str, Any]]]:
    """Choose one threshold a class; a score at or above it says that the class is there.

    Thresholds lie in the middle between two neighbouring scores, so that rounding decides nothing. A class without a
    validation clip gets 0.5. Where the stated share is not reached at any threshold, the one that comes nearest is
    taken, and that is said.

    Args:
        scores: `(n, C)` of clips that the head was not fitted on, calibrated.
        truth: `(n, C)` labels.
        goal: what is wanted.
        classes: C names.
        single: one label a clip: only the class with the highest score can be said (see `decided`).

    Returns:
        The thresholds, and for each class what it reaches on these clips, JSON-ready.
    """
    said = np.ones_like(truth, dtype=bool)
    if single:
        said = np.arange(len(classes)) == scores.argmax(1)[:, None]
    made = [
        _of_class(scores[said[:, c], c], truth[said[:, c], c], goal, int(truth[:, c].sum()))
        for c in range(len(classes))
    ]
    facts = [{"class": name, **fact} for name, (_, fact) in zip(classes, made, strict=True)]
    return tuple(threshold for threshold, _ in made), facts


def _of_class(scores: NDArray[np.floating], truth: Truth, goal: Goal, positives: int) -> tuple[float, dict[str, Any]]:
    """Choose the threshold of a class from the clips `(n,)` on which it can be said; `positives` are of all clips."""
    if not positives:
        return 0.5, {"threshold": 0.5, "reached": False, "why": "no validation clip of this class: 0.5"}
    if not len(scores):
        why = "on no validation clip the class with the highest score: 0.5"
        return 0.5, {"threshold": 0.5, "reached": False, "positives": positives, "why": why}
    order = np.argsort(-scores, kind="stable")
    ranked, hits = np.asarray(scores, dtype=np.float64)[order], truth[order].cumsum()
    said = np.arange(1, len(order) + 1)
    # Cuts between equal scores do not exist.
    ends = np.flatnonzero(np.append(ranked[1:] < ranked[:-1], True))
    precision, recall = hits[ends] / said[ends], hits[ends] / positives
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    if goal.name == "f1":
        best, reached = int(f1.argmax()), True
    else:
        kept, wanted = (precision, recall) if goal.name == "precision" else (recall, precision)
        able = np.flatnonzero(kept >= goal.value - 1e-12)
        reached = len(able) > 0
        best = int(able[wanted[able].argmax()]) if reached else int(np.lexsort((wanted, kept))[-1])
    end = int(ends[best])
    below = float(ranked[end + 1]) if end + 1 < len(ranked) else 0.0
    threshold = (float(ranked[end]) + below) / 2
    fact = {"threshold": threshold, "precision": precision[best], "recall": recall[best], "f1": f1[best]}
    return threshold, {**{k: float(v) for k, v in fact.items()}, "reached": reached, "positives": positives}


def decided(scores: NDArray[np.floating], thresholds: Sequence[float], single: bool) -> Truth:
    """Return which classes are said to be there, `(n, C)`: at or above the threshold; of one label at most the best."""
    said: Truth = scores >= np.asarray(thresholds)
    if single:
        said &= np.arange(scores.shape[1]) == scores.argmax(1)[:, None]
    return said


def decision_scores(
    said: Truth, truth: Truth, groups: NDArray[np.str_], classes: Sequence[str], confidence: float = 0.95
) -> list[dict[str, Any]]:
    """Return precision, recall and F1 of each class on test clips, with intervals over sources, JSON-ready.

    Args:
        said: `(n, C)` decisions.
        truth: `(n, C)` labels.
        groups: `(n,)` source of each clip.
        classes: C names.
        confidence: coverage of the intervals.
    """
    return [
        {"class": name, "clips": int(truth[:, c].sum()), **_shares(said[:, c], truth[:, c], groups, confidence)}
        for c, name in enumerate(classes)
    ]


def _shares(said: Truth, truth: Truth, groups: NDArray[np.str_], confidence: float) -> dict[str, Any]:
    hit = said & truth
    parts: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {
        "precision": (hit.astype(np.float64), said.astype(np.float64)),
        "recall": (hit.astype(np.float64), truth.astype(np.float64)),
        "f1": (2 * hit.astype(np.float64), said.astype(np.float64) + truth.astype(np.float64)),
    }
    numbers = number_parts(groups, METRICS["accuracy"], confidence)
    weights = (numbers != np.arange(int(numbers.max()) + 1)[:, None]).astype(np.float64)
    found: dict[str, Any] = {}
    for name, (top, bottom) in parts.items():
        if not bottom.any():
            found[name] = {"value": None, "low": None, "high": None}
            continue
        value = float(top.sum() / bottom.sum())
        with np.errstate(invalid="ignore", divide="ignore"):
            left = (weights @ top) / (weights @ bottom)
            interval = score_interval(value, left, METRICS["accuracy"], bottom, groups, "sources", confidence)
        ends = (interval.low, interval.high) if interval.known else (None, None)
        found[name] = {"value": value, "low": ends[0], "high": ends[1]}
    return found
