from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from auricle.errors import ConfigError
from auricle.metrics.answers import answer_accuracy, answer_hits, normalise_answer
from auricle.metrics.clustering import (
    adjusted_rand_index,
    adjusted_rand_index_resampled,
    cluster_purity,
    cluster_purity_resampled,
    normalised_mutual_information,
    normalised_mutual_information_resampled,
)
from auricle.metrics.segmentation import intersection_over_union, mean_intersection_over_union

CLUSTERINGS = {
    "ari": (adjusted_rand_index, adjusted_rand_index_resampled),
    "nmi": (normalised_mutual_information, normalised_mutual_information_resampled),
    "purity": (cluster_purity, cluster_purity_resampled),
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
    plain, resampled = CLUSTERINGS[name]
    generator = np.random.default_rng(1)
    truth, clusters = generator.integers(0, 3, 20), generator.integers(0, 4, 20)
    times = generator.integers(0, 3, (8, 20))
    times[0] = 1
    times[1] = np.arange(20) == 4
    times[2] = 0
    found = resampled(truth, clusters, times)
    for value, row in zip(found, times, strict=True):
        expected = plain(np.repeat(truth, row), np.repeat(clusters, row))
        assert value == pytest.approx(expected, abs=1e-12, nan_ok=True)


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


def test_answers() -> None:
    assert normalise_answer(" The  Dog, barks! ") == "dog barks"
    assert normalise_answer("theatre") == "theatre"
    hits = answer_hits(["a dog", ("Yes", "yeah"), "two", ""], ["Dog.", "yeah!", "three", ""])
    assert hits.tolist() == [1, 1, 0, 1]
    assert answer_accuracy(["a dog", "two"], ["dog", ""]) == 0.5


def test_what_is_empty_has_a_defined_result() -> None:
    nothing = np.array([], dtype=int)
    for plain, resampled in CLUSTERINGS.values():
        assert math.isnan(plain(nothing, nothing))
        assert np.isnan(resampled(nothing, nothing, np.ones((2, 0)))).all()
    assert math.isnan(mean_intersection_over_union(nothing, nothing, 3))
    assert math.isnan(mean_intersection_over_union(np.array([9]), np.array([0]), 3, ignore=9))
    assert math.isnan(answer_accuracy([], []))


def test_bad_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="shape"):
        adjusted_rand_index(np.ones(2), np.ones(3))
    with pytest.raises(ConfigError, match="2 clips have a negative cluster"):
        cluster_purity(np.zeros(3), np.array([-1, -1, 0]))
    with pytest.raises(ConfigError, match="one per clip"):
        adjusted_rand_index_resampled(np.zeros(3), np.zeros(3), np.ones((1, 2)))
    with pytest.raises(ConfigError, match="expected 0 to 2 - 1"):
        mean_intersection_over_union(np.array([2]), np.array([0]), 2)
    with pytest.raises(ConfigError, match="2 questions, 1 answers"):
        answer_hits(["a", "b"], ["a"])
    with pytest.raises(ConfigError, match="question 0 has right answers"):
        answer_hits([[]], ["a"])
