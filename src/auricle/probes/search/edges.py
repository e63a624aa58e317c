"""Notes on a chosen setting that lies at the edge of what was searched: the best may lie beyond it."""

from __future__ import annotations

import math

from auricle.probes.contract import ProbeConfig
from auricle.probes.fitted import Trial
from auricle.probes.search.config import SearchConfig

# A drawn value (Sobol, TPE) hardly ever falls on the very end of its range: this share of the range, on a log scale,
# counts as the end.
MARGIN = 0.05


def edge_notes(search: SearchConfig, probe: ProbeConfig, trial: Trial) -> tuple[str, ...]:
    """Return what to say of a chosen setting: its learning rate, or its weight decay, is the end of the range.

    A range of one value has no edge, and a grid of two decays is nothing but edges: neither is worth a word.

    Args:
        search: what was searched.
        probe: for which probe.
        trial: what was chosen.
    """
    rates, decays = search.ranges(probe)
    notes = []
    for what, value, (low, high), worth in (
        ("learning rate", trial.lr, rates, search.method == "tpe" or len({lr for lr, _ in search.grid(probe)}) > 1),
        ("weight decay", trial.weight_decay, decays, search.method == "tpe" or len(set(search.weight_decay)) > 2),
    ):
        if not worth or low == high:
            continue
        side = _side(value, low, high, 0.0 if search.method == "grid" else MARGIN)
        if side is not None:
            notes.append(
                f"the chosen {what} is at the {side} edge of the range ({low:.3g} to {high:.3g}): a wider range may do "
                "better"
            )
    return tuple(notes)


def _side(value: float, low: float, high: float, margin: float) -> str | None:
    if low <= 0:
        # Zero has no logarithm: only the ends themselves count.
        return "lower" if value <= low else "upper" if value >= high else None
    place = math.log(value / low) / math.log(high / low)
    # Rounding: a value of a log-spaced grid is its end up to the last digits.
    return "lower" if place <= margin + 1e-9 else "upper" if place >= 1 - margin - 1e-9 else None
