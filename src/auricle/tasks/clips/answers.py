"""What probes said of each labelled test clip."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from auricle.errors import CorpusError
from auricle.metrics.classification import (
    Floats,
    average_precision,
    confusion_matrix,
    per_class_scores,
    validate_multi,
)
from auricle.metrics.resampled import (
    weighted_accuracy,
    weighted_balanced_accuracy,
    weighted_macro_auc,
    weighted_macro_f1,
    weighted_mean_average_precision,
)
from auricle.results.predictions import TaskPredictions, match_units

SINGLE: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], Floats]] = {
    "accuracy": weighted_accuracy,
    "macro_f1": weighted_macro_f1,
    "balanced_accuracy": weighted_balanced_accuracy,
}
MULTI: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], Floats]] = {
    "mAP": weighted_mean_average_precision,
    "macro_auc": weighted_macro_auc,
}


@dataclass(frozen=True)
class ClipPredictions(TaskPredictions):
    """Truth and scores of the test clips of all folds in a row.

    The headline of a single-label task is its metric over the clips of all folds together; that of a multi-label task
    is the mean over folds, since scores of different probes can't be ranked against each other.

    Letters in shapes: n test clips, C classes, S seeds, R weightings.

    Attributes:
        kind: `single` or `multi`.
        classes: C names.
        clips: `(n,)` names that are equal for equal clips: file, and where it begins.
        fold: `(n,)` place of the fold that judged the clip.
        group: `(n,)` source of the clip, for resampling.
        truth: `(n, C)` bool.
        scores: `(S, n, C)` float32; higher is likelier.
        seeds: S seeds.
    """

    type_name: ClassVar[str] = "clips"
    kind: Literal["single", "multi"]
    classes: tuple[str, ...]
    clips: NDArray[np.str_]
    fold: NDArray[np.int64]
    group: NDArray[np.str_]
    truth: NDArray[np.bool_]
    scores: NDArray[np.float32]
    seeds: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check that the shapes belong together and that every score is finite.

        Raises:
            CorpusError: they do not.
            ConfigError: a score is not finite.
        """
        n, classes = self.truth.shape
        if self.scores.shape != (len(self.seeds), n, classes) or classes != len(self.classes) or n == 0:
            raise CorpusError(
                f"predictions of {n} clips, {classes} classes, {len(self.seeds)} seeds hold scores of shape "
                f"{self.scores.shape}; expected (seeds, clips, classes) and at least one clip"
            )
        if not len(self.clips) == len(self.fold) == len(self.group) == n:
            raise CorpusError(
                f"{len(self.clips)} names, {len(self.fold)} folds, {len(self.group)} sources for {n} clips"
            )
        for scores in self.scores:
            validate_multi(self.truth, scores)

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
        """The metrics of this kind of labels."""
        return tuple(SINGLE if self.kind == "single" else MULTI)

    @property
    def title(self) -> str:
        """What the units are."""
        return f"{self.kind}-label clips"

    @property
    def numbers(self) -> NDArray[np.int64]:
        """`(n,)` true class of single-label clips."""
        numbers: NDArray[np.int64] = self.truth.argmax(1).astype(np.int64)
        return numbers

    @property
    def said(self) -> NDArray[np.int64]:
        """`(S, n)` predicted class of single-label clips."""
        said: NDArray[np.int64] = self.scores.argmax(2).astype(np.int64)
        return said

    def measure(self, metric: str, weights: np.ndarray) -> Floats:
        """Return `(S, R)`; multi-label metrics are means over the folds where they are defined."""
        if self.kind == "single":
            return np.stack([SINGLE[metric](self.numbers, said, weights) for said in self.said])
        rows = []
        folds = [self.fold == f for f in np.unique(self.fold)]
        for scores in self.scores:
            each = np.stack([MULTI[metric](self.truth[f], scores[f], weights[:, f]) for f in folds])
            defined = ~np.isnan(each)
            total, count = np.where(defined, each, 0.0).sum(0), defined.sum(0)
            rows.append(np.divide(total, count, out=np.full(total.shape, math.nan), where=count > 0))
        return np.stack(rows)

    def reorder(self, units: NDArray[np.str_]) -> Self:
        """Return the same clips in the order of these names.

        Raises:
            CorpusError: the names are not the same set of clips.
        """
        rows = match_units(self.clips, units)
        return replace(
            self,
            clips=self.clips[rows],
            fold=self.fold[rows],
            group=self.group[rows],
            truth=self.truth[rows],
            scores=self.scores[:, rows],
        )

    def same_truth(self, other: TaskPredictions) -> bool:
        """Return whether classes and labels are the same."""
        return (
            isinstance(other, ClipPredictions)
            and self.classes == other.classes
            and np.array_equal(self.truth, other.truth)
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all there is as arrays."""
        return {
            "kind": np.array(self.kind),
            "classes": np.array(self.classes, dtype=np.str_),
            "clips": self.clips,
            "fold": self.fold,
            "group": self.group,
            "truth": self.truth,
            "scores": self.scores,
            "seeds": np.array(self.seeds, dtype=np.int64),
        }

    @classmethod
    def from_arrays(cls, held: dict[str, np.ndarray]) -> Self:
        """Rebuild from `arrays`' data."""
        return cls(
            "multi" if str(held["kind"]) == "multi" else "single",
            tuple(held["classes"].tolist()),
            held["clips"],
            held["fold"],
            held["group"],
            held["truth"],
            held["scores"],
            tuple(held["seeds"].tolist()),
        )

    def detail(self) -> dict[str, Any]:
        """Return kind, classes, numbers of each class, and the confusion matrix of single-label clips."""
        confusion = self._confusion().tolist() if self.kind == "single" else None
        return {
            "kind": self.kind,
            "classes": list(self.classes),
            "per_class": self._per_class(),
            "confusion": confusion,
        }

    def _confusion(self) -> Floats:
        each = [confusion_matrix(self.numbers, said, len(self.classes)) for said in self.said]
        mean: Floats = np.mean(each, axis=0)
        return mean

    def _per_class(self) -> dict[str, dict[str, float | None]]:
        if self.kind == "single":
            matrix = self._confusion()
            columns = {**per_class_scores(matrix), "clips": matrix.sum(1)}
        else:
            columns = {"ap": self._mean_ap(), "positives": self.truth.sum(0).astype(np.float64)}
        return {
            name: {key: None if math.isnan(values[c]) else float(values[c]) for key, values in columns.items()}
            for c, name in enumerate(self.classes)
        }

    def _mean_ap(self) -> Floats:
        """Average precision of each class `(C,)`, mean over seeds and over the folds where it is defined."""
        folds = [self.fold == f for f in np.unique(self.fold)]
        each = np.stack([average_precision(self.truth[f], s[f]) for s in self.scores for f in folds])
        defined = ~np.isnan(each)
        total, count = np.where(defined, each, 0.0).sum(0), defined.sum(0)
        return np.divide(total, count, out=np.full(total.shape, math.nan), where=count > 0)
