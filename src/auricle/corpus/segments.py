"""Ranges of long clips: no audio is copied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from auricle.errors import ConfigError

Remainder = Literal["short", "shift", "drop"]


def segment_ranges(
    lengths: Sequence[float], seconds: float, hop: float | None, last: Remainder
) -> list[tuple[int, float, float]]:
    """Return `(row, offset, length)` of each segment of clips; `Corpus.segments` explains the arguments.

    Examples:
        >>> segment_ranges([2.5, 1.0], 1.0, None, "short")
        [(0, 0.0, 1.0), (0, 1.0, 1.0), (0, 2.0, 0.5), (1, 0.0, 1.0)]

    Raises:
        ConfigError: `seconds` or `hop` is not above 0.
    """
    hop = seconds if hop is None else hop
    if not (seconds > 0 and hop > 0):
        raise ConfigError(f"segments of {seconds} s every {hop} s; expected both above 0")
    found: list[tuple[int, float, float]] = []
    for row, total in enumerate(lengths):
        if total <= seconds:
            found.append((row, 0.0, total))
            continue
        count = int((total - seconds) / hop + 1e-9) + 1
        found += [(row, i * hop, seconds) for i in range(count)]
        left = total - count * hop
        if total - ((count - 1) * hop + seconds) > 1e-6:
            if last == "shift":
                found.append((row, total - seconds, seconds))
            elif last == "short" and left >= seconds / 10:
                found.append((row, count * hop, left))
    return found
