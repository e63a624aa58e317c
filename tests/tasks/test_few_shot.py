"""Episodes: sizes, sources apart, the same draws again, and what can't be drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auricle.errors import ConfigError, CorpusError
from auricle.results.predictions import load_predictions, save_predictions
from auricle.results.scoring import compare_predictions, score
from auricle.tasks.few_shot.answers import EpisodePredictions
from auricle.tasks.few_shot.episodes import draw_episodes
from auricle.tasks.few_shot.rule import FewShotRule


def answers(said: np.ndarray, truth: np.ndarray) -> EpisodePredictions:
    count = len(truth)
    return EpisodePredictions(
        names=np.array([f"e{i}" for i in range(count)]),
        group=np.array([f"e{i}" for i in range(count)]),
        fold=np.zeros(count, dtype=np.int64),
        seeds=tuple(range(len(said))),
        classes=("a", "b", "c"),
        truth=truth.astype(np.int32),
        said=said.astype(np.int32),
        ways=2,
        shots=1,
    )


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 99),
    speakers=st.integers(4, 9),
    ways=st.integers(2, 4),
    shots=st.integers(1, 3),
    across=st.booleans(),
)
def test_no_source_stands_on_both_sides(seed: int, speakers: int, ways: int, shots: int, across: bool) -> None:
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(5), 24)
    # Speakers say every word; a recording holds one kind of sound.
    sources = generator.permutation(np.arange(120) % speakers)
    groups = np.array([f"{s}" if across else f"{c}-{s}" for c, s in zip(labels, sources, strict=True)])
    rule = FewShotRule(ways=ways, shots=shots, queries=2, episodes=20)
    drawn = draw_episodes(labels, groups, rule, np.random.default_rng(seed))
    again = draw_episodes(labels, groups, rule, np.random.default_rng(seed))
    assert len(drawn) == 20
    for classes, support, query, same in zip(drawn.classes, drawn.support, drawn.query, again.query, strict=True):
        assert len(set(classes.tolist())) == ways
        assert support.shape == (ways, shots)
        assert query.shape == (ways, 2)
        np.testing.assert_array_equal(query, same)
        assert len(set(support.ravel().tolist())) == ways * shots
        assert len(set(query.ravel().tolist())) == ways * 2
        for c, s, q in zip(classes, support, query, strict=True):
            assert set(labels[s].tolist()) == set(labels[q].tolist()) == {c}
        assert not set(groups[support.ravel()].tolist()) & set(groups[query.ravel()].tolist())


def test_every_class_and_clip_gets_its_turn() -> None:
    labels = np.repeat(np.arange(6), 20)
    drawn = draw_episodes(labels, np.arange(120).astype(str), FewShotRule(episodes=300), np.random.default_rng(0))
    share = np.bincount(drawn.classes.ravel(), minlength=6) / 300
    np.testing.assert_allclose(share, 5 / 6, atol=0.1)
    assert len(np.unique(drawn.query)) == len(np.unique(drawn.support)) == 120


def test_what_can_not_be_drawn_is_refused() -> None:
    labels = np.repeat(np.arange(5), 12)
    sources = np.arange(60).astype(str)
    with pytest.raises(
        CorpusError, match=r"0 classes have 5 \+ 10 clips.*'ant' has 12 clips of 12 sources.*--rule\.ways"
    ):
        draw_episodes(labels, sources, FewShotRule(), np.random.default_rng(0), ("ant", "bee", "cow", "dog", "eel"))
    one_source_each = np.repeat(np.arange(5), 12).astype(str)
    with pytest.raises(CorpusError, match="from at least 2 sources"):
        draw_episodes(labels, one_source_each, FewShotRule(queries=2), np.random.default_rng(0))
    # Two speakers say everything; the one who teaches has too few clips of each word for eight shots.
    lopsided = np.where(np.arange(60) % 12 < 6, "ann", "bob")
    with pytest.raises(CorpusError, match="no source stands on both sides"):
        draw_episodes(labels, lopsided, FewShotRule(shots=7, queries=5), np.random.default_rng(0))


def test_accuracy_and_its_interval_over_episodes(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    truth = np.tile([0, 0, 1, 1], (200, 1))
    right = generator.random((1, 200, 4)) < 0.7
    found = answers(np.where(right, truth, 1 - truth), truth)
    scores = score(found, "accuracy")
    each = right[0].mean(1)
    assert scores.value == pytest.approx(each.mean())
    half = 1.96 * each.std() / np.sqrt(200)
    assert scores.interval.low == pytest.approx(each.mean() - half, abs=0.008)
    assert scores.interval.high == pytest.approx(each.mean() + half, abs=0.008)
    assert scores.detail["details"]["few_shot"]["chance"] == 0.5
    recall = scores.detail["per_class"]["a"]["recall"]
    assert recall == pytest.approx(right[0][:, :2].mean())
    assert scores.detail["per_class"]["c"]["recall"] is None
    save_predictions(tmp_path / "a.npz", found)
    back = load_predictions(tmp_path / "a.npz")
    assert isinstance(back, EpisodePredictions)
    np.testing.assert_array_equal(back.said, found.said)
    assert (back.classes, back.ways, back.seeds) == (found.classes, 2, (0,))
    better = answers(np.where(right | (generator.random(right.shape) < 0.3), truth, 1 - truth), truth)
    assert compare_predictions(better, back, "accuracy").interval.low > 0
    with pytest.raises(ConfigError, match="macro_f1"):
        score(found, "macro_f1")
