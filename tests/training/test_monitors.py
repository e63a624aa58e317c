from __future__ import annotations

import json
import math
import re

import pytest
import torch

from auricle.errors import TrainingError
from auricle.training.monitors import CollapseAlarm, Interval, SkipCounter

HEALTHY = {"rank_z": 60.0, "rank_f": 20.0, "uniformity": -3.0, "accuracy": 0.4, "batch": 64}


def test_means_leave_out_what_is_not_finite() -> None:
    interval = Interval()
    for value in (1.0, math.nan, 2.0, math.inf, 6.0):
        interval.add({"loss": torch.tensor(value)})
    interval.add({"other": torch.tensor(math.nan)})
    means = interval.means()
    assert means["loss"] == 3.0
    assert math.isnan(means["other"])
    assert interval.means() == {}


def test_an_interval_survives_json_exactly() -> None:
    interval = Interval()
    for value in torch.randn(50, generator=torch.Generator().manual_seed(0)):
        interval.add({"loss": value})
    again = Interval(json.loads(json.dumps(interval.state())))
    extra = {"loss": torch.tensor(0.1)}
    interval.add(extra)
    again.add(extra)
    assert interval.means() == again.means()


def test_skips_are_counted_in_all_and_in_a_row() -> None:
    counter = SkipCounter(torch.device("cpu"), limit=3)
    for flag in (1, 1, 0, 1, 1, 0):
        counter.add(torch.tensor(float(flag)))
    assert counter.check() == 4
    again = SkipCounter(torch.device("cpu"), 3, counter.state())
    for _ in range(3):
        again.add(torch.tensor(1.0))
    # The row was over before the last step; the alarm must still see it.
    again.add(torch.tensor(0.0))
    with pytest.raises(TrainingError, match="3 steps in a row"):
        again.check()


def test_a_healthy_line_raises_no_alarm() -> None:
    assert CollapseAlarm(patience=100)(1000, HEALTHY) is None


@pytest.mark.parametrize(
    ("name", "value"), [("rank_z", 1.1), ("rank_f", 1.0), ("uniformity", -0.01), ("std_f", 1e-5), ("accuracy", 1 / 127)]
)
def test_each_sign_of_collapse_is_told_once_until_it_is_gone(name: str, value: float) -> None:
    alarm = CollapseAlarm(patience=100)
    text = alarm(1000, HEALTHY | {name: value})
    assert text is not None
    assert name in text
    assert "--train.lr" in text
    assert alarm(1010, HEALTHY | {name: value}) is None
    assert alarm(1020, HEALTHY) is None
    assert alarm(1030, HEALTHY | {name: value}) is not None


def test_chance_accuracy_is_no_sign_while_the_run_is_young() -> None:
    assert CollapseAlarm(patience=100)(50, HEALTHY | {"accuracy": 0.0}) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tokens/rank_prediction": 1.2}, "tokens/rank_prediction is 1.20.*--loader.batch"),
        ({"tokens/std_target": 5e-3}, "the target is constant.*objective.teacher.decay"),
        ({"codes0/perplexity": 1.4}, "there is one code left.*diversity"),
        ({"tokens/position_ratio": 0.99}, "shortcut at step 500: .*no better than by position"),
        ({"codes/code_accuracy": 0.2, "codes/position_accuracy": 0.25}, "shortcut.*by position 0.250"),
    ],
)
def test_collapse_and_shortcuts_of_terms_are_told_with_a_remedy(changes: dict[str, float], words: str) -> None:
    alarm = CollapseAlarm(patience=100)
    warning = alarm(500, changes)
    assert warning is not None
    assert re.search(words, warning, re.DOTALL)
    assert alarm(501, changes) is None  # once


def test_a_shortcut_is_no_sign_during_warm_up() -> None:
    line = {"tokens/position_ratio": 1.1, "codes/code_accuracy": 0.1, "codes/position_accuracy": 0.2}
    assert CollapseAlarm(patience=100)(50, line) is None


def test_healthy_terms_say_nothing() -> None:
    line = {
        "tokens/rank_prediction": 30.0, "tokens/std_target": 0.5, "codes/perplexity": 40.0,
        "tokens/position_ratio": 0.8, "codes/code_accuracy": 0.3, "codes/position_accuracy": 0.2,
    }  # fmt: skip
    assert CollapseAlarm(patience=100)(500, line) is None
