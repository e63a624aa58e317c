"""Sound events: what sounds from when to when in each clip, judged by segments, by events, and at all thresholds."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from auricle.errors import CorpusError
from auricle.metrics.classification import Floats
from auricle.metrics.events import Event, EventCounts, event_counts, segment_counts
from auricle.metrics.psds import PSDS1, PSDS2, Psds, PsdsConfig
from auricle.results.predictions import TaskPredictions, match_units
from auricle.tasks.events.arrays import Listed
from auricle.tasks.events.rule import COUNTED, CURVES, EventsRule

__all__ = ["EventPredictions", "EventsRule"]

_CURVES: dict[str, PsdsConfig] = dict(zip(CURVES, (PSDS1, PSDS2), strict=True))


@dataclass(frozen=True)
class EventPredictions(TaskPredictions):
    """Events found in the test clips of all folds, and what there is.

    Counts are pooled over all clips, whatever fold judged them (thresholds make them comparable); PSDS is the mean
    over folds, since scores of different readers share no thresholds.

    Letters in shapes: n clips, S seeds, C classes, M frames of all clips in a row.

    Attributes:
        rule: what was judged how.
        classes: C names.
        clips: `(n,)` names of the clips.
        group: `(n,)` source of each.
        fold: `(n,)` place of the fold that judged it.
        seconds: `(n,)` length of each.
        truth: annotated events (seed 0).
        said: found events of each seed.
        tables: for `segments`, `onsets` (and `offsets`): `(S, n, C, 3)` hits, annotated and estimated.
        errors: the same names: `(S, n, 3)` substitutions, deletions, insertions.
        seeds: S seeds.
        frames: `(n,)` frames of each clip; zeros where no scores are kept.
        rate: frames a second.
        scores: `(S, M, C)` float32, after the median filter.
    """

    type_name: ClassVar[str] = "events"
    rule: EventsRule
    classes: tuple[str, ...]
    clips: NDArray[np.str_]
    group: NDArray[np.str_]
    fold: NDArray[np.int64]
    seconds: NDArray[np.float64]
    truth: Listed
    said: Listed
    tables: dict[str, Floats]
    errors: dict[str, Floats]
    seeds: tuple[int, ...]
    frames: NDArray[np.int64]
    rate: float
    scores: NDArray[np.float32]
    _curves: dict[tuple[str, int], list[tuple[NDArray[np.int64], Psds]]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Check that the shapes belong together.

        Raises:
            CorpusError: they do not.
        """
        n, S, C = len(self.clips), len(self.seeds), len(self.classes)
        shapes = {name: table.shape for name, table in self.tables.items()}
        if n == 0 or any(shape != (S, n, C, 3) for shape in shapes.values()):
            raise CorpusError(f"answers of {n} clips, {S} seeds, {C} classes hold counts of shapes {shapes}")
        if self.scores.shape != (S, int(self.frames.sum()), C) or not np.isfinite(self.scores).all():
            raise CorpusError(
                f"answers hold scores of shape {self.scores.shape}; expected finite ones of shape "
                f"({S}, {int(self.frames.sum())}, {C})"
            )

    @classmethod
    def judge(
        cls,
        rule: EventsRule,
        classes: Sequence[str],
        clips: NDArray[np.str_],
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
            rule: what is judged how.
            classes: C names.
            clips: `(n,)` unique names.
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
        names = [str(clip) for clip in clips]
        true = dict(zip(names, truth, strict=True))
        lengths = dict(zip(names, (float(s) for s in seconds), strict=True))
        tables: dict[str, list[Floats]] = {}
        errors: dict[str, list[Floats]] = {}
        for found in said:
            mine = dict(zip(names, found, strict=True))
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
            clips=clips,
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
    def units(self) -> NDArray[np.str_]:
        """`(n,)` names of the clips."""
        return self.clips

    @property
    def groups(self) -> NDArray[np.str_]:
        """`(n,)` sources of the clips."""
        return self.group

    @property
    def folds(self) -> NDArray[np.int64]:
        """`(n,)` folds of the clips."""
        return self.fold

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that make sense for these sounds."""
        return self.rule.metrics()

    @property
    def title(self) -> str:
        """What the units are."""
        return "clips with sound events"

    def counts(self, name: str, seed: int) -> EventCounts:
        """Return the counts of `segments`, `onsets` or `offsets` of the seed at this place."""
        hits, reference, estimated = np.moveaxis(self.tables[name][seed], -1, 0)
        clips = tuple(str(clip) for clip in self.clips)
        return EventCounts(clips, self.classes, hits, reference, estimated, *self.errors[name][seed].T)

    def found(self, seed: int) -> list[list[Event]]:
        """Return what the seed at this place found in each clip."""
        return self.said.lists(len(self.clips), self.classes, seed)

    def true(self) -> list[list[Event]]:
        """Return the annotated events of each clip."""
        return self.truth.lists(len(self.clips), self.classes)

    def measure(self, metric: str, weights: np.ndarray) -> Floats:
        """Return `(S, R)`; NaN where no annotated event counts."""
        if metric in CURVES:
            return np.stack([self._psds(metric, s, weights) for s in range(len(self.seeds))])
        name, what = COUNTED[metric]
        return np.stack([getattr(self.counts(name, s), what)(weights) for s in range(len(self.seeds))])

    def _psds(self, metric: str, seed: int, weights: np.ndarray) -> Floats:
        if (metric, seed) not in self._curves:
            # What thresholds change is found once; each weighting then only sums it.
            self._curves[metric, seed] = self._prepared(_CURVES[metric], seed)
        each = np.stack([psds.resampled(weights[:, rows]) for rows, psds in self._curves[metric, seed]])
        defined = ~np.isnan(each)
        total, count = np.where(defined, each, 0.0).sum(0), defined.sum(0)
        return np.divide(total, count, out=np.full(total.shape, math.nan), where=count > 0)

    def _prepared(self, config: PsdsConfig, seed: int) -> list[tuple[NDArray[np.int64], Psds]]:
        truth, begin = self.true(), np.concatenate([[0], np.cumsum(self.frames)])
        found = []
        for fold in np.unique(self.fold):
            rows = np.flatnonzero(self.fold == fold)
            names = [str(self.clips[i]) for i in rows]
            scores = {name: self.scores[seed, begin[i] : begin[i + 1]] for name, i in zip(names, rows, strict=True)}
            true = {name: truth[i] for name, i in zip(names, rows, strict=True)}
            lengths = {name: float(self.seconds[i]) for name, i in zip(names, rows, strict=True)}
            found.append((rows, Psds(scores, self.rate, true, lengths, self.classes, config)))
        return found

    def reorder(self, units: NDArray[np.str_]) -> Self:
        """Return the same clips in the order of these names.

        Raises:
            CorpusError: the names are not the same set of clips.
        """
        rows = match_units(self.clips, units)
        begin = np.concatenate([[0], np.cumsum(self.frames)])
        places = np.concatenate([np.arange(begin[i], begin[i + 1]) for i in rows]) if len(rows) else rows
        return replace(
            self,
            clips=self.clips[rows],
            group=self.group[rows],
            fold=self.fold[rows],
            seconds=self.seconds[rows],
            truth=self.truth.moved(rows),
            said=self.said.moved(rows),
            tables={name: table[:, rows] for name, table in self.tables.items()},
            errors={name: table[:, rows] for name, table in self.errors.items()},
            frames=self.frames[rows],
            scores=self.scores[:, places.astype(np.int64)],
            _curves={},
        )

    def same_truth(self, other: TaskPredictions) -> bool:
        """Return whether classes, annotated events and the way they are counted are the same."""
        if not isinstance(other, EventPredictions) or self.classes != other.classes:
            return False
        mine, theirs = self.rule, other.rule
        ways = [(r.sounds, r.resolution, r.collar) for r in (mine, theirs)]
        return ways[0] == ways[1] and [sorted(e) for e in self.true()] == [sorted(e) for e in other.true()]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all there is as arrays."""
        held: dict[str, np.ndarray] = {
            "rule": np.array(json.dumps(self.rule.to_json())),
            "classes": np.array(self.classes, dtype=np.str_),
            "clips": self.clips,
            "group": self.group,
            "fold": self.fold,
            "seconds": self.seconds,
            "seeds": np.array(self.seeds, dtype=np.int64),
            "frames": self.frames,
            "rate": np.array(self.rate),
            "scores": self.scores,
        }
        for whose, listed in (("truth", self.truth), ("said", self.said)):
            held |= {f"{whose}.{key}": getattr(listed, key) for key in ("clip", "times", "label", "seed")}
        held |= {f"table.{name}": table for name, table in self.tables.items()}
        return held | {f"error.{name}": table for name, table in self.errors.items()}

    @classmethod
    def from_arrays(cls, held: dict[str, np.ndarray]) -> Self:
        """Rebuild from `arrays`' data."""

        def listed(whose: str) -> Listed:
            return Listed(*(held[f"{whose}.{key}"] for key in ("clip", "times", "label", "seed")))

        return cls(
            rule=EventsRule.from_json(json.loads(str(held["rule"]))),
            classes=tuple(held["classes"].tolist()),
            clips=held["clips"],
            group=held["group"],
            fold=held["fold"],
            seconds=held["seconds"],
            truth=listed("truth"),
            said=listed("said"),
            tables={key[6:]: table for key, table in held.items() if key.startswith("table.")},
            errors={key[6:]: table for key, table in held.items() if key.startswith("error.")},
            seeds=tuple(held["seeds"].tolist()),
            frames=held["frames"],
            rate=float(held["rate"]),
            scores=held["scores"],
        )

    def detail(self) -> dict[str, Any]:
        """Return the classes, and each class's numbers by segments and by onsets, means over seeds."""
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
