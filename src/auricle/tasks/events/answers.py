"""Predicted sound events, scored by segments, by events, and at all thresholds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from auricle.errors import CorpusError
from auricle.metrics.events import Event, EventCounts, event_counts, segment_counts
from auricle.metrics.psds import PSDS1, PSDS2, Psds, PsdsConfig
from auricle.metrics.weights import Floats, nan_mean
from auricle.results.predictions import TaskPredictions
from auricle.tasks.events.rule import COUNTED, CURVES, EventsRule

__all__ = ["EventPredictions", "EventsRule"]

_CURVES: dict[str, PsdsConfig] = dict(zip(CURVES, (PSDS1, PSDS2), strict=True))


@dataclass(frozen=True)
class Listed:
    """Events of many clips as arrays: `clip (E,)`, `times (E, 2)`, `label (E,)` place of the class, `seed (E,)`."""

    clip: NDArray[np.int64]
    times: NDArray[np.float64]
    label: NDArray[np.int64]
    seed: NDArray[np.int64]

    @classmethod
    def of(cls, by_seed: Sequence[Sequence[Sequence[Event]]], classes: Sequence[str]) -> Self:
        """Put events of each seed and clip in a row."""
        place = {name: c for c, name in enumerate(classes)}
        rows = [(i, e, s) for s, clips in enumerate(by_seed) for i, events in enumerate(clips) for e in events]
        return cls(
            np.array([i for i, _, _ in rows], dtype=np.int64),
            np.array([[e[0], e[1]] for _, e, _ in rows], dtype=np.float64).reshape(-1, 2),
            np.array([place[e[2]] for _, e, _ in rows], dtype=np.int64),
            np.array([s for _, _, s in rows], dtype=np.int64),
        )

    def lists(self, clips: int, classes: Sequence[str], seed: int = 0) -> list[list[Event]]:
        """Return the events of each clip of one seed."""
        found: list[list[Event]] = [[] for _ in range(clips)]
        for i in np.flatnonzero(self.seed == seed):
            onset, offset = self.times[i].tolist()
            found[self.clip[i]].append((onset, offset, classes[self.label[i]]))
        return found

    def moved(self, rows: NDArray[np.int64]) -> Listed:
        """Return the same events after the clips were put in the order `rows`."""
        where = np.argsort(rows)
        clip = where[self.clip]
        order = np.lexsort((clip, self.seed))  # stable: a clip keeps the order of its events
        return Listed(clip[order], self.times[order], self.label[order], self.seed[order])


@dataclass(frozen=True)
class EventPredictions(TaskPredictions):
    """Events found in the test clips of all folds, and the annotated ones.

    Counts are pooled over all clips of all folds (thresholds make them comparable); PSDS is the mean over folds, since
    scores of different probes share no thresholds.

    Letters in shapes: n clips, S seeds, C classes, M frames of all clips in a row.

    Attributes:
        rule: how events are scored.
        classes: C names.
        seconds: `(n,)` length of each clip.
        truth: annotated events (seed 0).
        said: found events of each seed.
        tables: for `segments`, `onsets` (and `offsets`): `(S, n, C, 3)` hits, annotated and estimated.
        errors: the same names: `(S, n, 3)` substitutions, deletions, insertions.
        frames: `(n,)` frames of each clip; zeros where no scores are kept.
        rate: frames a second.
        scores: `(S, M, C)` float32, after the median filter.
    """

    type_name: ClassVar[str] = "events"
    unit_axes: ClassVar[dict[str, int]] = {"seconds": 0, "frames": 0, "tables": 1, "errors": 1}
    renamed: ClassVar[dict[str, str]] = {"clips": "names", "table": "tables", "error": "errors"}
    rule: EventsRule
    classes: tuple[str, ...]
    seconds: NDArray[np.float64]
    truth: Listed
    said: Listed
    tables: dict[str, Floats]
    errors: dict[str, Floats]
    frames: NDArray[np.int64]
    rate: float
    scores: NDArray[np.float32]
    _curves: dict[tuple[str, int], list[tuple[NDArray[np.int64], Psds]]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        n, S, C = len(self.names), len(self.seeds), len(self.classes)
        shapes = {name: table.shape for name, table in self.tables.items()}
        if any(shape != (S, n, C, 3) for shape in shapes.values()):
            raise CorpusError(f"predictions of {n} clips, {S} seeds, {C} classes hold counts of shapes {shapes}")
        if self.scores.shape != (S, int(self.frames.sum()), C) or not np.isfinite(self.scores).all():
            raise CorpusError(
                f"predictions hold scores of shape {self.scores.shape}; expected finite ones of shape "
                f"({S}, {int(self.frames.sum())}, {C})"
            )

    @classmethod
    def count(
        cls,
        rule: EventsRule,
        classes: Sequence[str],
        names: NDArray[np.str_],
        group: NDArray[np.str_],
        fold: NDArray[np.int64],
        seconds: NDArray[np.float64],
        truth: Sequence[Sequence[Event]],
        said: Sequence[Sequence[Sequence[Event]]],
        scores: Sequence[Sequence[np.ndarray]],
        rate: float,
        seeds: Sequence[int],
    ) -> Self:
        """Count what was found.

        Args:
            rule: how events are scored.
            classes: C names.
            names: `(n,)` unique names of the clips.
            group: `(n,)` sources.
            fold: `(n,)` places of folds.
            seconds: `(n,)` lengths.
            truth: of each clip, its events.
            said: of each seed and clip, the events found.
            scores: of each seed and clip, scores `(T, C)` after the filter; kept if the rule wants PSDS.
            rate: frames a second.
            seeds: S seeds.

        Raises:
            ConfigError: an event has an unknown label or impossible times.
            MissingExtraError: the extra `events` is not installed.
        """
        clips = [str(name) for name in names]
        true = dict(zip(clips, truth, strict=True))
        lengths = dict(zip(clips, (float(s) for s in seconds), strict=True))
        tables: dict[str, list[Floats]] = {}
        errors: dict[str, list[Floats]] = {}
        for found in said:
            mine = dict(zip(clips, found, strict=True))
            counts = {
                "segments": segment_counts(true, mine, lengths, classes, resolution=rule.resolution),
                "onsets": event_counts(true, mine, classes, collar=rule.collar),
            }
            if rule.sounds == "lasting":
                counts["offsets"] = event_counts(true, mine, classes, collar=rule.collar, offset=True)
            for name, c in counts.items():
                tables.setdefault(name, []).append(np.stack([c.hits, c.reference, c.estimated], axis=-1))
                errors.setdefault(name, []).append(np.stack([c.substitutions, c.deletions, c.insertions], axis=-1))
        keeps = "psds1" in rule.metrics()
        frames = [len(table) if keeps else 0 for table in scores[0]]
        rows = np.zeros((len(seeds), 0, len(classes)), dtype=np.float32)
        return cls(
            rule=rule,
            classes=tuple(classes),
            names=names,
            group=group,
            fold=fold,
            seconds=np.asarray(seconds, dtype=np.float64),
            truth=Listed.of([truth], classes),
            said=Listed.of(said, classes),
            tables={name: np.stack(parts) for name, parts in tables.items()},
            errors={name: np.stack(parts) for name, parts in errors.items()},
            seeds=tuple(seeds),
            frames=np.array(frames, dtype=np.int64),
            rate=rate,
            scores=np.stack([np.concatenate(list(each)) for each in scores]).astype(np.float32) if keeps else rows,
        )

    @property
    def metrics(self) -> tuple[str, ...]:
        return self.rule.metrics()

    @property
    def title(self) -> str:
        return "clips with sound events"

    def counts(self, name: str, seed: int) -> EventCounts:
        """Return the counts of `segments`, `onsets` or `offsets` of the seed at this place."""
        hits, reference, estimated = np.moveaxis(self.tables[name][seed], -1, 0)
        clips = tuple(str(name) for name in self.names)
        return EventCounts(clips, self.classes, hits, reference, estimated, *self.errors[name][seed].T)

    def found(self, seed: int) -> list[list[Event]]:
        """Return what the seed at this place found in each clip."""
        return self.said.lists(len(self.names), self.classes, seed)

    def true(self) -> list[list[Event]]:
        """Return the annotated events of each clip."""
        return self.truth.lists(len(self.names), self.classes)

    def constant(self) -> tuple[str, TaskPredictions]:
        # Counts of clips in which nothing is found; there are no scores, and so no curves over thresholds.
        tables = {name: table[:1] * np.array([0.0, 1.0, 0.0]) for name, table in self.tables.items()}
        errors = {
            name: np.stack([0 * table[..., 1], table[..., 1], 0 * table[..., 1]], axis=-1).sum(2)
            for name, table in tables.items()
        }
        nothing = Listed.of([[[] for _ in self.names]], self.classes)
        kept = {"rule": self.rule.replace(psds=False), "said": nothing, **self._when_joined(len(self.names), 1)}
        return "no events", replace(self, tables=tables, errors=errors, seeds=(0,), **kept)

    def measure(self, metric: str, weights: np.ndarray) -> Floats:
        if metric in CURVES:
            return np.stack([self._psds(metric, s, weights) for s in range(len(self.seeds))])
        name, what = COUNTED[metric]
        return np.stack([getattr(self.counts(name, s), what)(weights) for s in range(len(self.seeds))])

    def _psds(self, metric: str, seed: int, weights: np.ndarray) -> Floats:
        if (metric, seed) not in self._curves:
            # What thresholds change is found once; each weighting then only sums it.
            self._curves[metric, seed] = self._prepared(_CURVES[metric], seed)
        return nan_mean(np.stack([psds.value(weights[:, rows]) for rows, psds in self._curves[metric, seed]]))

    def _prepared(self, config: PsdsConfig, seed: int) -> list[tuple[NDArray[np.int64], Psds]]:
        truth, begin = self.true(), np.concatenate([[0], np.cumsum(self.frames)])
        found = []
        for fold in np.unique(self.fold):
            rows = np.flatnonzero(self.fold == fold)
            names = [str(self.names[i]) for i in rows]
            scores = {name: self.scores[seed, begin[i] : begin[i + 1]] for name, i in zip(names, rows, strict=True)}
            true = {name: truth[i] for name, i in zip(names, rows, strict=True)}
            lengths = {name: float(self.seconds[i]) for name, i in zip(names, rows, strict=True)}
            found.append((rows, Psds(scores, self.rate, true, lengths, self.classes, config)))
        return found

    def _moved(self, rows: NDArray[np.int64]) -> dict[str, Any]:
        begin = np.concatenate([[0], np.cumsum(self.frames)])
        frames = np.concatenate([np.arange(begin[i], begin[i + 1]) for i in rows]).astype(np.int64)
        truth, said = self.truth.moved(rows), self.said.moved(rows)
        return {"truth": truth, "said": said, "scores": self.scores[:, frames], "_curves": {}}

    def _when_joined(self, units: int, seeds: int) -> dict[str, Any]:
        # What can be pooled is counted: frame scores are not needed.
        scores = np.zeros((seeds, 0, len(self.classes)), dtype=np.float32)
        return {"frames": np.zeros(units, dtype=np.int64), "scores": scores, "_curves": {}}

    def same_truth(self, other: TaskPredictions) -> bool:
        if not isinstance(other, EventPredictions) or self.classes != other.classes:
            return False
        mine, theirs = self.rule, other.rule
        ways = [(r.sounds, r.resolution, r.collar) for r in (mine, theirs)]
        return ways[0] == ways[1] and [sorted(e) for e in self.true()] == [sorted(e) for e in other.true()]

    def detail(self) -> dict[str, Any]:
        # Each class's numbers by segments and by onsets, means over seeds.
        return {"classes": list(self.classes), "per_class": self._per_class()}

    def _per_class(self) -> dict[str, dict[str, float | None]]:
        result: dict[str, dict[str, float | None]] = {name: {} for name in self.classes}
        for count, prefix in (("segments", "segment"), ("onsets", "event")):
            each = [self.counts(count, s).class_scores() for s in range(len(self.seeds))]
            for name in self.classes:
                for key in ("f1", "precision", "recall"):
                    known = [scores[name][key] for scores in each if not math.isnan(scores[name][key])]
                    result[name][f"{prefix}_{key}"] = float(np.mean(known)) if known else None
                if count == "onsets":
                    result[name]["events"] = each[0][name]["reference"]
        return result
