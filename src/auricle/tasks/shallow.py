"""Shallow classifiers of clip vectors: nearest neighbours, nearest centroid, ridge and logistic regression."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler

from auricle.config import Config, Count, Positive
from auricle.metrics.knn import knn_scores
from auricle.probes.search.selection import score, validate
from auricle.tasks.vectors import check_finite, unit_rows

Scores = NDArray[np.float64]
# Of the gradient of logistic regression: probabilities are within 1e-3 of the optimum where the penalty is weak, too.
_TOLERANCE = 1e-6
_CERTAIN = 30.0  # logit of a class that all known clips have; minus that of one that none has
_SHARPNESS = 10.0  # logit of a cosine of one, of the centroids; calibration measures the right one
_FLAT = 1e-12  # share of the largest variance below which the known clips do not differ in a direction


@dataclass(frozen=True)
class Vectors:
    """Clip vectors and labels of one side: `x (n, D)`, `truth (n, C)` bool, `single`: one label a clip."""

    x: NDArray[np.floating]
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
class LinearMap:
    """A classifier as a linear map of clip vectors: softmax or sigmoids of `weight @ x + bias` are its scores.

    Attributes:
        weight: `(C, D)`.
        bias: `(C,)`.
        centre: `(D,)`, subtracted from the vectors first.
        unit: vectors are scaled to length one after that.
    """

    weight: Scores
    bias: Scores
    centre: Scores
    unit: bool = False


@dataclass(frozen=True)
class ShallowConfig(Config):
    """Base of the shallow classifiers."""

    def linear(self, known: Vectors, setting: float | None) -> LinearMap | None:
        """Fit known clips and return the classifier as a linear map; None: it is none."""
        return None

    def settings(self) -> tuple[float, ...]:
        """Return the values of the one setting that validation clips choose; empty: nothing is chosen."""
        return ()

    def scores(self, known: Vectors, x: NDArray[np.float32], setting: float | None) -> Scores:
        """Fit known clips and return scores `(n, C)` of others; higher is likelier."""
        space = self.space(known.x)
        return self.solve(replace(known, x=space(known.x)), space(x), setting)

    def space(self, known: NDArray[np.float32]) -> Callable[[NDArray[np.floating]], NDArray[np.floating]]:
        """Return the map from vectors `(n, D)` to those that `solve` takes, of the known clips."""
        return lambda x: x

    @abstractmethod
    def solve(self, known: Vectors, x: NDArray[np.floating], setting: float | None) -> Scores:
        """Fit known clips and return scores `(n, C)` of others, both mapped by `space`."""

    def fit_predict(
        self,
        train: Vectors,
        valid: Vectors,
        x: NDArray[np.float32],
        *,
        refit: bool = True,
        metric: str | None = None,
    ) -> tuple[Scores, dict[str, Any]]:
        """Choose the setting on validation clips, fit all known clips, score the others.

        Args:
            train: training clips.
            valid: validation clips.
            x: `(n, D)` vectors of the clips to score.
            refit: fit training and validation clips at the chosen setting; False: training clips only.
            metric: selects the setting (see `SearchConfig.metric`); None: accuracy, or `map` for several labels.

        Returns:
            Scores `(n, C)`, and the chosen setting with the validation score of each.

        Raises:
            ConfigError: a vector is not finite, or the metric does not fit the labels.
        """
        for name, vectors in (("training", train.x), ("validation", valid.x), ("test", x)):
            check_finite(vectors, name)
        known = train.join(valid) if refit else train
        options = self.settings()
        if not options:
            return self.scores(known, x, None), {}
        metric = metric or ("accuracy" if valid.single else "map")
        space = self.space(train.x)
        mapped, asked = replace(train, x=space(train.x)), space(valid.x)
        tried = [
            {"setting": s, "validation": _validate(self.solve(mapped, asked, s), valid, metric), "epochs": None}
            for s in options
        ]
        best = max(range(len(options)), key=lambda i: _rank(tried[i]["validation"]))
        chosen = {"setting": options[best], "validation": tried[best]["validation"], "metric": metric, "tried": tried}
        return self.scores(known, x, options[best]), chosen


@dataclass(frozen=True)
class KnnConfig(ShallowConfig):
    """Nearest neighbours: cosine similarity, votes weighted as in `auricle.metrics.knn`.

    Attributes:
        k: number of neighbours.
    """

    k: Count = 10

    def solve(self, known: Vectors, x: NDArray[np.floating], setting: float | None) -> Scores:
        labels = known.numbers if known.single else known.truth
        votes: Scores = knn_scores(known.x, labels, x, self.k, classes=known.truth.shape[1])
        return votes


@dataclass(frozen=True)
class CentroidConfig(ShallowConfig):
    """Nearest centroid: cosine with each class's mean vector, after centring on the mean of the known clips.

    Multi-label: cosine with the mean of the clips that have the class, minus that of those without.
    """

    def solve(self, known: Vectors, x: NDArray[np.floating], setting: float | None) -> Scores:
        # A class without known clips gets the lowest score there is, for every clip alike.
        centre = known.x.mean(0, dtype=np.float64)
        unit, tested = unit_rows(known.x - centre), unit_rows(x - centre)
        truth = known.truth.astype(np.float64)

        def cosines(member: Scores) -> Scores:
            count = member.sum(0)
            found = tested @ unit_rows(member.T @ unit / np.maximum(count, 1)[:, None]).T
            result: Scores = np.where(count > 0, found, -1.0)
            return result

        if known.single:
            return cosines(truth)
        share = truth.mean(0)
        margin: Scores = np.where(share == 0, -2.0, np.where(share == 1, 2.0, cosines(truth) - cosines(1 - truth)))
        return margin

    def linear(self, known: Vectors, setting: float | None) -> LinearMap:
        centre, truth = known.x.mean(0, dtype=np.float64), known.truth.astype(np.float64)
        unit, count = unit_rows(known.x - centre), truth.sum(0)
        weight = unit_rows(truth.T @ unit)
        if not known.single:
            weight = weight - unit_rows((1 - truth).T @ unit)
        certain = _CERTAIN * ((count == len(truth)) * 1.0 - (count == 0))
        return LinearMap(_SHARPNESS * np.where(certain[:, None] == 0, weight, 0.0), certain, centre, unit=True)


@dataclass(frozen=True)
class LogisticConfig(ShallowConfig):
    """Logistic regression on standardised vectors, solved to the optimum (L-BFGS); one a class for several labels.

    Attributes:
        strengths: inverse strengths C of the L2 penalty; validation clips choose.
    """

    strengths: tuple[Positive, ...] = (1e-3, 1e-2, 1e-1, 1.0, 10.0)

    def settings(self) -> tuple[float, ...]:
        return self.strengths

    def space(self, known: NDArray[np.float32]) -> Callable[[NDArray[np.floating]], NDArray[np.floating]]:
        return standardised(known)

    def solve(self, known: Vectors, x: NDArray[np.floating], setting: float | None) -> Scores:
        # Probabilities; a class that no known clip has gets 0, one that all have gets 1.
        model = LogisticRegression(C=setting or 1.0, tol=_TOLERANCE, max_iter=2000)
        result = np.zeros((len(x), known.truth.shape[1]))
        if known.single:
            present = np.unique(known.numbers)
            if len(present) == 1:
                result[:, present[0]] = 1.0
                return result
            result[:, present] = model.fit(known.x, known.numbers).predict_proba(x)
            return result
        share = known.truth.mean(0)
        result[:, share == 1] = 1.0
        varied = np.flatnonzero((share > 0) & (share < 1))
        if len(varied):
            fitted = OneVsRestClassifier(model).fit(known.x, known.truth[:, varied].astype(int))
            found = fitted.predict_proba(x)
            result[:, varied] = found[:, -1:] if len(varied) == 1 else found
        return result

    def linear(self, known: Vectors, setting: float | None) -> LinearMap:
        space, centre = self.space(known.x), known.x.mean(0, dtype=np.float64)
        mapped, middle, D = space(known.x), space(centre[None])[0], known.x.shape[1]
        # `space` is affine: what it makes of the unit vectors says what it makes of every vector.
        turn = space(np.eye(D)) - space(np.zeros((1, D)))
        model = LogisticRegression(C=setting or 1.0, tol=_TOLERANCE, max_iter=2000)
        count = known.truth.sum(0)
        varied = np.flatnonzero((count > 0) & (count < len(known.x)))
        weight, bias = np.zeros((len(count), D)), np.where(count == 0, -_CERTAIN, _CERTAIN)

        def solved(labels: NDArray[np.generic]) -> tuple[Scores, Scores]:
            fitted = model.fit(mapped, labels)
            return fitted.coef_ @ turn.T, fitted.intercept_ + fitted.coef_ @ middle

        if known.single and len(varied) == 2:
            # The solver gives the second of two classes alone, against zeros.
            bias[varied[0]] = 0.0
            weight[varied[1:]], bias[varied[1:]] = solved(known.numbers)
        elif known.single and len(varied):
            weight[varied], bias[varied] = solved(known.numbers)
        else:
            for c in varied:
                weight[c], bias[c] = (found[0] for found in solved(known.truth[:, c].astype(int)))
        return LinearMap(weight, bias, centre)


@dataclass(frozen=True)
class RidgeConfig(ShallowConfig):
    """Ridge regression of the class indicators (+-1) on standardised vectors, in closed form.

    Attributes:
        strengths: penalties, in units of the number of known clips; validation clips choose.
    """

    strengths: tuple[Positive, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)

    def settings(self) -> tuple[float, ...]:
        return self.strengths

    def space(self, known: NDArray[np.float32]) -> Callable[[NDArray[np.floating]], NDArray[np.floating]]:
        return standardised(known)

    def solve(self, known: Vectors, x: NDArray[np.floating], setting: float | None) -> Scores:
        model = Ridge(alpha=(setting or 1.0) * len(known.x))
        model.fit(known.x, known.truth * 2.0 - 1.0)
        found: Scores = np.asarray(model.predict(x), dtype=np.float64).reshape(len(x), -1)
        return found


def standardised(known: NDArray[np.floating]) -> Callable[[NDArray[np.floating]], NDArray[np.floating]]:
    """Return the map from vectors `(n, D)` to standardised ones, rotated where there are more columns than known clips.

    A linear model with an L2 penalty has its weights in the span of the known vectors: in an orthonormal base of it,
    of as many columns as there are known clips, its predictions are the same.

    Args:
        known: `(n, D)` vectors of the known clips; mean and deviation of each column are theirs.
    """
    scaler = StandardScaler().fit(known)

    def standard(x: np.ndarray) -> np.ndarray:
        # In float64: the solver's tolerance is below the steps of float32.
        return np.asarray(scaler.transform(x), dtype=np.float64)

    if len(known) >= known.shape[1]:
        return standard
    z = standard(known)
    # By the products of the clips, several times faster than by the vectors themselves.
    spread, turned = np.linalg.eigh(z @ z.T)
    kept = spread > spread[-1] * _FLAT
    if not kept.any():
        return standard
    base = (z.T @ turned[:, kept]) / np.sqrt(spread[kept])
    return lambda x: standard(x) @ base


SHALLOW_CLASSIFIERS: dict[str, ShallowConfig] = {
    "knn": KnnConfig(),
    "centroid": CentroidConfig(),
    "logistic": LogisticConfig(),
    "ridge": RidgeConfig(),
}


def _validate(scores: Scores, valid: Vectors, metric: str) -> float | None:
    if not valid.truth.any():
        return None
    targets = torch.from_numpy(valid.numbers if valid.single else valid.truth)
    validate(metric, targets)
    value = float(score(torch.from_numpy(scores)[None], targets, metric)[0])
    return value if math.isfinite(value) else None


def _rank(value: float | None) -> float:
    return -math.inf if value is None else value
