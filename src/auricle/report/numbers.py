"""How numbers are written on the page."""

from __future__ import annotations

import math
from typing import Any

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
