"""Predictions of labels of clips."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from auricle.errors import CorpusError
from auricle.metrics.catalogue import MetricInfo, register_metric
from auricle.metrics.classification import (
    accuracy,
    average_precision,
    balanced_accuracy,
    confusion_matrix,
    macro_auc,
    macro_f1,
    mean_average_precision,
    per_class_scores,
)
from auricle.metrics.ranking import d_prime, label_weighted_ranking_precision
from auricle.metrics.weights import Floats, Metric, nan_mean
from auricle.results.predictions import TaskPredictions

SINGLE: dict[str, Metric] = {"accuracy": accuracy, "macro_f1": macro_f1, "balanced_accuracy": balanced_accuracy}
MULTI: dict[str, Metric] = {
    "mAP": mean_average_precision,
    "macro_auc": macro_auc,
    "d_prime": d_prime,
    "lwlrap": label_weighted_ranking_precision,
}


def register_clip_metric(info: MetricInfo, function: Metric, labels: Literal["single", "multi"] = "single") -> None:
    """Add a metric of labelled clips, for example from a plug-in: every such task then reports it.

    Args:
        info: name, unit, range and direction.
        function: `(truth, answers, weights) -> (R,)`. Single-label: `truth` and `answers` `(n,)` class numbers;
            multi-label: `truth (n, C)` bool, `answers (n, C)` scores. `weights (R, n)`: how often each clip counts.
        labels: kind of labels that it scores.

    Raises:
        ConfigError: another metric has this name.
    """
    register_metric(info)
    (SINGLE if labels == "single" else MULTI)[info.name] = function


@dataclass(frozen=True)
class ClipPredictions(TaskPredictions):
    """Truth and scores of the test clips of all folds in a row.

    The headline of a single-label task is its metric over the clips of all folds together; that of a multi-label task
    is the mean over folds, since scores of different probes can't be ranked against each other.

    Letters in shapes: n test clips, C classes, S seeds, R weightings.

    Attributes:
        kind: `single` or `multi`.
        classes: C names.
        truth: `(n, C)` bool.
        scores: `(S, n, C)` float32; higher is likelier.
    """

    type_name: ClassVar[str] = "clips"
    unit_axes: ClassVar[dict[str, int]] = {"truth": 0, "scores": 1}
    truth_fields: ClassVar[tuple[str, ...]] = ("classes", "truth")
    renamed: ClassVar[dict[str, str]] = {"clips": "names"}
    may_repeat: ClassVar[bool] = True
    trials: ClassVar[bool] = True
    kind: Literal["single", "multi"]
    classes: tuple[str, ...]
    truth: NDArray[np.bool_]
    scores: NDArray[np.float32]

    def __post_init__(self) -> None:
        super().__post_init__()
        n, classes = self.truth.shape
        if self.scores.shape[-3:] != (len(self.seeds), n, classes) or classes != len(self.classes):
            raise CorpusError(
                f"predictions of {n} clips, {len(self.classes)} classes, {len(self.seeds)} seeds hold scores of shape "
                f"{self.scores.shape}; expected (seeds, clips, classes)"
            )

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(SINGLE if self.kind == "single" else MULTI)

    @property
    def title(self) -> str:
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
        if self.kind == "single":
            return np.stack([SINGLE[metric](self.numbers, said, weights) for said in self.said])
        each = [[MULTI[metric](self.truth[f], s[f], weights[:, f]) for f in self._folds()] for s in self.scores]
        return nan_mean(np.array(each), axis=1)

    def constant(self, known: Floats | None = None) -> tuple[str, ClipPredictions]:
        """Return predictions that are the labels' shares: of single-label clips, always the most frequent class.

        Args:
            known: `(n, C)` shares in the training clips of each unit's fold; None: those of the test clips.
        """
        shares = np.broadcast_to(self.truth.mean(0), self.truth.shape) if known is None else known
        scores = np.broadcast_to(shares, (*self.scores.shape[:-3], 1, *shares.shape)).astype(self.scores.dtype)
        name = "the labels' shares"
        if self.kind == "single":
            most = np.unique(shares.argmax(1))
            one = f"majority class ({self.classes[most[0]]})"
            name = one if len(most) == 1 else "always the most frequent training class"
        return name, replace(self, scores=scores, seeds=(0,))

    def evidence(self, metric: str) -> Floats:
        # Means over classes: a clip of a rare class counts for more.
        if metric == "accuracy":
            return super().evidence(metric)
        size = np.maximum(self.truth.sum(0), 1)
        return np.asarray((self.truth / size).sum(1))

    def _folds(self) -> list[NDArray[np.bool_]]:
        return [self.fold == f for f in np.unique(self.fold)]

    def detail(self) -> dict[str, Any]:
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
        return nan_mean(np.array([average_precision(self.truth[f], s[f]) for s in self.scores for f in self._folds()]))
