"""From frame scores to events: filter, threshold, shortest event; chosen on validation clips only.

Lasting sounds: scores go through a median filter, frames above a threshold in a row are an event, short events are
dropped. Onsets: a frame above the threshold that is the highest around is an onset.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from auricle.metrics.event_sweep import quick_event_counts, quick_segment_counts
from auricle.metrics.events import Event, EventCounts
from auricle.probes.frames.runs import HIT, active_runs, odd_frames, peaks, smoothed
from auricle.tasks.events.rule import EventsRule

# Even steps of the logit: scores of rare classes crowd near zero.
THRESHOLDS = tuple(float(1 / (1 + np.exp(-x))) for x in np.linspace(-4.5, 4.5, 25))

Scores = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Decoding:
    """Settings that turn scores into events.

    Attributes:
        threshold: of each class; scores above it are active.
        smooth: length of the median filter in seconds (lasting sounds), 0: none.
        shortest: seconds; shorter events are dropped (lasting), or the least time between two onsets of a class
            (onsets).
    """

    threshold: tuple[float, ...]
    smooth: float = 0.0
    shortest: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON-ready data."""
        return {"threshold": list(self.threshold), "smooth": self.smooth, "shortest": self.shortest}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild from `to_json`'s data."""
        return cls(tuple(data["threshold"]), data["smooth"], data["shortest"])


def decode(
    scores: NDArray[np.float32],
    rate: float,
    seconds: float,
    classes: Sequence[str],
    how: Decoding,
    *,
    lasting: bool = True,
) -> list[Event]:
    """Turn a clip's scores `(T, C)` into events, by onset.

    Args:
        scores: raw scores; they are filtered here.
        rate: frames a second.
        seconds: length of the clip: events end there at the latest, and those active in the last frame end there.
        classes: C names.
        how: thresholds and the like.
        lasting: False: onsets.
    """
    if not lasting:
        return _onsets(scores, rate, seconds, classes, how)
    return _long_enough(_runs(smoothed(scores, rate, how.smooth), rate, seconds, classes, how.threshold), how.shortest)


def choose_decoding(
    scores: Scores,
    truth: Mapping[str, Sequence[Event]],
    seconds: Mapping[str, float],
    classes: Sequence[str],
    rate: float,
    rule: EventsRule,
    metric: str,
) -> tuple[Decoding, float, int]:
    """Choose thresholds, filter and shortest event by the F1 of validation clips.

    Each class gets its own threshold (`rule.thresholds` = `class`; else all share one), so that the F1 over all
    classes is highest (of a `_macro` metric: the F1 of each class). Filter and shortest event are the same for all
    classes, since a class has too few validation events to choose them: the filter is chosen first, then the shortest
    event. Among equals the middle threshold and the shortest filter are chosen. A class without validation events
    gets the threshold that is best for all others together.

    Args:
        scores: raw scores `(T, C)` of each validation clip.
        truth: their events.
        seconds: their lengths.
        classes: C names.
        rate: frames a second.
        rule: the choices.
        metric: the headline metric; one that is no F1 is replaced by the F1 of the same kind of count (PSDS: of
            segments).

    Returns:
        The chosen settings, their F1 on the validation clips, and how many were tried.
    """
    count, macro = _counter(truth, seconds, classes, rule, metric), metric.endswith("_macro")
    tried = 0

    def best(smooth: float, shortest: float) -> tuple[Decoding, float]:
        nonlocal tried
        ready = {clip: smoothed(table, rate, smooth) if _lasts(rule) else table for clip, table in scores.items()}
        totals = []
        for value in THRESHOLDS:
            tried += 1
            level = Decoding((value,) * len(classes), smooth, shortest)
            said = {
                clip: _long_enough(_runs(table, rate, seconds[clip], classes, level.threshold), shortest)
                if _lasts(rule)
                else _onsets(table, rate, seconds[clip], classes, level)
                for clip, table in ready.items()
            }
            counts = count(said)
            totals.append([counts.hits.sum(0), counts.reference.sum(0), counts.estimated.sum(0)])
        table = np.asarray(totals)
        places = _best_thresholds(table, rule.thresholds == "class", macro)
        chosen = table[places, :, np.arange(len(classes))]
        return Decoding(tuple(THRESHOLDS[k] for k in places), smooth, shortest), _f1(chosen.T[None], macro)[0]

    options = _distinct(rule.smooth, rate) if _lasts(rule) else (0.0,)
    start = rule.shortest[0]
    found = [best(smooth, start) for smooth in options]
    smooth = found[int(np.argmax([value for _, value in found]))][0].smooth
    found += [best(smooth, shortest) for shortest in rule.shortest[1:]]
    decoding, value = found[int(np.argmax([value for _, value in found]))]
    return decoding, value, tried


def _lasts(rule: EventsRule) -> bool:
    return rule.sounds == "lasting"


def _distinct(smooth: Sequence[float], rate: float) -> tuple[float, ...]:
    """Return the filters that differ in their number of frames."""
    return tuple(
        {odd_frames(rate, s): s for s in sorted(smooth, reverse=True)}[k]
        for k in sorted({odd_frames(rate, s) for s in smooth})
    )


def _counter(
    truth: Mapping[str, Sequence[Event]],
    seconds: Mapping[str, float],
    classes: Sequence[str],
    rule: EventsRule,
    metric: str,
) -> Callable[[Mapping[str, Sequence[Event]]], EventCounts]:
    if metric.startswith("event"):
        offset = "offset" in metric
        return lambda said: quick_event_counts(truth, said, classes, collar=rule.collar, offset=offset)
    return lambda said: quick_segment_counts(truth, said, seconds, classes, resolution=rule.resolution)


def _best_thresholds(totals: NDArray[np.float64], each: bool, macro: bool) -> NDArray[np.int64]:
    """Return the index of the threshold of each class `(C,)`, from `(K, 3, C)` hits, reference and estimates."""
    classes = totals.shape[2]
    if not each:
        return np.repeat(_middle(_f1(totals, macro)[:, None]), classes)
    known = totals[0, 1] > 0
    if not known.all() and known.any():
        # A class without validation events gets the best threshold of all the others together.
        places = np.repeat(_best_thresholds(totals[:, :, known], False, macro), classes)[:classes]
        places[known] = _best_thresholds(totals[:, :, known], True, macro)
        return places
    if macro:
        return _middle(np.stack([_f1(totals[:, :, [c]], macro=False) for c in range(classes)], axis=1))
    # Of all choices of one threshold a class, the one of highest F1 over all classes (Dinkelbach 1967): at that F1,
    # each class has the most of twice its hits less F1 times its events; F1 rises until it is its own.
    places = np.repeat(_middle(_f1(totals, macro)[:, None]), classes)
    value = -1.0
    while True:
        hits, true, said = totals[places, :, np.arange(classes)].sum(0)
        now = float(2 * hits / (true + said)) if true + said else 0.0
        if now <= value:
            return places
        value, places = now, _middle(2 * totals[:, 0] - now * totals[:, 2])


def _middle(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the index of the best value of each column: the middle of the first run of equal best values."""
    top = values == values.max(0)
    first = top.argmax(0)
    run = np.array([np.flatnonzero(~np.append(top[f:, c], False))[0] for c, f in enumerate(first)], dtype=np.int64)
    places: NDArray[np.int64] = first + (run - 1) // 2
    # Never found at any threshold: the highest one gives the fewest false alarms.
    places[(values == values[0]).all(0)] = len(values) - 1
    return places


def _f1(totals: NDArray[np.float64], macro: bool) -> NDArray[np.float64]:
    """Return F1 `(K,)` of `(K, 3, C)`; classes without annotated events count in `micro` only, by false alarms."""
    hits, true, said = totals[:, 0], totals[:, 1], totals[:, 2]
    if not macro:
        hits, true, said = (x.sum(1, keepdims=True) for x in (hits, true, said))
    value = np.divide(2 * hits, true + said, out=np.zeros_like(hits), where=true > 0)
    result: NDArray[np.float64] = value.sum(1) / np.maximum((true > 0).sum(1), 1)
    return result


def _runs(
    scores: NDArray[np.float32], rate: float, seconds: float, classes: Sequence[str], threshold: Sequence[float]
) -> list[Event]:
    """Return frames in a row that are above the threshold, as events."""
    frames = min(len(scores), int(np.ceil(seconds * rate - 1e-9)))
    column, begin, end = active_runs(scores[:frames], threshold)
    # An event in the last frame lasts to the clip's end, where the last frame of PSDS ends.
    ends = np.where(end >= len(scores), seconds, np.minimum(end / rate, seconds))
    return sorted(zip((begin / rate).tolist(), ends.tolist(), [classes[c] for c in column.tolist()], strict=True))


def _long_enough(events: list[Event], shortest: float) -> list[Event]:
    # A frame's length is not exact in binary: two frames of 80 ms must count as 160 ms.
    return [e for e in events if e[1] - e[0] >= shortest - 1e-9] if shortest else events


def _onsets(
    scores: NDArray[np.float32], rate: float, seconds: float, classes: Sequence[str], how: Decoding
) -> list[Event]:
    """Return local maxima above the threshold, in the middle of their frame."""
    frames = min(len(scores), int(np.ceil(seconds * rate - 1e-9)))
    if frames == 0:
        return []
    table = scores[:frames]
    reach = max(1, round(how.shortest * rate))
    begin, column = peaks(table, how.threshold, reach)
    times = np.minimum((begin + 0.5) / rate, max(seconds - 1e-3, 0.0))
    return sorted((t, min(t + HIT, seconds), classes[c]) for t, c in zip(times.tolist(), column.tolist(), strict=True))
