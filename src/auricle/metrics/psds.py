"""Polyphonic sound detection score: sound events scored by their frame scores, at all thresholds at once.

PSDS (Bilen, Ferroni, Tuveri, Azcarreta and Krstulovic, ICASSP 2020) in its exact, threshold-independent form (Ebbers,
Serizel and Haeb-Umbach, ICASSP 2022). `sed_scores_eval` finds where the counts of each clip change; these changes are
summed with the clips' weights.

Letters in shapes: n clips, T frames of a clip, C classes, R weightings, K thresholds at which a count changes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from auricle.config import Config, NonNegative, Positive, Share
from auricle.errors import ConfigError
from auricle.metrics.events import Event, Events, events_library, join_overlapping, validate_events
from auricle.metrics.weights import Floats, check_weights

HOUR = 3600.0
BLOCK = 2_000_000  # numbers of one cumulative sum


@dataclass(frozen=True)
class PsdsConfig(Config):
    """Criteria of detections, and the cost of false alarms.

    Attributes:
        detection: share of a detection that must lie in annotated events of its class (DTC).
        truth: share of an annotated event that must be covered by such detections (GTC).
        cross_trigger: share of a false detection in events of another class that makes it a cross trigger (CTTC);
            used only where `cross_weight` is not 0.
        cross_weight: weight of cross triggers among false alarms (alpha_CT).
        spread_weight: weight of the standard deviation over classes (alpha_ST).
        max_false_alarms: effective false alarms an hour up to which the curve counts.
    """

    detection: Share = 0.7
    truth: Share = 0.7
    cross_trigger: Share = 0.3
    cross_weight: NonNegative = 0.0
    spread_weight: NonNegative = 1.0
    max_false_alarms: Positive = 100.0


# The two scenarios of DCASE task 4 since 2021: fast reaction, and no confusion of classes.
PSDS1 = PsdsConfig()
PSDS2 = PsdsConfig(detection=0.1, truth=0.1, cross_weight=0.5)


class Psds:
    """Scores of clips, prepared once; then PSDS of all clips, and under any weighting of them.

    Args:
        scores: `(T, C)` finite frame scores of each clip, higher means more likely; T may differ.
        rate: frames a second; the last frame ends with the clip.
        reference: annotated events of the same clips.
        seconds: length of each clip.
        classes: names of the C columns. Classes without annotated events are skipped: their detection rate is
            undefined (and the library refuses them).
        config: the scenario.

    Raises:
        ConfigError: clips, classes or shapes don't fit, a score is not finite, an event begins behind the clip's end,
            annotated events of one class overlap.
        MissingExtraError: `sed_scores_eval` is not installed.
    """

    def __init__(
        self,
        scores: Mapping[str, np.ndarray],
        rate: float,
        reference: Events,
        seconds: Mapping[str, float],
        classes: Sequence[str],
        config: PsdsConfig = PSDS1,
    ) -> None:
        truth, checked, names = _validate(scores, rate, reference, seconds, classes)
        self.config = config
        self.clips = tuple(truth)
        present = {label for events in truth.values() for _, _, label in events}
        self.classes = tuple(name for name in names if name in present)
        self._seconds = np.array([float(seconds[clip]) for clip in self.clips])
        # The library reserves some words and signs; numbers are free for every label.
        self._codes = {name: f"class {c}" for c, name in enumerate(self.classes)}
        self._truth = {c: [(on, off, self._codes[label]) for on, off, label in e] for c, e in truth.items()}
        self._deltas: dict[str, Any] = {}
        if self.classes:
            columns = [names.index(name) for name in self.classes]
            frames = {
                clip: _frame(table[:, columns], _edges(len(table), rate, float(seconds[clip])), self._codes.values())
                for clip, table in checked.items()
            }
            # A single class can't be confused; the library would divide by the number of others.
            self._cross_weight = config.cross_weight if len(self.classes) > 1 else 0.0
            library = events_library("sed_scores_eval").intersection_based
            self._deltas = library.intermediate_statistics_deltas(
                frames,
                self._truth,
                dtc_threshold=config.detection,
                gtc_threshold=config.truth,
                cttc_threshold=config.cross_trigger if self._cross_weight else None,
            )

    def value(self, weights: np.ndarray | None = None) -> Floats:
        """Return PSDS (0 ... 1) of each weighting `(R,)`; NaN where no annotated event occurs.

        Under a weighting, classes without annotated events are skipped.

        Args:
            weights: `(R, n)` how often each of `clips` counts; None: each once, R = 1.

        Raises:
            ConfigError: weights of another number of clips, or negative ones.
        """
        return np.array([_area(list(curves.values()), self.config) for curves in self._curves(weights)])

    def class_values(self, weights: np.ndarray | None = None) -> dict[str, Floats]:
        """Return the value of each annotated class alone, `(R,)`; see `value`."""
        each = self._curves(weights)
        return {c: np.array([_area([e[c]] if c in e else [], self.config) for e in each]) for c in self.classes}

    def _curves(self, weights: np.ndarray | None) -> list[dict[str, tuple[Floats, Floats]]]:
        """Staircase of each annotated class under each weighting."""
        weights = check_weights(weights, len(self.clips))
        curves: list[dict[str, tuple[Floats, Floats]]] = [{} for _ in weights]
        if not self.classes:
            return curves
        widest = max(sum(len(self._deltas[clip][code][0]) for clip in self.clips) for code in self._codes.values())
        rows = max(1, BLOCK // max(widest, 1))
        for start in range(0, len(weights), rows):
            self._block(weights[start : start + rows], curves[start : start + rows])
        return curves

    def _block(self, weights: Floats, curves: list[dict[str, tuple[Floats, Floats]]]) -> None:
        hours = weights @ self._seconds / HOUR
        codes = list(self._codes.values())
        counted = np.array([[[e[2] for e in self._truth[c]].count(code) for code in codes] for c in self.clips])
        lasting = np.array(
            [[sum(e[1] - e[0] for e in self._truth[c] if e[2] == code) for code in codes] for c in self.clips]
        )
        events, duration = weights @ counted, weights @ lasting
        for c, (name, code) in enumerate(self._codes.items()):
            found, alarms = self._counts(code, weights, duration / HOUR)
            for r in np.flatnonzero(events[:, c] > 0):
                false = alarms[0][r] / hours[r] + self._cross_weight * alarms[1][r]
                curves[r][name] = _staircase(found[r] / events[r, c], false, self.config.max_false_alarms)

    def _counts(self, code: str, weights: Floats, hours: Floats) -> tuple[Floats, tuple[Floats, Floats]]:
        """Events found, false detections, and the mean rate of cross triggers an hour: each `(R, K + 1)`."""
        parts = [self._deltas[clip][code] for clip in self.clips]
        lengths = [len(levels) for levels, _ in parts]
        levels = np.concatenate([levels for levels, _ in parts])
        order = np.argsort(-levels, kind="stable")
        member = np.repeat(np.arange(len(parts)), lengths)[order]
        # Equal scores pass the threshold together: only the last of each run is a working point.
        ordered = levels[order]
        last = np.append(ordered[1:] != ordered[:-1], True) if ordered.size else np.zeros(0, dtype=bool)
        drawn = weights[:, member]

        def total(key: str) -> Floats:
            change = np.concatenate([np.asarray(table[key], dtype=np.float64) for _, table in parts])[order]
            summed = np.cumsum(drawn * change, axis=1)[:, last]
            return np.concatenate([np.zeros((len(weights), 1)), summed], axis=1)

        found, false = total("tps"), total("fps")
        crossed = np.zeros_like(false)
        others = [(i, other) for i, other in enumerate(self._codes.values()) if other != code]
        # A class without annotated events under a weighting is skipped here, too.
        if self._cross_weight:
            present = np.stack([hours[:, i] > 0 for i, _ in others])
            for (i, other), here in zip(others, present, strict=True):
                crossed[here] += total(f"cts\\{other}")[here] / hours[here, i, None]
            crossed /= np.maximum(present.sum(0), 1)[:, None]
        return found, (false, crossed)


def _validate(
    scores: Mapping[str, np.ndarray],
    rate: float,
    reference: Events,
    seconds: Mapping[str, float],
    classes: Sequence[str],
) -> tuple[dict[str, list[Event]], dict[str, Floats], tuple[str, ...]]:
    """Check the input of `Psds`."""
    truth, _, names = validate_events(reference, {clip: [] for clip in scores}, classes, lasting=True)
    if not (math.isfinite(rate) and rate > 0):
        raise ConfigError(f"{rate} frames a second; expected a positive number")
    checked = {}
    for clip, events in truth.items():
        table = np.asarray(scores[clip], dtype=np.float64)
        if table.ndim != 2 or not len(table) or table.shape[1] != len(names):
            raise ConfigError(f"scores of clip {clip!r} have shape {table.shape}; expected (T, {len(names)}), T > 0")
        if not np.isfinite(table).all():
            raise ConfigError(f"{int((~np.isfinite(table)).sum())} scores of clip {clip!r} are not finite")
        length = float(seconds[clip]) if clip in seconds else math.nan
        if not length > (len(table) - 1) / rate:
            raise ConfigError(
                f"clip {clip!r} lasts {length} s, its {len(table)} frames at {rate} a second begin up to "
                f"{(len(table) - 1) / rate:.3f} s; expected every frame to begin within its clip"
            )
        late = [e for e in events if e[0] >= length]
        if late:
            raise ConfigError(f"event {late[0][2]!r} of clip {clip!r} begins at {late[0][0]} s of {length} s")
        checked[clip] = table
    joined = join_overlapping(truth)[1]
    if joined:
        raise ConfigError(
            f"{joined} annotated events overlap or touch another one of their class and clip; expected separate ones, "
            "as join_overlapping makes them"
        )
    return truth, checked, names


def _edges(frames: int, rate: float, seconds: float) -> Floats:
    edges: Floats = np.append(np.arange(frames) / rate, seconds)
    return edges


def _frame(table: Floats, edges: Floats, classes: Iterable[str]) -> Any:
    """Return the scores of a clip in the form of the library."""
    pandas = events_library("pandas")

    class Scores(pandas.DataFrame):  # type: ignore[name-defined]
        """Its arrays are copies: those of pandas 3 are read-only, and the library's compiled part refuses them."""

        @property
        def _constructor(self) -> type:
            return Scores

        def to_numpy(self, *args: Any, **settings: Any) -> np.ndarray:
            return np.array(super().to_numpy(*args, **settings))

    columns = np.concatenate([edges[:-1, None], edges[1:, None], table], axis=1)
    return Scores(columns, columns=["onset", "offset", *classes])


def _staircase(share: Floats, false: Floats, limit: float) -> tuple[Floats, Floats]:
    """Best share of events found at each rate of false alarms up to the limit: rates rising, shares rising."""
    within = false <= limit
    share, false = share[within], false[within]
    order = np.lexsort((share, false))
    best = np.maximum.accumulate(share[order])
    rises = np.append(True, best[1:] > best[:-1])
    return false[order][rises], best[rises]


def _area(curves: list[tuple[Floats, Floats]], config: PsdsConfig) -> float:
    """Area under (mean - weight x deviation) of the classes' staircases, as a share of the limit; NaN without any."""
    if not curves:
        return math.nan
    grid = np.unique(np.concatenate([rates for rates, _ in curves]))
    shares = np.zeros((len(curves), len(grid)))
    for row, (rates, best) in zip(shares, curves, strict=True):
        place = np.searchsorted(rates, grid, side="right") - 1
        row[place >= 0] = best[place[place >= 0]]
    height = np.maximum(shares.mean(0) - config.spread_weight * shares.std(0), 0.0)
    widths = np.diff(np.append(grid, config.max_false_alarms))
    return float((height * widths).sum() / config.max_false_alarms)
