"""Fast counts of events, for choosing thresholds and filters on validation clips.

A search over thresholds counts thousands of times, and `sed_eval` compares every pair of events in Python. The hits
are those of `events.py` (tests compare them); reported scores come from there.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from auricle.metrics.events import (
    OFFSET_SHARE,
    ONSET_COLLAR,
    Event,
    EventCounts,
    Events,
    check_collar,
    check_segments,
    validate_events,
)
from auricle.metrics.weights import Floats


def quick_segment_counts(
    reference: Events,
    estimated: Events,
    seconds: Mapping[str, float],
    classes: Sequence[str],
    *,
    resolution: float = 1.0,
) -> EventCounts:
    """Return what `segment_counts` returns, from activity matrices.

    Raises:
        ConfigError: as `segment_counts`.
    """
    reference, estimated, names = validate_events(reference, estimated, classes, lasting=True)
    check_segments(reference, seconds, resolution)
    column = {name: c for c, name in enumerate(names)}
    counts = np.zeros((6, len(reference), len(names)))
    for i, clip in enumerate(reference):
        segments = math.ceil(seconds[clip] * 1 / resolution)
        true, said = (_activity(e[clip], segments, column, resolution) for e in (reference, estimated))
        counts[0, i], counts[1, i], counts[2, i] = (true & said).sum(0), true.sum(0), said.sum(0)
        missed, invented = (true & ~said).sum(1), (said & ~true).sum(1)
        both = np.minimum(missed, invented)
        # All six tables have the class axis; values of a clip are in its first column.
        counts[3:, i, 0] = both.sum(), (missed - both).sum(), (invented - both).sum()
    return EventCounts(tuple(reference), names, counts[0], counts[1], counts[2], *counts[3:, :, 0])


def quick_event_counts(
    reference: Events,
    estimated: Events,
    classes: Sequence[str],
    *,
    collar: float = ONSET_COLLAR,
    offset: bool = False,
    offset_share: float = OFFSET_SHARE,
) -> EventCounts:
    """Return the hits of `event_counts`.

    Substitutions, deletions and insertions are NaN, and with them the error rate: equally large matchings leave
    different events unmatched.

    Raises:
        ConfigError: as `event_counts`.
    """
    check_collar(collar, offset_share)
    reference, estimated, names = validate_events(reference, estimated, classes, lasting=offset)
    counts = np.zeros((3, len(reference), len(names)))
    for i, clip in enumerate(reference):
        true, said = (_by_class(e[clip]) for e in (reference, estimated))
        for c, name in enumerate(names):
            ours, theirs = true.get(name, []), said.get(name, [])
            found = 0
            if ours and theirs:
                found = _pairs(ours, theirs, collar, offset_share) if offset else _onset_pairs(ours, theirs, collar)
            counts[:, i, c] = found, len(ours), len(theirs)
    unknown = np.full(len(reference), math.nan)
    return EventCounts(tuple(reference), names, counts[0], counts[1], counts[2], unknown, unknown, unknown)


def _activity(events: Sequence[Event], segments: int, column: dict[str, int], resolution: float) -> np.ndarray:
    active = np.zeros((segments, len(column)), dtype=bool)
    for onset, offset, label in events:
        active[math.floor(onset * 1 / resolution) : math.ceil(offset * 1 / resolution), column[label]] = True
    return active


def _by_class(events: Sequence[Event]) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = {}
    for event in events:
        found.setdefault(event[2], []).append(event)
    return found


def _onset_pairs(reference: list[Event], estimated: list[Event], collar: float) -> int:
    """Return the size of the largest matching by onsets: with equal collars, the earliest fit is optimal."""
    ours, theirs = sorted(e[0] for e in reference), sorted(e[0] for e in estimated)
    pairs = i = j = 0
    while i < len(ours) and j < len(theirs):
        if math.fabs(ours[i] - theirs[j]) <= collar:
            pairs, i, j = pairs + 1, i + 1, j + 1
        elif theirs[j] < ours[i]:
            j += 1
        else:
            i += 1
    return pairs


def _pairs(reference: list[Event], estimated: list[Event], collar: float, share: float) -> int:
    """Return the size of the largest matching by onsets and offsets."""
    theirs = sorted(estimated)
    onsets: Floats = np.array([e[0] for e in theirs])
    offsets: Floats = np.array([e[1] for e in theirs])
    rows, columns = [], []
    for r, (onset, offset, _) in enumerate(reference):
        # A window slightly too wide, then the exact condition: rounding must not decide differently from the library.
        low, high = bisect_left(onsets, onset - 2 * collar), bisect_left(onsets, onset + 2 * collar)
        near = np.arange(low, high)
        fits = np.abs(onset - onsets[near]) <= collar
        fits &= np.abs(offset - offsets[near]) <= max(collar, share * (offset - onset))
        columns.extend(near[fits].tolist())
        rows.extend([r] * int(fits.sum()))
    graph = csr_array((np.ones(len(rows), dtype=bool), (rows, columns)), shape=(len(reference), len(theirs)))
    return int((maximum_bipartite_matching(graph, perm_type="column") >= 0).sum())
