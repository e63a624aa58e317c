"""Answers of the tasks on clip vectors: against scikit-learn, under weights, on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, roc_auc_score

from auricle.errors import ConfigError, CorpusError
from auricle.results.predictions import TaskPredictions, load_predictions, save_predictions
from auricle.results.scoring import compare_predictions, score
from auricle.tasks.anomaly.answers import AnomalyPredictions
from auricle.tasks.anomaly.rule import AnomalyRule
from auricle.tasks.clustering.answers import ClusteringPredictions
from auricle.tasks.clustering.rule import ClusteringRule
from auricle.tasks.retrieval.answers import MEASURED, RetrievalPredictions
from auricle.tasks.verification.answers import VerificationPredictions
from auricle.tasks.verification.rule import VerificationRule

N = 60


def base(seed: int = 0) -> dict:
    return {
        "names": np.array([f"unit {i}" for i in range(N)]),
        "group": np.array([f"group {i % 12}" for i in range(N)]),
        "fold": np.zeros(N, dtype=np.int64),
        "seeds": (0,),
    }


def verification(noise: float = 1.0) -> VerificationPredictions:
    generator = np.random.default_rng(3)
    target = np.arange(N) % 3 == 0
    scores = target + noise * generator.normal(size=(1, N))
    return VerificationPredictions(**base(), target=target, scores=scores, target_prior=0.05)


def clustering(seed: int = 0) -> ClusteringPredictions:
    truth = np.arange(N) % 4
    moved = np.random.default_rng(seed).random((2, N)) < 0.3
    clusters = np.where(moved, np.random.default_rng(seed + 1).integers(0, 5, (2, N)), truth)
    return ClusteringPredictions(
        **base() | {"seeds": (0, 1)}, truth=truth, clusters=clusters, classes=("a", "b", "c", "d")
    )


def anomaly() -> AnomalyPredictions:
    generator = np.random.default_rng(5)
    strange, model = np.arange(N) % 2 == 0, np.arange(N) // 30
    scores = strange + generator.normal(size=(1, N)) + 5 * model
    return AnomalyPredictions(
        **base(), anomalous=strange, scores=scores, model=model, models=("fan", "pump"), max_false_positives=0.1
    )


def retrieval() -> RetrievalPredictions:
    values = np.random.default_rng(6).random((1, N, len(MEASURED)))
    return RetrievalPredictions(**base(), relevant=np.full(N, 3), values=values)


EACH = [verification, clustering, anomaly, retrieval]


@pytest.mark.parametrize("make", EACH)
def test_weights_count_units(make) -> None:
    """Weights are multiplicities: drawing a unit twice equals having it twice."""
    predictions: TaskPredictions = make()
    weights = np.random.default_rng(1).integers(0, 3, N).astype(float)
    rows = np.repeat(np.arange(N), weights.astype(int))
    changes = {name: np.take(getattr(predictions, name), rows, axis=axis) for name, axis in predictions._axes().items()}
    changes["names"] = np.array([f"copy {i}" for i in range(len(rows))])
    repeated = replace(predictions, **changes)
    for metric in predictions.metrics:
        expected = repeated.measure(metric, np.ones((1, len(rows))))
        np.testing.assert_allclose(predictions.measure(metric, weights[None]), expected, atol=1e-12, err_msg=metric)


@pytest.mark.parametrize("make", EACH)
def test_answers_travel_and_can_be_reordered(make, tmp_path: Path) -> None:
    predictions = make()
    save_predictions(tmp_path / "a.npz", predictions)
    back = load_predictions(tmp_path / "a.npz")
    assert type(back) is type(predictions)
    for name, array in predictions.arrays().items():
        np.testing.assert_array_equal(back.arrays()[name], array, err_msg=name)
    order = np.random.default_rng(0).permutation(N)
    mixed = predictions.reorder(predictions.names[order])
    assert not predictions.same_truth(mixed) or len(set(predictions.truth_fields)) == 1
    assert compare_predictions(predictions, mixed, predictions.metrics[0]).value == pytest.approx(0)
    found = score(predictions, predictions.metrics[0])
    assert found.interval.low <= found.value <= found.interval.high
    assert "12 test sources" in found.interval.method
    with pytest.raises(CorpusError, match="share 0"):
        predictions.reorder(np.array([f"other {i}" for i in range(N)]))


def test_clusters_agree_with_scikit_learn() -> None:
    predictions = clustering()
    ones = np.ones((1, N))
    for seed, clusters in enumerate(predictions.clusters):
        assert predictions.measure("ari", ones)[seed, 0] == pytest.approx(
            adjusted_rand_score(predictions.truth, clusters)
        )
        expected = normalized_mutual_info_score(predictions.truth, clusters)
        assert predictions.measure("nmi", ones)[seed, 0] == pytest.approx(expected)
        counts = [np.bincount(predictions.truth[clusters == k]).max() for k in np.unique(clusters)]
        assert predictions.measure("purity", ones)[seed, 0] == pytest.approx(sum(counts) / N)
    one = replace(predictions, clusters=np.zeros((2, N), dtype=np.int64))
    assert one.measure("ari", ones)[0, 0] == pytest.approx(adjusted_rand_score(predictions.truth, np.zeros(N)))
    assert one.measure("nmi", ones)[0, 0] == pytest.approx(0)


def test_strangeness_of_different_models_is_not_mixed() -> None:
    predictions = anomaly()
    each = [
        roc_auc_score(predictions.anomalous[predictions.model == m], predictions.scores[0][predictions.model == m])
        for m in (0, 1)
    ]
    assert predictions.measure("auc", np.ones((1, N)))[0, 0] == pytest.approx(np.mean(each))
    part = [
        roc_auc_score(
            predictions.anomalous[predictions.model == m], predictions.scores[0][predictions.model == m], max_fpr=0.1
        )
        for m in (0, 1)
    ]
    assert predictions.measure("pauc", np.ones((1, N)))[0, 0] == pytest.approx(np.mean(part))
    assert predictions.detail()["per_class"]["pump"]["auc"] == pytest.approx(each[1])
    only = np.where(predictions.model == 1, 1.0, 0.0)
    assert predictions.measure("auc", only[None])[0, 0] == pytest.approx(each[1])


def test_curve_of_errors_starts_and_ends_where_it_should() -> None:
    curve = verification().detail()["details"]["det_curve"]
    assert (curve[0]["false_alarm"], curve[0]["miss"]) == (0, 1)
    assert (curve[-1]["false_alarm"], curve[-1]["miss"]) == (1, 0)
    clear = verification(noise=0.01)
    assert clear.measure("eer", np.ones((1, N)))[0, 0] == 0


def test_what_can_not_be_is_refused() -> None:
    predictions = verification()
    with pytest.raises(CorpusError, match="occur twice"):
        replace(predictions, names=np.full(N, "same"))
    bad = predictions.scores.copy()
    bad[0, 3] = np.nan
    with pytest.raises(ConfigError, match="1 numbers in scores are not finite"):
        replace(predictions, scores=bad)
    with pytest.raises(CorpusError, match="target has 5 entries for 60"):
        replace(predictions, target=predictions.target[:5])
    with pytest.raises(CorpusError, match="can't be compared"):
        compare_predictions(predictions, clustering(), "eer")
    for make in (
        lambda: VerificationRule(made=1),
        lambda: VerificationRule(target_prior=1.0),
        lambda: ClusteringRule(clusters=1),
        lambda: AnomalyRule(max_false_positives=0.0),
    ):
        with pytest.raises(ConfigError, match="expected"):
            make()
