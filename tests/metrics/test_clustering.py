from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

from auricle.errors import ConfigError
from auricle.metrics.clustering import adjusted_rand_index, cluster_purity, normalised_mutual_information

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


def test_what_is_empty_has_a_defined_result() -> None:
    nothing = np.array([], dtype=int)
    for ours, _ in CLUSTERINGS.values():
        assert math.isnan(ours(nothing, nothing))
        assert np.isnan(ours(nothing, nothing, np.ones((2, 0)))).all()


def test_bad_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="shape"):
        adjusted_rand_index(np.ones(2), np.ones(3))
    with pytest.raises(ConfigError, match="2 clips have a negative cluster"):
        cluster_purity(np.zeros(3), np.array([-1, -1, 0]))
    with pytest.raises(ConfigError, match="one column for each unit"):
        adjusted_rand_index(np.zeros(3), np.zeros(3), np.ones((1, 2)))
