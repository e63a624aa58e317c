from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, ndcg_score

from auricle.errors import ConfigError
from auricle.metrics.catalogue import METRICS
from auricle.metrics.retrieval import retrieval_of_queries


def test_by_hand() -> None:
    scores = np.array([[0.9, 0.8, 0.7, 0.6], [0.1, 0.2, 0.3, 0.4], [0.5, 0.4, 0.3, 0.2]])
    relevant = np.array([[0, 1, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]])
    each = retrieval_of_queries(scores, relevant, cuts=(1, 2))
    np.testing.assert_array_equal(each["recall_at_1"], [0, 1, math.nan])
    np.testing.assert_array_equal(each["precision_at_2"], [0.5, 0.5, math.nan])
    np.testing.assert_array_equal(each["mrr"], [0.5, 1, math.nan])
    # Relevant at ranks 2 and 4: precisions 1/2 and 2/4; gains 1/log2(3) + 1/log2(5) of 1 + 1/log2(3).
    np.testing.assert_allclose(each["map_retrieval"], [0.5, 1, math.nan])
    gain = (1 / math.log2(3) + 1 / math.log2(5)) / (1 + 1 / math.log2(3))
    np.testing.assert_allclose(each["ndcg"], [gain, 1, math.nan])
    assert retrieval_of_queries(scores, relevant).keys() <= METRICS.keys()


def test_against_torchmetrics() -> None:
    theirs = pytest.importorskip("torchmetrics.functional.retrieval")
    torch = pytest.importorskip("torch")
    generator = np.random.default_rng(0)
    scores, relevant = generator.random((12, 30)), generator.random((12, 30)) < 0.15
    relevant[:, 0] |= ~relevant.any(1)
    ours = retrieval_of_queries(scores, relevant)
    for i in range(12):
        row, good = torch.tensor(scores[i]), torch.tensor(relevant[i])
        for k in (1, 5, 10):
            assert ours[f"recall_at_{k}"][i] == float(theirs.retrieval_hit_rate(row, good, top_k=k))
            assert ours[f"precision_at_{k}"][i] == pytest.approx(float(theirs.retrieval_precision(row, good, top_k=k)))
        assert ours["mrr"][i] == pytest.approx(float(theirs.retrieval_reciprocal_rank(row, good)))
        assert ours["ndcg"][i] == pytest.approx(float(theirs.retrieval_normalized_dcg(row, good)), abs=1e-6)
        assert ours["map_retrieval"][i] == pytest.approx(float(theirs.retrieval_average_precision(row, good)), abs=1e-6)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("depth", [0, 4])
def test_gain_and_precision_are_those_of_sklearn(ties: bool, depth: int) -> None:
    generator = np.random.default_rng(2)
    scores, relevant = generator.random((20, 15)), generator.random((20, 15)) < 0.3
    relevant[:, 0] |= ~relevant.any(1)
    if ties:
        scores = np.round(scores * 3)
    found = retrieval_of_queries(scores, relevant, depth=depth)
    for i, (row, good) in enumerate(zip(scores, relevant, strict=True)):
        assert found["map_retrieval"][i] == pytest.approx(average_precision_score(good, row))
        assert found["ndcg"][i] == pytest.approx(ndcg_score(good[None].astype(float), row[None], k=depth or None))


def test_order_of_items_does_not_matter() -> None:
    generator = np.random.default_rng(3)
    scores, relevant = np.round(generator.random((6, 12)) * 3), generator.random((6, 12)) < 0.4
    order = generator.permutation(12)
    found, moved = retrieval_of_queries(scores, relevant), retrieval_of_queries(scores[:, order], relevant[:, order])
    for name, values in found.items():
        np.testing.assert_allclose(moved[name], values, err_msg=name)


def test_excluded_items_are_as_if_they_were_not_there() -> None:
    generator = np.random.default_rng(1)
    scores = generator.random((8, 8))
    labels = np.array([0, 0, 1, 1, 2, 2, 0, 3])
    relevant = labels[:, None] == labels[None, :]
    np.fill_diagonal(scores, math.nan)
    found = retrieval_of_queries(scores, relevant, np.eye(8, dtype=bool))
    for i in range(8):
        rest = np.arange(8) != i
        alone = retrieval_of_queries(scores[i : i + 1, rest], relevant[i : i + 1, rest])
        for name, values in found.items():
            np.testing.assert_array_equal(values[i], alone[name][0], name)
    assert math.isnan(found["mrr"][7])


def test_one_vector_for_all_earns_nothing() -> None:
    relevant = np.zeros((1, 20), dtype=bool)
    relevant[0, :3] = True
    found = retrieval_of_queries(np.ones((1, 20)), relevant)
    assert found["recall_at_10"] == 0.0
    assert found["precision_at_10"] == 0.0
    assert found["mrr"] == pytest.approx(1 / 18)
    assert found["map_retrieval"] == pytest.approx(3 / 20)


def test_what_is_empty_has_a_defined_result() -> None:
    for shape in ((0, 5), (3, 5), (3, 0)):
        assert all(np.isnan(v).all() for v in retrieval_of_queries(np.zeros(shape), np.zeros(shape)).values())
    assert all(v.tolist() == [1.0] for v in retrieval_of_queries(np.ones((1, 1)), np.ones((1, 1))).values())


def test_bad_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected \\(q, m\\)"):
        retrieval_of_queries(np.ones((2, 3)), np.ones((3, 2)))
    with pytest.raises(ConfigError, match="other than 0 and 1"):
        retrieval_of_queries(np.ones((2, 3)), np.full((2, 3), 2))
    with pytest.raises(ConfigError, match="1 of 6 scores are not finite"):
        retrieval_of_queries(np.array([[1, 2, math.nan], [1, 2, 3]]), np.ones((2, 3)))
    with pytest.raises(ConfigError, match="the first 0 items"):
        retrieval_of_queries(np.ones((2, 3)), np.ones((2, 3)), cuts=(0,))
