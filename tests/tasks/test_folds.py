"""Folds: nothing leaks, everything is assigned, and what can't be divided is refused with a reason."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auricle.errors import ConfigError, CorpusError
from auricle.results.conditions import group_by_condition
from auricle.tasks.card import TaskCard
from auricle.tasks.cards.registry import get_task, tasks
from auricle.tasks.folds import Plan, assign_folds, plan_folds
from auricle.tasks.targets import make_targets


def plan(card: TaskCard, labels, *, splits=None, folds=None, sources=None) -> Plan:
    targets = make_targets(card, labels)
    count = len(targets.rows)
    return plan_folds(
        card,
        targets,
        splits=[None] * count if splits is None else splits,
        folds=[None] * count if folds is None else folds,
        groups=[str(i) for i in range(count)] if sources is None else sources,
    )


def check(result: Plan, clips: int) -> None:
    """Every clip judges at most once, and never what it taught."""
    predictions: list[int] = []
    for fold in result.folds:
        sides = [set(fold.train.tolist()), set(fold.valid.tolist()), set(fold.test.tolist())]
        assert all(sides)
        assert sum(len(side) for side in sides) == len(set().union(*sides))
        assert set().union(*sides) <= set(range(clips))
        predictions += fold.test.tolist()
    assert len(predictions) == len(set(predictions))


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 9999),
    folds=st.integers(2, 6),
    groups=st.integers(6, 40),
    classes=st.integers(2, 6),
    several=st.booleans(),
)
def test_made_folds_keep_sources_together_and_judge_each_clip_once(
    seed: int, folds: int, groups: int, classes: int, several: bool
) -> None:
    generator = np.random.default_rng(seed)
    clips = groups * 3
    names = np.array([f"c{i}" for i in range(classes)])
    cells = [
        ";".join(generator.choice(names, size=generator.integers(1, 3) if several else 1, replace=False))
        for _ in range(clips)
    ]
    cells[0], cells[1] = "c0", "c1"
    sources = [f"s{g}" for g in generator.permutation(np.repeat(np.arange(groups), 3))]
    result = plan(TaskCard(name="t", folds=folds), cells, sources=sources)
    check(result, clips)
    assert sorted(np.concatenate([f.test for f in result.folds])) == list(range(clips))
    array = np.array(sources)
    for fold in result.folds:
        assert not set(array[fold.test]) & set(array[np.concatenate([fold.train, fold.valid])])


def test_made_folds_have_their_share_of_each_class() -> None:
    generator = np.random.default_rng(0)
    truth = np.zeros((200, 4), dtype=bool)
    truth[np.arange(200), np.repeat(np.arange(4), [100, 60, 30, 10])] = True
    owner = assign_folds(truth, np.arange(200), 5, generator)
    counts = np.array([truth[owner == f].sum(0) for f in range(5)])
    np.testing.assert_array_equal(counts, np.tile([20, 12, 6, 2], (5, 1)))


def test_sources_are_named_only_where_clips_share_one() -> None:
    labels = ["a", "b"] * 6
    alone = plan(TaskCard(name="t", folds=3), labels).description
    shared = plan(TaskCard(name="t", folds=3), labels, sources=[f"s{i // 2}" for i in range(12)]).description
    assert alone == "3 folds made with seed 0, stratified; the next fold validates"
    assert shared == "3 folds made with seed 0, stratified, clips of one source together; the next fold validates"

    def tables(*found: tuple[str, int]) -> list[list[int]]:
        records = [{"task": "t", "split": split, "scheme": scheme, "n": n} for n, (split, scheme) in enumerate(found)]
        return [[each["n"] for each in group] for _, group in group_by_condition(records, lambda record: record)]

    # They are other folds. Both were once described by the second: old results join the division that is there now.
    assert tables((alone, 6), (shared, 6)) == [[0], [1]]
    assert tables((shared, 5), (alone, 6)) == [[0, 1]]
    assert tables((shared, 5), (shared, 6)) == [[0, 1]]
    assert tables((shared, 5), (shared, 5)) == [[0, 1]]
    assert tables((alone, 6), (shared, 6), (shared, 5)) == [[0], [1, 2]]


def test_assignment_is_a_function_of_the_seed() -> None:
    truth = np.eye(3, dtype=bool)[np.arange(60) % 3]
    same = [assign_folds(truth, np.arange(60) // 2, 4, np.random.default_rng(s)).tolist() for s in (1, 1, 2)]
    assert same[0] == same[1] != same[2]


def test_own_folds_rotate_and_the_next_one_validates() -> None:
    labels = ["a", "b"] * 10
    folds = [i // 4 + 1 for i in range(20)]
    result = plan(TaskCard(name="t"), labels, folds=folds)
    check(result, 20)
    assert result.protocol == "folds"
    assert [f.name for f in result.folds] == ["1", "2", "3", "4", "5"]
    last = result.folds[-1]
    assert last.test.tolist() == [16, 17, 18, 19]
    assert last.valid.tolist() == [0, 1, 2, 3]
    assert len(last.train) == 12


def test_two_folds_set_validation_clips_aside_by_source() -> None:
    folds = [1, 2] * 20
    sources = [f"{i // 4}-{i % 2}" for i in range(40)]
    result = plan(TaskCard(name="t"), ["a", "b", "b", "a"] * 10, folds=folds, sources=sources)
    check(result, 40)
    for fold in result.folds:
        assert len(fold.valid) == 4
        assert not {sources[i] for i in fold.valid} & {sources[i] for i in fold.train}


def test_split_without_validation_sets_clips_aside() -> None:
    splits = ["train"] * 20 + ["test"] * 10 + ["extra"] * 2
    result = plan(TaskCard(name="t"), ["a", "b"] * 16, splits=splits)
    check(result, 32)
    assert result.protocol == "split"
    assert (len(result.folds[0].train), len(result.folds[0].valid)) == (16, 4)
    assert "one in 5" in result.description
    assert any("'extra'" in n for n in result.notes)


def test_own_validation_clips_are_used_and_one_training_source_is_no_obstacle() -> None:
    splits = ["train"] * 6 + ["validation"] * 2 + ["test"] * 2
    result = plan(TaskCard(name="t"), ["a", "b"] * 5, splits=splits)
    assert result.folds[0].valid.tolist() == [6, 7]
    one = plan(
        TaskCard(name="t"), ["a", "b"] * 10, splits=["train"] * 15 + ["test"] * 5, sources=["x"] * 15 + ["y"] * 5
    )
    check(one, 20)
    assert "one source only" in one.description


def test_labels_unseen_in_training_and_without_test_clips_are_told() -> None:
    labels = ["a", "b"] * 6 + ["c", "a", "b"]
    result = plan(TaskCard(name="t"), [*labels, "d"], splits=["train"] * 12 + ["test"] * 3 + ["train"])
    text = " ".join(result.notes)
    assert "never in training (counted as errors): c (fold test)" in text
    assert "without test clips (not in the score there): d (fold test)" in text


def test_sources_on_both_sides_are_told() -> None:
    result = plan(
        TaskCard(name="t"), ["a", "b"] * 6, splits=["train"] * 8 + ["test"] * 4, sources=[str(i % 5) for i in range(12)]
    )
    assert any("both in training and in test" in n for n in result.notes)


@pytest.mark.parametrize(
    ("labels", "arguments", "words"),
    [
        ([None, "", None], {}, "nothing to predict"),
        (["dog"] * 8, {}, "at least two classes"),
        (["a", "b", "a"], {}, "3 labelled clips for 5 folds"),
        (["a", "b"] * 6, {"sources": ["x", "y", "z"] * 4}, "3 sources, but 5 folds"),
        (["a", "b"] * 4, {"splits": ["train"] * 1 + ["test"] * 7}, "1 training clips"),
    ],
)
def test_what_cannot_be_divided_is_refused(labels, arguments, words: str) -> None:
    with pytest.raises(CorpusError, match=words):
        plan(TaskCard(name="t"), labels, **arguments)


def test_split_that_the_corpus_lacks_is_refused() -> None:
    with pytest.raises(CorpusError, match="names no train and test clips"):
        plan(TaskCard(name="t", protocol="split"), ["a", "b"] * 4)


def test_kinds_of_labels() -> None:
    single = make_targets(TaskCard(name="t"), ["b", " a ", None, "b"])
    assert (single.kind, single.classes, single.rows.tolist()) == ("single", ("a", "b"), [0, 1, 3])
    assert single.numbers.tolist() == [1, 0, 1]
    assert "1 clip without a label" in single.notes[0]
    several = make_targets(TaskCard(name="t"), ["b;a", "a", "", "c;c"])
    assert (several.kind, several.rows.tolist()) == ("multi", [0, 1, 3])
    empty = make_targets(TaskCard(name="t", labels="multi"), ["b;a", "a", "", "c"])
    assert empty.truth.sum(1).tolist() == [2, 1, 0, 1]
    numbers = make_targets(TaskCard(name="t"), [60, 61, 60])
    assert numbers.classes == ("60", "61")
    with pytest.raises(CorpusError, match="several labels"):
        make_targets(TaskCard(name="t", labels="single"), ["a;b", "a"])
    with pytest.raises(CorpusError, match="every label"):
        make_targets(TaskCard(name="t", labels="multi"), ["a;b", "b;a"])


def test_cards_are_whole_and_travel_as_json() -> None:
    assert {"esc10", "esc50_dev20", "sed_synth", "scenes", "scenes_single", "folder"} <= {c.name for c in tasks()}
    for card in tasks():
        assert TaskCard.from_json(card.to_json()) == card
        assert card.title
    with pytest.raises(ConfigError, match="did you mean 'esc10'"):
        get_task("esc_10")
    for wrong in (
        {"labels": "some"},
        {"protocol": "x"},
        {"folds": 1},
        {"metric": "wer"},
        {"labels": "single", "metric": "mAP"},
    ):
        with pytest.raises(ConfigError):
            TaskCard(name="t", **wrong)


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "folds", "kind"),
    [("esc10", 5, "single"), ("esc50_dev20", 5, "single"), ("sed_synth", 1, "multi"), ("fsdd", 6, "single")],
)
def test_real_corpora_divide_without_leaks(shared_audio: Path, name: str, folds: int, kind: str) -> None:
    with (shared_audio / name / "metadata.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    card = get_task(name)
    targets = make_targets(card, [r[card.label] for r in rows])
    result = plan_folds(
        card,
        targets,
        splits=[r["split"] for r in rows],
        folds=[int(r["fold"]) for r in rows],
        groups=[r[card.source] for r in rows],
    )
    check(result, len(rows))
    assert (targets.kind, len(result.folds), result.notes) == (kind, folds, ())
    for fold in result.folds:
        groups = [{rows[i]["source"] for i in side} for side in (fold.train, fold.valid, fold.test)]
        assert sum(len(group) for group in groups) == len(set().union(*groups))
