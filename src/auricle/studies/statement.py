"""Statements of a study: a claim, the number that it is about, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import t as student

from auricle.results.tables import NONE, Sheet
from auricle.words import counted

Verdict = Literal["supported", "contradicted", "undecided"]
# The fewest independent values that an interval is made of.
FEWEST = 3


@dataclass(frozen=True)
class Statement:
    """A claim and what was found.

    Attributes:
        text: the claim.
        source: where it is made.
        quantity: the number that is above zero if the claim holds.
        estimate: its value; None: nothing was measured.
        interval: 95 % confidence; None: fewer values than an interval needs.
        units: how many independent values it is made of.
        unit: what one of them is.
        verdict: `supported`: the interval is above zero; `contradicted`: below; else `undecided`.
        needed: units at which an interval of this estimate and spread would exclude zero; None: decided, or not known.
    """

    text: str
    source: str
    quantity: str
    estimate: float | None
    interval: tuple[float, float] | None
    units: int
    unit: str
    verdict: Verdict
    needed: int | None

    def to_json(self) -> dict[str, object]:
        """Return the statement as JSON data."""
        return {**self.__dict__, "interval": None if self.interval is None else list(self.interval)}


def decide(text: str, source: str, quantity: str, values: Sequence[float], unit: str) -> Statement:
    """Decide a statement by independent values, each above zero where the claim holds, with Student's interval.

    Args:
        text: the claim.
        source: where it is made.
        quantity: what the values are.
        values: one a unit.
        unit: what a unit is: `task`.

    Examples:
        >>> decide("COLA gains", "here", "gain", [0.02, 0.05, 0.04, 0.03], "task").verdict
        'supported'
        >>> decide("COLA gains", "here", "gain", [0.02, -0.05, 0.04, 0.03], "task").needed
        169
    """
    x = np.asarray([value for value in values if math.isfinite(value)], dtype=np.float64)
    if len(x) < FEWEST:
        estimate = float(x.mean()) if len(x) else None
        return Statement(text, source, quantity, estimate, None, len(x), unit, "undecided", None)
    half = float(student.ppf(0.975, len(x) - 1) * x.std(ddof=1) / math.sqrt(len(x)))
    return from_interval(
        text, source, quantity, float(x.mean()), (float(x.mean()) - half, float(x.mean()) + half), len(x), unit
    )


def from_interval(
    text: str, source: str, quantity: str, estimate: float, interval: tuple[float, float], units: int, unit: str
) -> Statement:
    """Decide a statement by an estimate and its 95 % interval; see `Statement`."""
    low, high = interval
    verdict: Verdict = "supported" if low > 0 else "contradicted" if high < 0 else "undecided"
    needed = None
    if verdict == "undecided" and estimate:
        # The width of an interval falls with the root of the number of units.
        needed = max(units + 1, math.ceil(units * ((high - low) / 2 / abs(estimate)) ** 2))
    return Statement(text, source, quantity, estimate, interval, units, unit, verdict, needed)


def sheet(statements: Sequence[Statement], percent: bool = True) -> Sheet:
    """Return the statements as a table.

    Args:
        statements: of a study.
        percent: write estimates in points of a percentage.
    """
    scale = 100 if percent else 1
    rows = []
    for one in statements:
        value = NONE if one.estimate is None else f"{scale * one.estimate:+.1f}"
        if one.interval is not None:
            value += f" [{scale * one.interval[0]:+.1f}, {scale * one.interval[1]:+.1f}]"
        decided = NONE if one.needed is None else f"{one.needed:,}"
        rows.append((one.text, one.quantity, value, counted(one.units, one.unit), one.verdict, decided, one.source))
    head = ("statement", "quantity", "estimate", "made of", "verdict", "decided at", "source")
    notes = (
        "supported: the 95 % interval is above zero; contradicted: below zero; undecided: it holds zero, or there are "
        f"fewer than {FEWEST} values",
        "decided at: how many units would exclude zero, if estimate and spread stayed as they are",
    )
    return Sheet("Statements", head, tuple(rows), notes=notes, records=tuple(one.to_json() for one in statements))
