"""Sound events: how well estimated onsets, offsets and labels agree with the annotated ones.

Two counts, both through `sed_eval` (Mesaros, Heittola and Virtanen, "Metrics for polyphonic sound event detection",
Applied Sciences 6, 2016): *segments* compare the classes that sound in each second; *events* match each event with one
of its class that begins (and ends) nearby. Both count clip by clip, and counts add up under any weighting of the clips.

Letters in shapes: n clips, C classes, R weightings. Times are seconds from the clip's begin.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from auricle.config import nearest
from auricle.errors import ConfigError
from auricle.extras import require
from auricle.metrics.weights import Floats, check_weights, divide, nan_mean

Event = tuple[float, float, str]  # onset, offset, label
Events = Mapping[str, Sequence[Event]]  # of each clip; a clip without events has an empty sequence

ONSET_COLLAR = 0.2  # seconds; DCASE 2016 task 2 and HEAR
OFFSET_SHARE = 0.2  # of the event's length, where that is longer than the collar; DCASE task 4 and HEAR


@dataclass(frozen=True)
class EventCounts:
    """Events found, missed and invented in each clip.

    Attributes:
        clips: names of the n clips.
        classes: names of the C classes.
        hits: `(n, C)` segments or events that were found.
        reference: `(n, C)` annotated segments or events.
        estimated: `(n, C)` estimated segments or events.
        substitutions: `(n,)` found at the right time under a wrong label.
        deletions: `(n,)` missed altogether.
        insertions: `(n,)` invented.
    """

    clips: tuple[str, ...]
    classes: tuple[str, ...]
    hits: Floats
    reference: Floats
    estimated: Floats
    substitutions: Floats
    deletions: Floats
    insertions: Floats

    def f1(self, weights: np.ndarray | None = None) -> Floats:
        """Return F1 over all classes together (micro) `(R,)`; NaN where no annotated event counts.

        Args:
            weights: `(R, n)` how often each clip counts; None: each once, R = 1.

        Raises:
            ConfigError: weights of another number of clips, or negative ones.
        """
        weights = check_weights(weights, len(self.clips))
        hits, true, said = (weights @ c.sum(1) for c in (self.hits, self.reference, self.estimated))
        return np.where(true > 0, divide(2 * hits, true + said), math.nan)

    def class_f1(self, weights: np.ndarray | None = None) -> Floats:
        """Return F1 of each class `(R, C)`; NaN for a class without annotated events, 0 for one never found."""
        weights = check_weights(weights, len(self.clips))
        hits, true, said = (weights @ c for c in (self.hits, self.reference, self.estimated))
        return np.where(true > 0, divide(2 * hits, true + said), math.nan)

    def macro_f1(self, weights: np.ndarray | None = None) -> Floats:
        """Return the mean F1 `(R,)` over classes that have annotated events; NaN where there is none.

        `sed_eval` by default skips classes that were never estimated; here they count with 0.
        """
        return nan_mean(self.class_f1(weights), axis=1)

    def error_rate(self, weights: np.ndarray | None = None) -> Floats:
        """Return (substitutions + deletions + insertions) / annotated `(R,)`; NaN where none is annotated.

        The rate can exceed 1; an empty estimate gives 1.
        """
        weights = check_weights(weights, len(self.clips))
        wrong = weights @ (self.substitutions + self.deletions + self.insertions)
        return divide(wrong, weights @ self.reference.sum(1))

    def class_scores(self) -> dict[str, dict[str, float]]:
        """Return each class's precision, recall and F1 (NaN where undefined), and how many are annotated."""
        hits, true, said = self.hits.sum(0), self.reference.sum(0), self.estimated.sum(0)
        columns = {
            "precision": divide(hits, said),
            "recall": divide(hits, true),
            "f1": self.class_f1()[0],
            "reference": true,
        }
        return {name: {key: float(column[c]) for key, column in columns.items()} for c, name in enumerate(self.classes)}


def validate_events(
    reference: Events, estimated: Events, classes: Sequence[str], *, lasting: bool = False
) -> tuple[dict[str, list[Event]], dict[str, list[Event]], tuple[str, ...]]:
    """Check annotated and estimated events.

    Args:
        reference: annotated events of every clip.
        estimated: estimated events of the same clips.
        classes: labels that may occur.
        lasting: offsets count: an event must end after it begins.

    Returns:
        Both as lists of `(float, float, str)` in the order of the reference's clips, and the classes.

    Raises:
        ConfigError: no or doubled classes, different clips, an unknown label, a time that is negative or not finite, an
            offset before (`lasting`: or at) the onset.
    """
    classes = tuple(str(c) for c in classes)
    if not classes or len(set(classes)) != len(classes):
        raise ConfigError(
            f"{len(classes)} classes, {len(set(classes))} different ones; expected at least one, each once"
        )
    if reference.keys() != estimated.keys():
        missing, extra = sorted(reference.keys() - estimated.keys()), sorted(estimated.keys() - reference.keys())
        found = f"no estimates for {missing[0]!r}" if missing else f"estimates for {extra[0]!r}, which is not annotated"
        raise ConfigError(
            f"{found} ({len(missing)} clips missing, {len(extra)} too many); expected the same clips, those without "
            "events with an empty list"
        )
    checked = [
        {clip: [_event(e, clip, whose, classes, lasting) for e in table[clip]] for clip in reference}
        for whose, table in (("annotated", reference), ("estimated", estimated))
    ]
    return checked[0], checked[1], classes


def check_segments(reference: Events, seconds: Mapping[str, float], resolution: float) -> None:
    """Check the length of segments and of each clip.

    Raises:
        ConfigError: one of them is not a positive number of seconds.
    """
    if not (math.isfinite(resolution) and resolution > 0):
        raise ConfigError(f"segments of {resolution} s; expected a positive length, such as 1.0")
    for clip in reference:
        if not (clip in seconds and math.isfinite(seconds[clip]) and seconds[clip] > 0):
            raise ConfigError(f"clip {clip!r} has length {seconds.get(clip)}; expected positive seconds for every clip")


def segment_counts(
    reference: Events,
    estimated: Events,
    seconds: Mapping[str, float],
    classes: Sequence[str],
    *,
    resolution: float = 1.0,
) -> EventCounts:
    """Count segments in which a class sounds, clip by clip, with `sed_eval`.

    A class sounds in a segment as soon as any part of one of its events lies in it. Within a segment, a missed and an
    invented class together are one substitution.

    Args:
        reference: annotated events.
        estimated: estimated events.
        seconds: length of each clip; segments beyond it don't count.
        classes: labels that may occur.
        resolution: length of a segment in seconds (1 in DCASE, 0.1 for MAESTRO in X-ARES).

    Raises:
        ConfigError: events don't fit (see `validate_events`), no positive length of a clip, resolution not positive.
        MissingExtraError: `sed_eval` is not installed.
    """
    reference, estimated, names = validate_events(reference, estimated, classes, lasting=True)
    check_segments(reference, seconds, resolution)
    counter = events_library("sed_eval.sound_event").SegmentBasedMetrics(
        event_label_list=list(names), time_resolution=float(resolution)
    )
    rows = []
    for clip in reference:
        counter.reset()
        counter.evaluate(_rows(reference[clip]), _rows(estimated[clip]), evaluated_length_seconds=float(seconds[clip]))
        rows.append((counter.class_wise, [counter.overall[key] for key in ("S", "D", "I")]))
    return _gather(tuple(reference), names, rows)


def event_counts(
    reference: Events,
    estimated: Events,
    classes: Sequence[str],
    *,
    collar: float = ONSET_COLLAR,
    offset: bool = False,
    offset_share: float = OFFSET_SHARE,
) -> EventCounts:
    """Count events that were found, clip by clip, with `sed_eval` and its optimal (graph) matching.

    An event is found by one of its class whose onset lies within `collar`; with `offset`, whose offset also lies within
    the larger of `collar` and `offset_share` of the annotated length. Each event matches at most one.

    Args:
        reference: annotated events.
        estimated: estimated events.
        classes: labels that may occur.
        collar: tolerance in seconds (0.2 in DCASE, 0.05 for notes).
        offset: offsets must fit too.
        offset_share: tolerance of the offset as a share of the annotated length.

    Raises:
        ConfigError: events don't fit (see `validate_events`), collar not positive, share not within 0 ... 1.
        MissingExtraError: `sed_eval` is not installed.
    """
    check_collar(collar, offset_share)
    reference, estimated, names = validate_events(reference, estimated, classes, lasting=offset)
    counter = events_library("sed_eval.sound_event").EventBasedMetrics(
        event_label_list=list(names),
        evaluate_onset=True,
        evaluate_offset=offset,
        t_collar=float(collar),
        percentage_of_length=float(offset_share),
    )
    rows = []
    for clip in reference:
        counter.reset()
        counter.evaluate(_rows(reference[clip]), _rows(estimated[clip]))
        rows.append((counter.class_wise, [counter.overall[key] for key in ("Nsubs", "Nfn", "Nfp")]))
    return _gather(tuple(reference), names, rows)


def join_overlapping(events: Events) -> tuple[dict[str, list[Event]], int]:
    """Join events of one class that overlap or touch within a clip into one.

    Metrics of durations (PSDS, activity matrices) can't separate two sounds of one class that sound at once.

    Returns:
        The events of each clip in the order of their onsets, and how many were joined to an earlier one.
    """
    found: dict[str, list[Event]] = {}
    joined = 0
    for clip, listed in events.items():
        kept: list[Event] = []
        last: dict[str, int] = {}
        for onset, offset, label in sorted(listed):
            place = last.get(label)
            if place is not None and onset <= kept[place][1]:
                kept[place] = (kept[place][0], max(offset, kept[place][1]), label)
                joined += 1
            else:
                last[label] = len(kept)
                kept.append((onset, offset, label))
        found[clip] = kept
    return found, joined


def check_collar(collar: float, offset_share: float) -> None:
    """Check the tolerances of event matching.

    Raises:
        ConfigError: the collar is not positive, or the share not within 0 ... 1.
    """
    if not (math.isfinite(collar) and collar > 0 and 0 <= offset_share <= 1):
        raise ConfigError(
            f"collar {collar} s, offset share {offset_share}; expected a positive time and a share 0 ... 1"
        )


def events_library(module: str) -> Any:
    """Import a part of the extra `events`.

    Raises:
        MissingExtraError: it is not installed.
    """
    # A dependency warns on import that pkg_resources will be removed; users can do nothing about that.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
        return require(module, extra="events")


def _event(event: Sequence[Any], clip: str, whose: str, classes: tuple[str, ...], lasting: bool) -> Event:
    if len(event) != 3:
        raise ConfigError(f"an {whose} event of clip {clip!r} is {event!r}; expected (onset, offset, label)")
    onset, offset, label = float(event[0]), float(event[1]), str(event[2])
    if label not in classes:
        raise ConfigError(f"an {whose} event of clip {clip!r} has label {label!r}{nearest(label, classes)}")
    ordered = onset < offset if lasting else onset <= offset
    if not (math.isfinite(onset) and math.isfinite(offset) and onset >= 0 and ordered):
        raise ConfigError(
            f"an {whose} event {label!r} of clip {clip!r} lasts from {onset} to {offset} s; expected "
            f"0 <= onset {'<' if lasting else '<='} offset"
        )
    return onset, offset, label


def _rows(events: Sequence[Event]) -> list[dict[str, Any]]:
    return [{"onset": onset, "offset": offset, "event_label": label} for onset, offset, label in events]


def _gather(clips: tuple[str, ...], classes: tuple[str, ...], rows: list[tuple[Any, list[float]]]) -> EventCounts:
    def table(key: str) -> Floats:
        cells = [[float(by_class[c][key]) for c in classes] for by_class, _ in rows]
        return np.array(cells, dtype=np.float64).reshape(len(clips), len(classes))

    overall = np.array([values for _, values in rows], dtype=np.float64).reshape(len(clips), 3)
    return EventCounts(clips, classes, table("Ntp"), table("Nref"), table("Nsys"), *overall.T)
