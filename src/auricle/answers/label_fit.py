"""Detectors of labelling: logistic regression on the vectors of a library, solved and applied in seconds."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from auricle.answers.library import Library

Floats = NDArray[np.float32]
# Inverse strength of the penalty, for vectors standardised over the library and divided by the root of their width.
# Chosen on esc50_dev20, arabic_commands and drum_oneshots by `benchmarks/labelling.py --choose`.
STRENGTH = 10.0
_SAMPLE = 10_000  # vectors that mean and deviation are of, at most
_CHUNK = 50_000  # vectors scored at once


@dataclass(frozen=True)
class Scale:
    """Mean and deviation of a library's vectors, `(D,)` each; columns that do not vary have deviation infinity."""

    mean: Floats
    deviation: Floats

    @classmethod
    def of(cls, library: Library, ids: NDArray[np.int64]) -> Scale:
        """Measure a library on a seeded sample of its rows."""
        chosen = ids
        if len(ids) > _SAMPLE:
            chosen = np.sort(np.random.default_rng(0).choice(ids, _SAMPLE, replace=False))
        vectors = library.vectors(chosen.tolist()).astype(np.float32)
        deviation = vectors.std(0)
        deviation[deviation < 1e-6 * max(1e-6, float(deviation.max()))] = np.inf
        return cls(vectors.mean(0), deviation * np.float32(np.sqrt(vectors.shape[1])))

    def __call__(self, vectors: NDArray[np.floating]) -> Floats:
        scaled: Floats = (vectors.astype(np.float32) - self.mean) / self.deviation
        return scaled


@dataclass(frozen=True)
class Detectors:
    """Detectors of some classes and what they find in the library.

    Attributes:
        scores: of each class `(n,)` float32 in 0 ... 1, the model's probability; not calibrated: labels are chosen.
        positives: labels with each class that it was fitted on.
        negatives: those without it.
        labels: event of the last label that was known; 0: none.
        seconds: that fitting and scoring took.
    """

    scores: dict[str, Floats]
    positives: dict[str, int]
    negatives: dict[str, int]
    labels: int
    seconds: float


def fit_detectors(
    library: Library,
    ids: NDArray[np.int64],
    scale: Scale,
    examples: dict[str, tuple[NDArray[np.int64], NDArray[np.bool_]]],
    labels: int,
) -> Detectors:
    """Fit a detector to each class and score the whole library with all of them, in one pass.

    Args:
        library: of the vectors.
        ids: `(n,)` of its rows.
        scale: of its vectors.
        examples: of each class, the ids of labelled rows and whether the class is there: of both kinds at least one.
        labels: event of the last label.
    """
    begun = time.perf_counter()
    weights = np.empty((len(scale.mean), len(examples)), dtype=np.float32)
    offsets = np.empty(len(examples), dtype=np.float32)
    for column, (rows, truth) in enumerate(examples.values()):
        model = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=2000)
        model.fit(scale(library.vectors(rows.tolist())), truth)
        # With the scale in it: vectors are multiplied once, as they are.
        weights[:, column] = model.coef_[0] / scale.deviation
        offsets[column] = model.intercept_[0] - scale.mean @ weights[:, column]
    scores = np.empty((len(examples), len(ids)), dtype=np.float32)
    for first in range(0, len(ids), _CHUNK):
        vectors = library.vectors(ids[first : first + _CHUNK].tolist()).astype(np.float32)
        scores[:, first : first + _CHUNK] = expit(vectors @ weights + offsets).T
    positives = {name: int(truth.sum()) for name, (_, truth) in examples.items()}
    negatives = {name: int((~truth).sum()) for name, (_, truth) in examples.items()}
    found = dict(zip(examples, scores, strict=True))
    return Detectors(found, positives, negatives, labels, time.perf_counter() - begun)
