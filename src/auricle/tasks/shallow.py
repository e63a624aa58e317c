"""Readers of clip vectors that have no training loop: neighbours, centroids, and closed forms or convex solvers."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler

from auricle.config import Config
from auricle.errors import ConfigError
from auricle.metrics.classification import macro_f1, mean_average_precision
from auricle.metrics.knn import knn_scores

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Vectors:
    """Clip vectors and labels of one side: `x (n, D)`, `truth (n, C)` bool, `single`: one label a clip."""

    x: NDArray[np.float32]
    truth: NDArray[np.bool_]
    single: bool

    def join(self, other: Vectors) -> Vectors:
        """Return these clips and then the other's."""
        return Vectors(np.concatenate([self.x, other.x]), np.concatenate([self.truth, other.truth]), self.single)

    @property
    def numbers(self) -> NDArray[np.int64]:
        """`(n,)` class of single-label clips."""
        numbers: NDArray[np.int64] = self.truth.argmax(1).astype(np.int64)
        return numbers


@dataclass(frozen=True)
class TrainingFreeConfig(Config):
    """Base of readers of clip vectors without a training loop."""

    def settings(self) -> tuple[float, ...]:
        """Return the values of the one setting that validation clips choose; empty: nothing is chosen."""
        return ()

    @abstractmethod
    def scores(self, known: Vectors, x: NDArray[np.float32], setting: float | None) -> Scores:
        """Learn from known clips and return scores `(n, C)` of others; higher is likelier."""

    def fit_predict(
        self, train: Vectors, valid: Vectors, x: NDArray[np.float32], *, refit: bool = True
    ) -> tuple[Scores, dict[str, Any]]:
        """Choose the setting on validation clips, learn from all known clips, score the others.

        Args:
            train: training clips.
            valid: validation clips.
            x: `(n, D)` vectors of the clips to score.
            refit: learn from training and validation clips once the setting is chosen; False: from training clips.

        Returns:
            scores `(n, C)`, and what was chosen with how each setting validated.

        Raises:
            ConfigError: a vector is not finite.
        """
        for name, vectors in (("training", train.x), ("validation", valid.x), ("test", x)):
            bad = int((~np.isfinite(vectors).all(1)).sum())
            if bad:
                raise ConfigError(f"{bad} {name} embeddings are not finite; leave these clips out or mend the encoder")
        known = train.join(valid) if refit else train
        options = self.settings()
        if not options:
            return self.scores(known, x, None), {}
        tried = [
            {"setting": s, "validation": _validate(self.scores(train, valid.x, s), valid), "epochs": None}
            for s in options
        ]
        best = max(range(len(options)), key=lambda i: _rank(tried[i]["validation"]))
        metric = "macro_f1" if valid.single else "map"
        chosen = {"setting": options[best], "validation": tried[best]["validation"], "metric": metric, "tried": tried}
        return self.scores(known, x, options[best]), chosen


@dataclass(frozen=True)
class KnnConfig(TrainingFreeConfig):
    """Nearest neighbours: cosine similarity, votes weighted as in `auricle.metrics.knn`.

    Attributes:
        k: neighbours.
    """

    k: int = 10

    def scores(self, known: Vectors, x: NDArray[np.float32], setting: float | None) -> Scores:
        """Return the neighbours' votes."""
        labels = known.numbers if known.single else known.truth
        votes: Scores = knn_scores(known.x, labels, x, self.k, classes=known.truth.shape[1])
        return votes


@dataclass(frozen=True)
class CentroidConfig(TrainingFreeConfig):
    """Nearest centroid: cosine with each class's mean vector, after centring on the mean of the known clips.

    Multi-label: cosine with the mean of the clips that have the class, minus that of those without.
    """

    def scores(self, known: Vectors, x: NDArray[np.float32], setting: float | None) -> Scores:
        """Return cosines `(n, C)`; a class without known clips scores the least there is, for every clip alike."""
        centre = known.x.mean(0, dtype=np.float64)
        unit, asked = _unit(known.x - centre), _unit(x - centre)
        truth = known.truth.astype(np.float64)

        def cosines(member: Scores) -> Scores:
            count = member.sum(0)
            found = asked @ _unit(member.T @ unit / np.maximum(count, 1)[:, None]).T
            result: Scores = np.where(count > 0, found, -1.0)
            return result

        if known.single:
            return cosines(truth)
        share = truth.mean(0)
        told_apart: Scores = np.where(share == 0, -2.0, np.where(share == 1, 2.0, cosines(truth) - cosines(1 - truth)))
        return told_apart


@dataclass(frozen=True)
class LogisticConfig(TrainingFreeConfig):
    """Logistic regression on standardised vectors, solved to the optimum (L-BFGS); one a class for several labels.

    Attributes:
        strengths: inverse strengths C of the L2 penalty; validation clips choose.
    """

    strengths: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0, 10.0)

    def settings(self) -> tuple[float, ...]:
        """Return the strengths."""
        return self.strengths

    def scores(self, known: Vectors, x: NDArray[np.float32], setting: float | None) -> Scores:
        """Return class probabilities; a class that no known clip has gets 0, one that all have gets 1."""
        scaler = StandardScaler().fit(known.x)
        model = LogisticRegression(C=setting or 1.0, max_iter=2000)
        result = np.zeros((len(x), known.truth.shape[1]))
        if known.single:
            present = np.unique(known.numbers)
            if len(present) == 1:
                result[:, present[0]] = 1.0
                return result
            result[:, present] = model.fit(scaler.transform(known.x), known.numbers).predict_proba(scaler.transform(x))
            return result
        share = known.truth.mean(0)
        result[:, share == 1] = 1.0
        varied = np.flatnonzero((share > 0) & (share < 1))
        if len(varied):
            fitted = OneVsRestClassifier(model).fit(scaler.transform(known.x), known.truth[:, varied].astype(int))
            found = fitted.predict_proba(scaler.transform(x))
            result[:, varied] = found[:, -1:] if len(varied) == 1 else found
        return result


@dataclass(frozen=True)
class RidgeConfig(TrainingFreeConfig):
    """Ridge regression of the class indicators (+-1) on standardised vectors, in closed form.

    Attributes:
        strengths: penalties, in units of the number of known clips; validation clips choose.
    """

    strengths: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)

    def settings(self) -> tuple[float, ...]:
        """Return the penalties."""
        return self.strengths

    def scores(self, known: Vectors, x: NDArray[np.float32], setting: float | None) -> Scores:
        """Return the regressed indicators."""
        scaler = StandardScaler().fit(known.x)
        model = Ridge(alpha=(setting or 1.0) * len(known.x))
        model.fit(scaler.transform(known.x), known.truth * 2.0 - 1.0)
        found: Scores = np.asarray(model.predict(scaler.transform(x)), dtype=np.float64).reshape(len(x), -1)
        return found


SHALLOW_CLASSIFIERS: dict[str, TrainingFreeConfig] = {
    "knn": KnnConfig(),
    "centroid": CentroidConfig(),
    "logistic": LogisticConfig(),
    "ridge": RidgeConfig(),
}


def _validate(scores: Scores, valid: Vectors) -> float | None:
    value = macro_f1(valid.numbers, scores.argmax(1)) if valid.single else mean_average_precision(valid.truth, scores)
    return float(value) if math.isfinite(value) else None


def _rank(value: float | None) -> float:
    return -math.inf if value is None else value


def _unit(x: NDArray[Any]) -> Scores:
    x = np.asarray(x, dtype=np.float64)
    unit: Scores = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return unit
