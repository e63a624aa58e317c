from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

from auricle.errors import ConfigError
from auricle.metrics.answers import answer_accuracy, answer_hits, normalise_answer
from auricle.metrics.clustering import adjusted_rand_index, cluster_purity, normalised_mutual_information
from auricle.metrics.segmentation import intersection_over_union, mean_intersection_over_union

CLUSTERINGS = {
    "ari": (adjusted_rand_index, adjusted_rand_score),
    "nmi": (normalised_mutual_information, normalized_mutual_info_score),
    "purity": (cluster_purity, lambda t, c: contingency_matrix(t, c).max(0).sum() / len(t)),
}


def test_rand_index_over_pairs() -> None:
    generator = np.random.default_rng(0)
    truth, clusters = generator.integers(0, 4, 40), generator.integers(0, 3, 40)
    clusters[:20] = truth[:20] % 3
    pairs = list(combinations(range(40), 2))
    true = np.array([truth[i] == truth[j] for i, j in pairs])
    said = np.array([clusters[i] == clusters[j] for i, j in pairs])
    expected = true.mean() * said.mean()
    index = ((true & said).mean() - expected) / ((true.mean() + said.mean()) / 2 - expected)
    assert adjusted_rand_index(truth, clusters) == pytest.approx(index)


def test_mutual_information_and_purity_by_hand() -> None:
    truth, clusters = np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1])
    # Shares 2/4, 1/4, 1/4 of pairs (class, cluster).
    mutual = 0.5 * math.log(0.5 / (0.5 * 0.75)) + 0.25 * math.log(0.25 / (0.5 * 0.75)) + 0.25 * math.log(2)
    entropies = math.log(2) - (0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert normalised_mutual_information(truth, clusters) == pytest.approx(2 * mutual / entropies)
    assert cluster_purity(truth, clusters) == 0.75


@pytest.mark.parametrize("name", CLUSTERINGS)
def test_names_do_not_matter(name: str) -> None:
    plain, _ = CLUSTERINGS[name]
    truth = np.array(["dog", "car", "dog", "cat", "cat"])
    assert plain(truth, np.array([7, 2, 7, 5, 5])) == pytest.approx(1.0)


@pytest.mark.parametrize("name", CLUSTERINGS)
def test_weights_are_repeated_clips(name: str) -> None:
    ours, library = CLUSTERINGS[name]
    generator = np.random.default_rng(1)
    truth, clusters = generator.integers(0, 3, 20), generator.integers(0, 4, 20)
    times = generator.integers(0, 3, (8, 20))
    times[0] = 1
    times[1] = np.arange(20) == 4
    times[2] = 0
    found = ours(truth, clusters, times)
    assert found[0] == ours(truth, clusters)
    assert math.isnan(found[2])
    for r in (0, 1, *range(3, 8)):
        expected = library(np.repeat(truth, times[r]), np.repeat(clusters, times[r]))
        assert found[r] == pytest.approx(expected, abs=1e-12)


def test_overlap_by_hand_and_against_torchmetrics() -> None:
    truth = np.array([0, 0, 0, 1, 1, 2, 9, 9])
    said = np.array([0, 0, 1, 1, 2, 2, 0, 1])
    np.testing.assert_allclose(intersection_over_union(truth, said, 4, ignore=9), [2 / 3, 1 / 3, 1 / 2, math.nan])
    assert mean_intersection_over_union(truth, said, 4, ignore=9) == pytest.approx(0.5)
    jaccard = pytest.importorskip("torchmetrics.functional.classification").multiclass_jaccard_index
    torch = pytest.importorskip("torch")
    generator = np.random.default_rng(2)
    truth, said = generator.integers(0, 5, 300), generator.integers(0, 5, 300)
    expected = float(jaccard(torch.tensor(said), torch.tensor(truth), num_classes=5))
    assert mean_intersection_over_union(truth, said, 5) == pytest.approx(expected, abs=1e-6)


def test_weights_are_repeated_frames() -> None:
    generator = np.random.default_rng(3)
    truth, said = generator.integers(0, 3, 30), generator.integers(0, 3, 30)
    times = generator.integers(0, 3, (4, 30))
    found = mean_intersection_over_union(truth, said, 3, ignore=2, weights=times)
    each = intersection_over_union(truth, said, 3, ignore=2, weights=times)
    for row, value, classes in zip(times, found, each, strict=True):
        picked = np.repeat(truth, row), np.repeat(said, row)
        assert value == pytest.approx(mean_intersection_over_union(*picked, 3, ignore=2))
        np.testing.assert_allclose(classes, intersection_over_union(*picked, 3, ignore=2))


def test_answers() -> None:
    assert normalise_answer(" The  Dog, barks! ") == "dog barks"
    assert normalise_answer("theatre") == "theatre"
    hits = answer_hits(["a dog", ("Yes", "yeah"), "two", ""], ["Dog.", "yeah!", "three", ""])
    assert hits.tolist() == [1, 1, 0, 1]
    assert answer_accuracy(["a dog", "two"], ["dog", ""]) == 0.5
    assert answer_accuracy(["a dog", ("two", "2")], ["dog", ""], np.array([[3, 1]])).tolist() == [0.75]


def test_what_is_empty_has_a_defined_result() -> None:
    nothing = np.array([], dtype=int)
    for ours, _ in CLUSTERINGS.values():
        assert math.isnan(ours(nothing, nothing))
        assert np.isnan(ours(nothing, nothing, np.ones((2, 0)))).all()
    assert math.isnan(mean_intersection_over_union(nothing, nothing, 3))
    assert math.isnan(mean_intersection_over_union(np.array([9]), np.array([0]), 3, ignore=9))
    assert math.isnan(answer_accuracy([], []))


def test_bad_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="shape"):
        adjusted_rand_index(np.ones(2), np.ones(3))
    with pytest.raises(ConfigError, match="2 clips have a negative cluster"):
        cluster_purity(np.zeros(3), np.array([-1, -1, 0]))
    with pytest.raises(ConfigError, match="one column for each unit"):
        adjusted_rand_index(np.zeros(3), np.zeros(3), np.ones((1, 2)))
    with pytest.raises(ConfigError, match="expected 0 to 2 - 1"):
        mean_intersection_over_union(np.array([2]), np.array([0]), 2)
    with pytest.raises(ConfigError, match="2 questions, 1 answers"):
        answer_hits(["a", "b"], ["a"])
    with pytest.raises(ConfigError, match="question 0 has right answers"):
        answer_hits([[]], ["a"])
