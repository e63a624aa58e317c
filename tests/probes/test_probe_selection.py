from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, average_precision_score

from auricle.errors import ConfigError
from auricle.probes.selection import mean_average_precision, score, validate


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
