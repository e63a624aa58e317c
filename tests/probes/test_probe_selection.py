from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)

from auricle.errors import ConfigError
from auricle.probes.search.selection import default_metric, macro_auc, mean_average_precision, natural, score, validate


@given(seed=st.integers(0, 10_000), levels=st.sampled_from([2, 5, 1000]))
def test_map_equals_scikit_learn_also_with_ties(seed: int, levels: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randint(0, levels, (2, 20, 4), generator=draw).float()
    y = torch.randint(0, 2, (20, 4), generator=draw)
    y[:, 3] = 0
    present = [c for c in range(4) if y[:, c].any()]
    found = mean_average_precision(logits, y)
    for s in range(2):
        expected = [average_precision_score(y[:, c], logits[s, :, c]) for c in present]
        assert found[s].item() == pytest.approx(sum(expected) / len(expected))


def test_accuracy_and_map_of_single_labels() -> None:
    draw = torch.Generator().manual_seed(0)
    logits, y = torch.randn(3, 30, 5, generator=draw), torch.randint(0, 5, (30,), generator=draw)
    one_hot = torch.nn.functional.one_hot(y, 5)
    for s in range(3):
        assert score(logits, y, "accuracy")[s].item() == pytest.approx(accuracy_score(y, logits[s].argmax(-1)))
        expected = average_precision_score(one_hot, logits[s], average="macro")
        assert score(logits, y, "map")[s].item() == pytest.approx(expected)


@given(seed=st.integers(0, 10_000), levels=st.sampled_from([1, 2, 5, 1000]))
def test_auc_equals_scikit_learn_also_with_ties(seed: int, levels: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randint(0, levels, (2, 20, 5), generator=draw).float()
    y = torch.randint(0, 2, (20, 5), generator=draw)
    y[:, 3], y[:, 4] = 0, 1
    both = [c for c in range(3) if y[:, c].any() and not y[:, c].all()]
    for s in range(2):
        expected = [roc_auc_score(y[:, c], logits[s, :, c]) for c in both]
        assert macro_auc(logits, y)[s].item() == pytest.approx(sum(expected) / len(expected))


@given(seed=st.integers(0, 10_000), present=st.integers(2, 5))
def test_metrics_of_one_label_equal_scikit_learn(seed: int, present: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 25, 5, generator=draw)
    # Classes that never occur in truth may yet be predicted.
    y = torch.randint(0, present, (25,), generator=draw)
    for s in range(3):
        said = logits[s].argmax(-1)
        assert score(logits, y, "macro_f1")[s].item() == pytest.approx(
            f1_score(y, said, average="macro", zero_division=0)
        )
        recall = [float((said[y == c] == c).float().mean()) for c in y.unique()]
        assert score(logits, y, "balanced_accuracy")[s].item() == pytest.approx(sum(recall) / len(recall))
    everything = torch.arange(25) % 5
    expected = balanced_accuracy_score(everything, logits[0].argmax(-1))
    assert score(logits, everything, "balanced_accuracy")[0].item() == pytest.approx(expected)


def test_metrics_of_numbers_equal_scikit_learn() -> None:
    draw = torch.Generator().manual_seed(0)
    said, y = torch.randn(3, 30, 2, generator=draw), torch.randn(30, 2, generator=draw)
    for s in range(3):
        assert score(said, y, "r2")[s].item() == pytest.approx(r2_score(y, said[s]))
        assert score(said, y, "mae")[s].item() == pytest.approx(-mean_absolute_error(y, said[s]))
        pooled = root_mean_squared_error(y.flatten(), said[s].flatten())
        assert score(said, y, "rmse")[s].item() == pytest.approx(-pooled)
    # A target that never varies has no R2, and takes no part in the mean.
    fixed = torch.stack([y[:, 0], torch.ones(30)], 1)
    assert score(said, fixed, "r2")[0].item() == pytest.approx(r2_score(y[:, 0], said[0, :, 0]))
    assert natural(-0.5, "mae") == 0.5
    assert natural(0.5, "accuracy") == 0.5
    assert [default_metric(True), default_metric(False), default_metric(False, True)] == ["accuracy", "map", "r2"]


def test_a_diverged_setting_scores_minus_infinity() -> None:
    logits = torch.zeros(2, 4, 3)
    logits[1, 2, 0] = float("nan")
    assert score(logits, torch.zeros(4, dtype=torch.int64), "accuracy").tolist() == [1.0, float("-inf")]


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="did you mean 'accuracy'"):
        validate("acuracy", torch.zeros(3))
    with pytest.raises(ConfigError, match="use 'map'"):
        validate("accuracy", torch.zeros(3, 2))
    with pytest.raises(ConfigError, match="no validation clip has any label"):
        validate("map", torch.zeros(3, 2))
    with pytest.raises(ConfigError, match="can't select among probes of numbers"):
        validate("map", torch.zeros(3, 2), regression=True)
    with pytest.raises(ConfigError, match="can't select among probes of labels"):
        validate("r2", torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ConfigError, match="R2 is undefined"):
        validate("r2", torch.ones(3, 2), regression=True)
    for constant in (torch.zeros(3, dtype=torch.int64), torch.tensor([[1.0, 0.0]] * 3)):
        with pytest.raises(ConfigError, match="no class has both"):
            validate("auc", constant)
    validate("auc", torch.tensor([0, 1, 1]))
    validate("mae", torch.ones(3, 2), regression=True)
