"""Nearest neighbours against scikit-learn and a loop."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from auricle.errors import ConfigError
from auricle.metrics.knn import knn_scores


def blobs(seed: int = 0, clips: int = 90) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = np.arange(clips) % 3
    return np.eye(8)[labels] * 1.5 + generator.normal(size=(clips, 8)), labels


def test_agrees_with_sklearn_under_the_same_weights() -> None:
    train, labels = blobs()
    test, _ = blobs(1)

    def vote(distance: np.ndarray) -> np.ndarray:
        return (2 - distance) / 2

    oracle = KNeighborsClassifier(10, metric="cosine", weights=vote, algorithm="brute").fit(train, labels)
    np.testing.assert_allclose(knn_scores(train, labels, test), oracle.predict_proba(test), atol=1e-9)


def test_length_of_vectors_does_not_matter() -> None:
    train, labels = blobs()
    scale = np.random.default_rng(2).uniform(0.1, 10, (90, 1))
    np.testing.assert_allclose(knn_scores(train * scale, labels, train), knn_scores(train, labels, train), atol=1e-9)


def test_label_sets_and_more_neighbours_than_clips() -> None:
    scores = knn_scores(np.eye(2), np.array([[1, 1, 0], [0, 1, 0]]), np.array([[1.0, 0.0]]), k=10)
    np.testing.assert_allclose(scores, [[2 / 3, 1.0, 0.0]])


def test_zero_vectors_are_similar_to_nothing() -> None:
    assert np.isfinite(knn_scores(np.zeros((2, 3)), np.array([0, 1]), np.zeros((1, 3)))).all()


@pytest.mark.parametrize(
    "call",
    [
        lambda: knn_scores(np.ones((2, 3)), np.array([0, 1]), np.ones((1, 4))),
        lambda: knn_scores(np.ones((2, 3)), np.array([0]), np.ones((1, 3))),
        lambda: knn_scores(np.ones((2, 3)), np.array([0, 1]), np.ones((1, 3)), k=0),
        lambda: knn_scores(np.full((2, 3), np.nan), np.array([0, 1]), np.ones((1, 3))),
    ],
)
def test_wrong_input_is_refused(call) -> None:
    with pytest.raises(ConfigError):
        call()
