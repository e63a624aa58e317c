"""Readers without a training loop: against closed forms and loops, and on what can't be learnt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from auricle.errors import ConfigError
from auricle.tasks.shallow import (
    SHALLOW_CLASSIFIERS,
    CentroidConfig,
    LogisticConfig,
    RidgeConfig,
    ShallowConfig,
    Vectors,
)


def made(clips: int = 40, classes: int = 3, *, single: bool = True, seed: int = 0) -> Vectors:
    generator = np.random.default_rng(seed)
    if single:
        truth = np.eye(classes, dtype=bool)[np.arange(clips) % classes]
    else:
        truth = generator.random((clips, classes)) < 0.4
    centres = np.random.default_rng(99).normal(size=(classes, 6)) * 2
    x = truth @ centres + generator.normal(size=(clips, 6))
    return Vectors(x.astype(np.float32), truth, single)


@pytest.mark.parametrize("name", list(SHALLOW_CLASSIFIERS))
@pytest.mark.parametrize("single", [True, False])
def test_each_reader_learns(name: str, single: bool) -> None:
    train, valid, test = (made(single=single, seed=s) for s in range(3))
    scores, chosen = SHALLOW_CLASSIFIERS[name].fit_predict(train, valid, test.x)
    assert scores.shape == (40, 3)
    if single:
        assert (scores.argmax(1) == test.numbers).mean() > 0.8
    else:
        right = [np.mean(scores[test.truth[:, c], c]) > np.mean(scores[~test.truth[:, c], c]) for c in range(3)]
        assert all(right)
    if SHALLOW_CLASSIFIERS[name].settings():
        assert chosen["setting"] in SHALLOW_CLASSIFIERS[name].settings()
        assert len(chosen["tried"]) == len(SHALLOW_CLASSIFIERS[name].settings())
        assert chosen["validation"] == max(t["validation"] for t in chosen["tried"])


def test_ridge_is_the_closed_form() -> None:
    train, test = made(seed=0), made(seed=1)
    found = RidgeConfig().scores(train, test.x, 0.1)
    x = train.x.astype(np.float64)
    mean, std = x.mean(0), x.std(0)
    z, y = (x - mean) / std, train.truth * 2.0 - 1
    w = np.linalg.solve(z.T @ z + 0.1 * len(z) * np.eye(6), z.T @ (y - y.mean(0)))
    np.testing.assert_allclose(found, ((test.x - mean) / std) @ w + y.mean(0), rtol=1e-4, atol=1e-5)


def wide(clips: int, seed: int, *, single: bool = True) -> Vectors:
    """More columns than clips, some of them equal or constant."""
    own = made(clips, single=single, seed=seed)
    mix = np.random.default_rng(7).normal(size=(6, 90))
    x = own.x @ mix + np.random.default_rng(seed + 50).normal(size=(clips, 90)) * 3
    x[:, 80:85], x[:, 85:] = x[:, :1], 2.0
    return Vectors(x.astype(np.float32), own.truth, single)


@pytest.mark.parametrize("strength", [1e-3, 1.0, 10.0])
@pytest.mark.parametrize("single", [True, False])
def test_wide_vectors_are_rotated_without_changing_a_prediction(strength: float, single: bool) -> None:
    train, test = wide(40, 0, single=single), wide(25, 1, single=single)
    x, asked = train.x.astype(np.float64), test.x.astype(np.float64)
    spread = np.where(x.std(0) > 0, x.std(0), 1)
    z, q = (x - x.mean(0)) / spread, (asked - x.mean(0)) / spread
    # An independent solver, to a tight tolerance, on all 90 columns.
    plain = LogisticRegression(C=strength, solver="newton-cg", tol=1e-10, max_iter=10_000)
    if single:
        expected = plain.fit(z, train.numbers).predict_proba(q)
    else:
        expected = np.stack([plain.fit(z, c).predict_proba(q)[:, 1] for c in train.truth.T], 1)
    np.testing.assert_allclose(LogisticConfig().scores(train, test.x, strength), expected, atol=2e-3)
    w = np.linalg.solve(z.T @ z + strength * 40 * np.eye(90), z.T @ (train.truth * 2.0 - (train.truth * 2.0).mean(0)))
    ridge = RidgeConfig().scores(train, test.x, strength)
    np.testing.assert_allclose(ridge, q @ w + (train.truth * 2.0 - 1).mean(0), rtol=1e-4, atol=1e-5)


def test_vectors_have_as_many_columns_as_known_clips_at_most() -> None:
    train = wide(40, 0)
    assert LogisticConfig().space(train.x)(train.x).shape == (40, 39)  # centred
    assert RidgeConfig().space(train.x)(wide(7, 1).x).shape == (7, 39)
    assert RidgeConfig().space(made().x)(made().x).shape == (40, 6)


def test_centroid_is_the_loop() -> None:
    train, test = made(seed=0), made(seed=1)
    found = CentroidConfig().scores(train, test.x, None)
    centre = train.x.mean(0)
    unit = [(v - centre) / np.linalg.norm(v - centre) for v in train.x]
    for i, v in enumerate(test.x[:5]):
        for c in range(3):
            m = np.mean([u for u, t in zip(unit, train.truth, strict=True) if t[c]], 0)
            cosine = (v - centre) @ m / np.linalg.norm(v - centre) / np.linalg.norm(m)
            assert found[i, c] == pytest.approx(cosine, abs=1e-5)


def test_classes_without_clips_and_with_all_clips_are_defined() -> None:
    single = made(seed=0)
    lone = Vectors(single.x[single.numbers == 1], single.truth[single.numbers == 1], True)
    np.testing.assert_array_equal(LogisticConfig().scores(lone, single.x, 1.0).argmax(1), 1)
    several = made(single=False)
    truth = several.truth.copy()
    truth[:, 0], truth[:, 1] = True, False
    scores = LogisticConfig().scores(Vectors(several.x, truth, False), several.x, 1.0)
    assert (scores[:, 0] == 1).all()
    assert (scores[:, 1] == 0).all()
    assert 0 < scores[:, 2].min() < scores[:, 2].max() < 1
    empty = CentroidConfig().scores(Vectors(several.x, truth, False), several.x, None)
    assert (empty[:, 1] == -2).all()
    assert (empty[:, 0] == 2).all()


def test_vectors_that_are_not_finite_are_refused() -> None:
    train, valid = made(), made(seed=1)
    x = made(seed=2).x.copy()
    x[3, 1] = np.nan
    with pytest.raises(ConfigError, match="1 test embeddings are not finite"):
        SHALLOW_CLASSIFIERS["knn"].fit_predict(train, valid, x)


@dataclass(frozen=True)
class Threshold(ShallowConfig):
    """The last class where the one number of a clip is above the setting."""

    def settings(self) -> tuple[float, ...]:
        return (9.0, 0.6)

    def solve(self, known: Vectors, x: np.ndarray, setting: float | None) -> np.ndarray:
        return np.stack([x[:, 0] <= setting, x[:, 0] > setting], 1).astype(np.float64)


@pytest.mark.parametrize(
    ("metric", "setting", "validation"),
    [
        ("accuracy", 9.0, 0.9),
        ("balanced_accuracy", 0.6, (65 / 90 + 1) / 2),
        ("macro_f1", 0.6, (2 * 65 / 155 + 20 / 45) / 2),
        (None, 9.0, 0.9),
    ],
)
def test_the_metric_that_is_asked_for_selects(metric: str | None, setting: float, validation: float) -> None:
    """Of 10 rare and 90 usual clips: to name no clip rare, or the rare ones and 25 of the others."""
    rare = np.arange(100) < 10
    x = np.where(rare | (np.arange(100) >= 75), 1.0, 0.0).astype(np.float32)[:, None]
    valid = Vectors(x, np.stack([~rare, rare], 1), True)
    chosen = Threshold().fit_predict(valid, valid, x, metric=metric)[1]
    assert (chosen["setting"], chosen["metric"]) == (setting, metric or "accuracy")
    assert chosen["validation"] == pytest.approx(validation)
