"""Spectrograms with their axes: time in the recording below, frequency on the left."""

from __future__ import annotations

from typing import Any

from auricle.report.markup import Markup, element, readable
from auricle.report.numbers import number
from auricle.report.run_data import Record

STEPS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 300.0)
TIMES = 5  # labels of the time axis, at most


def spectrogram(clip: Record, *layers: Markup | None, image: str | None = None, clip_id: str | None = None) -> Markup:
    """Show a spectrogram with its axes.

    Args:
        clip: `file`, `start` (in the recording), `seconds` and `ticks` (pairs of a height in 0 ... 1 and a label).
        layers: what lies over the picture.
        image: data URL of the picture.
        clip_id: instead of `image`: `group:place` of the clip, whose picture the page's script sets.
    """
    alt = f"spectrogram of {readable(str(clip.get('file', '')))}"
    return element(
        "div",
        element("div", element("img", src=image, data_clip=clip_id, alt=alt), layers, class_="picture"),
        frequency_axis(clip),
        element("div", [_at("left", share, text) for share, text in time_ticks(clip)], class_="times"),
        class_="spectrogram",
    )


def frequency_axis(clip: Record) -> Markup:
    """Show the labels of the frequency axis."""
    found = clip.get("ticks")
    ticks = [t for t in found if isinstance(t, list | tuple) and len(t) == 2] if isinstance(found, list) else []
    known = [(height, text) for height, text in ticks if number(height) is not None and 0 <= height <= 1]
    return element("div", [_at("bottom", height, text) for height, text in known], class_="bands")


def time_ticks(clip: Record) -> list[tuple[float, str]]:
    """Return the share of the width and the label of each tick, in seconds from the recording's start."""
    seconds, start = number(clip.get("seconds")) or 0.0, number(clip.get("start")) or 0.0
    step = next((s for s in STEPS if seconds / s <= TIMES), seconds or 1.0)
    first = -(-start // step) * step
    times = [first + k * step for k in range(int(max(0.0, start + seconds - first) / step + 1e-6) + 1)]
    # A label in the last tenth would stand outside the picture, or over the unit.
    shares = [((time - start) / seconds, f"{time:g}") for time in map(_rounded, times)] if seconds else []
    return [*(pair for pair in shares if 0 <= pair[0] <= 0.9), (1.0, "s")]


def start_of(clip: Record) -> str:
    """Return where in its recording a clip starts, in words; empty at the beginning."""
    start = number(clip.get("start")) or 0.0
    if not start:
        return ""
    minutes, seconds = divmod(start, 60)
    return f", from {start:.4g} s" if not minutes else f", from {int(minutes)} min {seconds:.3g} s"


def _rounded(time: float) -> float:
    return round(time, 6)


def _at(side: str, share: float, text: Any) -> Markup:
    return element("span", text, style=f"{side}:{100 * share:.2f}%")
