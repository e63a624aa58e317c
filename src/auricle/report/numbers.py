"""How the page writes numbers and metrics."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

from auricle.metrics.catalogue import MetricInfo, described

ABSENT = "\u2013"


def number(value: Any) -> float | None:
    """Return a finite number, or None for anything else (absent, text, not finite)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def percent(value: Any, digits: int = 1) -> str:
    """Write a share of one in per cent without the sign; a dash for what is not a number."""
    found = number(value)
    return ABSENT if found is None else f"{100 * found:.{digits}f}"


def short(value: Any) -> str:
    """Write a setting or a number in few characters."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return {True: "yes", False: "no", None: "none"}.get(value, str(value))  # type: ignore[arg-type]
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f") if abs(value) >= 10000 else str(value)
    if isinstance(value, float):
        if value == int(value) and abs(value) < 1e6:
            return str(int(value))
        return f"{value:.3g}" if math.isfinite(value) else str(value)
    if isinstance(value, list | tuple):
        return ", ".join(short(v) for v in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{k} {short(v)}" for k, v in value.items()) or "none"
    return str(value)


def duration(seconds: Any) -> str:
    """Write a time span for people."""
    found = number(seconds)
    if found is None:
        return ABSENT
    if found < 90:
        return f"{found:.1f} s" if found < 10 else f"{found:.0f} s"
    if found < 5400:
        return f"{found / 60:.0f} min"
    return f"{found / 3600:.1f} h"


@dataclass(frozen=True)
class Measure(MetricInfo):
    """A metric as the page writes it; values may be anything that a record holds."""

    @classmethod
    def of(cls, name: str, unit: str | None = None, better: str | None = None) -> Self:
        """Return a metric by its name, and what a record says of it (see `described`)."""
        return cls(**vars(described(name, unit, better)))

    @property
    def lower(self) -> bool:
        """Whether lower values are better."""
        return self.better == "lower"

    @property
    def points(self) -> str:
        """Unit of differences."""
        return "points" if self.unit == "%" else self.unit or "units of the metric"

    def shown(self, value: Any) -> float | None:
        """Return a stored value as it is drawn; None for what is no number."""
        found = number(value)
        return None if found is None else self.factor * found

    def text(self, value: Any, *, plus: bool = False) -> str:
        found = number(value)
        return ABSENT if found is None else super().text(found, plus=plus)

    def full(self, value: Any) -> str:
        """Write a value with its unit."""
        return f"{self.text(value)} {self.unit}".rstrip()

    def gain(self, value: float, rival: float) -> str:
        """Write how much better a value is than another one: positive is better, also where lower values are."""
        return self.text(self.sign * (value - rival), plus=True)


def by_name(name: str, value: Any) -> str:
    """Write a value of a metric of which only the name is known; shares in percent, without the sign."""
    measure = Measure.of(name)
    return measure.text(value) if measure.unit == "%" else measure.full(value)
