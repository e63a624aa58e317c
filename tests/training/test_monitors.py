from __future__ import annotations

import functools
import json
import math
import re

import pytest
import torch

from auricle.errors import TrainingError
from auricle.recipes import get_recipe
from auricle.recipes.building import build
from auricle.recipes.matrix import make_ready, shown
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


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"future/accuracy_12": 0.395}, r"shortcut .*future/accuracy_12, the farthest, 0\.3950.*--objective.pool clip"),
        ({"future/copy_accuracy": 0.4}, r"nothing learned .*of repeating the present 0\.4000\. .*--objective.first"),
    ],
)
def test_a_contrast_with_the_future_that_knows_the_clip_only(changes: dict[str, float], words: str) -> None:
    healthy = {"future/accuracy": 0.3, "future/chance_accuracy": 1 / 17, "future/copy_accuracy": 0.2}
    healthy |= {f"future/accuracy_{step}": 0.41 - step / 100 for step in range(1, 13)}
    alarm = CollapseAlarm(patience=100)
    assert [alarm(500 + i, healthy) for i in range(4)] == [None] * 4
    said = [alarm(600 + i, healthy | changes) for i in range(3)]
    assert said[:2] == [None, None]
    assert said[2] is not None
    assert re.search(words, said[2])
    # One step has no distance, and at chance another sign says so.
    assert CollapseAlarm(patience=100)(500, {"future/accuracy_1": 0.4, "future/chance_accuracy": 0.1}) is None
    flat = {f"future/accuracy_{step}": 0.06 for step in range(1, 13)} | {"future/chance_accuracy": 1 / 17}
    assert not CollapseAlarm(patience=100).signs(500, flat)


def test_what_negatives_of_the_same_clip_rule_out_is_no_sign() -> None:
    line = {"future/accuracy": 0.094, "future/chance_accuracy": 1 / 11, "future/copy_accuracy": 0.183}
    alarm = CollapseAlarm(patience=0)
    # At chance it repeats nothing.
    assert {name: kind for name, (kind, _) in alarm.signs(1, line).items()} == {"future/accuracy": "guess"}
    learned = line | {"future/accuracy": 0.15}
    assert {name: kind for name, (kind, _) in alarm.signs(1, learned).items()} == {"future/copy_accuracy": "copy"}
    flat = {f"future/accuracy_{step}": 0.4 for step in range(1, 13)} | {"future/chance_accuracy": 1 / 11}
    assert [reported(name)["future/pool_clip"] for name in ("cpc", "wav2vec", "vq-wav2vec")] == [1.0] * 3
    assert alarm.signs(1, flat | {"future/pool_clip": 0.0})["future/accuracy_1"][0] == "identity"
    assert not alarm.signs(1, flat | {"future/pool_clip": 1.0})


# What objectives report, by recipe: what is measured, the guess that it must beat, the sign, whether more is better.
READ = [
    ("cpc", "future/accuracy", "future/chance_accuracy", "future/accuracy", True),
    ("hubert", "codes/code_accuracy", "codes/majority", "codes/majority", True),
    ("hubert", "codes", "codes/unigram", "codes/majority", False),
    ("apc", "future", "future/constant", "future/constant", False),
    ("apc", "future", "future/copy_last", "future/copy_last", False),
    ("wav2vec2", "contrast/accuracy", "contrast/chance_accuracy", "contrast/accuracy", True),
    ("permutation", "permutation/spearman", None, "permutation/spearman", True),
    ("pase", "lim/pair_accuracy", "lim/pair_chance", "lim/pair_accuracy", True),
    ("pase", "gim/pair_accuracy", "gim/pair_chance", "gim/pair_accuracy", True),
    ("pase", "spc/pair_accuracy", "spc/pair_chance", "spc/pair_accuracy", True),
    ("pase", "mfcc", "mfcc/constant", "mfcc/constant", False),
    ("pase", "wave", "wave/constant", "wave/constant", False),
    ("ssast", "nce/accuracy", "nce/majority", "nce/accuracy", True),
    ("ssast", "patch_mse", "patch_mse/constant", "patch_mse/constant", False),
    ("mockingjay", "reconstruction", "reconstruction/constant", "reconstruction/constant", False),
    ("temporal-gap", "gap/error", "gap/constant_error", "gap/error", False),
]


@functools.cache
def reported(name: str) -> dict[str, float]:
    """Return the line of metrics of a recipe's objective at its first step."""
    recipe = get_recipe(name, "tiny")
    frontend, encoder, objective = build(recipe, 0)
    make_ready(recipe, frontend, encoder, objective)
    with torch.no_grad():
        loss = objective(encoder.train(), shown(recipe, frontend, objective), torch.Generator().manual_seed(0))
    return {key: float(value) for key, value in {**loss.parts, **loss.watch}.items()}


def told(name: str, measured: str, baseline: str | None, value: float) -> dict[str, float]:
    """Return a line with the names of the recipe's objective, and of its numbers those that a sign reads."""
    line = reported(name)
    assert measured in line
    assert baseline is None or baseline in line
    return {measured: value} if baseline is None else {measured: value, baseline: 0.3}


@pytest.mark.parametrize(("name", "measured", "baseline", "sign", "more"), READ)
def test_what_learns_nothing_is_reported_by_the_names_that_objectives_report(
    name: str, measured: str, baseline: str | None, sign: str, more: bool
) -> None:
    guess, better = (0.0 if baseline is None else 0.3), (0.5 if more else 0.2)
    alarm = CollapseAlarm(patience=100)
    line = told(name, measured, baseline, guess)
    assert not alarm.signs(99, line)
    assert alarm.signs(100, line).keys() == {sign}
    assert not alarm.signs(100, line | {measured: better})
    assert [alarm(step, line) is None for step in (100, 110)] == [True, True]
    warning = alarm(120, line)
    assert warning is not None
    assert warning.startswith("nothing learned at step 120: ")
    assert "collapse" not in warning
    assert "--train.lr" in warning
    assert alarm(130, line) is None


@pytest.mark.parametrize("name", sorted({row[0] for row in READ}))
def test_an_objective_that_learned_is_not_called_a_guess(name: str) -> None:
    line = dict(reported(name))
    for key in ("accuracy", "code_accuracy", "pair_accuracy", "spearman"):
        line |= dict.fromkeys([n for n in line if n.endswith(f"/{key}")], 0.9)
    parts = [n for n in line if "/" not in n and not n.startswith(("rank", "hidden"))]
    line |= dict.fromkeys([*parts, *(n for n in line if n.endswith(("/position_ratio", "/error")))], 0.01)
    assert not [kind for kind, _ in CollapseAlarm(patience=0).signs(1, line).values() if kind in ("guess", "copy")]


@pytest.mark.parametrize(
    "line",
    [
        {"a/accuracy": 0.1},  # nothing to compare with
        {"a/accuracy": 0.1, "a/chance": 4.6},  # a loss, no probability
        {"a/accuracy": 0.97, "a/chance_accuracy": 0.95},  # 1.1 x chance lies above 1
        {"a/accuracy": 1.0, "a/chance_accuracy": 1.0},  # there was no other candidate
        {"a/accuracy": 0.1, "a/chance_accuracy": math.nan},
        {"a/accuracy": math.nan, "a/chance_accuracy": 0.1},
        {"a/accuracy": 0.3, "a/majority": 0.1, "a/chance": 0.69},  # of two candidates the loss is below 1
        {"a": 0.7, "a/constant": math.nan},
        {"a": math.inf, "a/constant": 0.7},
        {"byol": 0.2, "constant": 0.1},  # latents' constant near 0 is no baseline of a part
        # Few tokens of many codes: their own frequencies flatter whoever knows them, yet more is right than one code.
        {"a": 7.0, "a/unigram": 5.0, "a/code_accuracy": 0.1, "a/majority": 0.02},
        {"a": 4.0, "a/unigram": 5.0, "a/code_accuracy": 0.02, "a/majority": 0.02},
        # The part is a sum over clips; its mean over tokens is 0.8 x 0.5.
        {"a": 20.0, "a/constant": 0.6, "a/position": 0.5, "a/position_ratio": 0.8},
    ],
)
def test_a_guess_is_not_told_where_it_is_none(line: dict[str, float]) -> None:
    assert not CollapseAlarm(patience=0).signs(1, line)


def test_a_chance_that_is_a_probability_counts_where_no_other_is_given() -> None:
    alarm = CollapseAlarm(patience=0)
    assert alarm.signs(1, {"a/accuracy": 0.11, "a/chance": 0.1}).keys() == {"a/accuracy"}
    assert not alarm.signs(1, {"a/accuracy": 0.12, "a/chance": 0.1})


def test_several_codebooks_share_a_part() -> None:
    line = {"a": 5.1, "a0/unigram": 5.0, "a0/code_accuracy": 0.02, "a0/majority": 0.02}
    assert CollapseAlarm(patience=0).signs(1, line).keys() == {"a0/majority"}
    assert not CollapseAlarm(patience=0).signs(1, line | {"a": 4.0})


def test_what_hovers_at_chance_is_told_after_three_lines_in_a_row_and_not_again_for_one_better_line() -> None:
    alarm = CollapseAlarm(patience=0)
    low, high = ({"permutation/spearman": value} for value in (0.0, 0.1))
    assert [alarm(n, line) is not None for n, line in enumerate([low, low, high, low, low])] == [False] * 5
    assert alarm(6, low) is not None
    assert [alarm(n, line) for n, line in enumerate([high, low, high, high, low, low, low])] == [None] * 7
    # Three better lines in a row take it back.
    assert [alarm(n, line) is not None for n, line in enumerate([high] * 3 + [low] * 3)] == [False] * 5 + [True]


def test_a_missing_number_begins_the_count_anew() -> None:
    alarm = CollapseAlarm(patience=0)
    line = {"a": 1.0, "a/constant": 0.9}
    assert [alarm(n, each) is not None for n, each in enumerate([line, line, {}, line, line, line])] == [False] * 5 + [
        True
    ]


def test_new_signs_are_grouped_by_what_they_mean_and_known_signs_are_not_repeated() -> None:
    alarm = CollapseAlarm(patience=0)
    guess = {"a": 1.0, "a/constant": 0.9, "b/accuracy": 0.01, "b/chance_accuracy": 0.01}
    assert alarm(1, guess) is None
    assert alarm(2, guess) is None
    text = alarm(3, guess | {"rank_z": 1.0, "a/position_ratio": 1.1})
    assert text is not None
    titles = re.findall(r"(collapse|shortcut|nothing learned) at step 3: ", text)
    assert sorted(titles) == ["collapse", "nothing learned", "shortcut"]
    assert text.count("A guess without any input") == 1
    more = alarm(4, guess | {"rank_z": 1.0, "std_f": 1e-5})
    assert more is not None
    assert "std_f" in more
    assert "rank_z" not in more
    assert "nothing learned" not in more
