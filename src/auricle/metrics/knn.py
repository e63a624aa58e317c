"""Nearest neighbours on clip vectors."""

from __future__ import annotations

import numpy as np

from auricle.errors import ConfigError
from auricle.metrics.weights import Floats


def knn_scores(
    train_vectors: np.ndarray,
    train_labels: np.ndarray,
    test_vectors: np.ndarray,
    k: int = 10,
    classes: int | None = None,
) -> Floats:
    """Return each class's share of votes among the k most similar training clips.

    A neighbour's vote weighs (1 + cosine) / 2, so that nearness breaks ties between classes.

    Args:
        train_vectors: `(n, D)`.
        train_labels: `(n,)` class numbers, or `(n, C)` zeros and ones.
        test_vectors: `(m, D)`.
        k: number of neighbours, fixed beforehand; n if there are fewer.
        classes: C for class numbers; None: the largest number + 1.

    Returns:
        `(m, C)`, rows of single-label votes sum to 1.

    Raises:
        ConfigError: shapes disagree, no training clips, k < 1, or a vector is not finite.
    """
    train, test = np.asarray(train_vectors, dtype=np.float64), np.asarray(test_vectors, dtype=np.float64)
    labels = np.asarray(train_labels)
    if train.ndim != 2 or test.ndim != 2 or train.shape[1] != test.shape[1] or len(labels) != len(train):
        raise ConfigError(
            f"training vectors {train.shape}, labels {labels.shape}, test vectors {test.shape}; "
            "expected (n, D), (n,) or (n, C), and (m, D)"
        )
    if k < 1 or not len(train):
        raise ConfigError(f"k = {k} neighbours among {len(train)} training clips; expected at least 1 of each")
    if not (np.isfinite(train).all() and np.isfinite(test).all()):
        raise ConfigError("a clip vector is not finite; the encoder has diverged")
    if labels.ndim == 1:
        count = int(labels.max()) + 1 if classes is None else classes
        votes = np.eye(count)[labels.astype(np.int64)]
    else:
        votes = labels.astype(np.float64)
    similarity = _unit(test) @ _unit(train).T
    k = min(k, len(train))
    # A stable full sort, so that equal neighbours are taken in the order of the table on every machine.
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    weight = (1 + np.take_along_axis(similarity, nearest, axis=1)) / 2
    weight /= np.maximum(weight.sum(1, keepdims=True), 1e-12)
    scores: Floats = np.einsum("mk,mkc->mc", weight, votes[nearest])
    return scores


def _unit(vectors: Floats) -> Floats:
    """Rows of length 1; a zero vector stays zero, similar to nothing."""
    unit: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit
