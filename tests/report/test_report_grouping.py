"""Results of several conditions, and ranks over tasks: as `auricle results` has them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_pages import EVERY_FIELD, line, run_of

from auricle.report.evidence import gather
from auricle.report.page import build_page
from auricle.report.ranks_view import alike, average_ranks
from auricle.report.run_data import RunData, read_runs
from auricle.results.book import ResultBook
from auricle.results.comparison import compare_results
from auricle.results.conditions import told_apart
from auricle.results.ranks import rank_results, rank_systems

Read = Callable[..., Any]


def test_results_of_other_corpora_metrics_and_protocols_get_parts_of_their_own(page: Read) -> None:
    _, words, _ = page(
        line("esc10", "pretrained", "linear", 0.8),
        line("esc10", "random", "linear", 0.4, corpus_fingerprint="another one"),
        line("esc10", "pretrained", "linear", 0.7, protocol_name="hear", key="h", leaks=["the first split <chose>"]),
    )
    for protocol, corpus in (("strict", "corpus o"), ("strict", "another "), ("hear", "corpus o")):
        assert f"Task: esc10, protocol {protocol}, corpus, content {corpus.rstrip()}" in words
    assert "no control" in words  # that of the other corpus is none
    assert "† the hear protocol makes scores optimistic: the first split <chose>." in words


def test_one_rule_groups_results_for_the_book_and_the_page(tmp_path: Path) -> None:
    """An encoder scored on a split and a control scored on folds never share a table."""
    shared = {**EVERY_FIELD, "corpus_fingerprint": "corpus of t"}
    folds = {"protocol": "folds", "split": "the corpus's own folds"}
    records = [
        line("t", "pretrained", "linear", 0.8) | {**shared, "protocol": "split", "split": "seed 0"},
        line("t", "random", "linear", 0.4) | {**shared, **folds},
        line("t", "pretrained", "linear", 0.7) | {**shared, **folds, "key": "on folds"},
    ]
    run = run_of(tmp_path / "run", *records)
    blocks = ResultBook.collect([run]).blocks()
    pages = gather(read_runs([run]))
    expected = [("t, split", [("pretrained", 0.8)]), ("t, folds", [("random", 0.4), ("pretrained", 0.7)])]
    assert [(b.condition.name, [(f.result.role, f.result.value) for f in b.cells.values()]) for b in blocks] == expected
    assert [(p.name, [(e.row.role, e.value) for e in p.entries]) for p in pages] == expected
    assert [p.condition for p in pages] == [b.condition for b in blocks]
    # The pair of both, and the ranks, are of the folds alone.
    compared = compare_results(ResultBook.collect([run]), "pretrained", "random")
    assert [(pair.condition.name, round(pair.gain, 3)) for pair in compared.pairs] == [("t, folds", 0.3)]
    assert rank_results(ResultBook.collect([run]), "encoder").tasks == ("t, folds",)
    text = build_page(read_runs([run]))
    first, second = text.index("<h2>Task: t, split</h2>"), text.index("<h2>Task: t, folds</h2>")
    assert "no result of random weights" in text[first:second]
    assert "above random weights (40.0 %, linear): +30.0, without a paired comparison" in text[second:]


def test_encoders_of_one_name_have_the_same_labels_in_any_order(tmp_path: Path) -> None:
    prints = {"1": "aaaabbbbcccc", "2": "ddddeeeeffff"}
    runs = [
        run_of(tmp_path / name / "run", line("t", "pretrained", "linear", 0.5, encoder="e", encoder_fingerprint=print_))
        for name, print_ in prints.items()
    ]
    twice = run_of(
        tmp_path / "both",
        *(line("t", "pretrained", "linear", 0.5, key=p, encoder="e", encoder_fingerprint=p) for p in prints.values()),
    )
    for paths in ([twice], [*runs, twice], [twice, *runs[::-1]]):
        (task,) = gather(read_runs(paths))
        labels = {row.label for row in task.rows if "both" in row.label or len(paths) == 1}
        assert {label.rpartition("(")[2] for label in labels} == {"aaaabbbb)", "ddddeeee)"}


def test_encoders_without_a_fingerprint_have_labels_of_their_own() -> None:
    names = {"a": "e", "b": "e", "c": "e", "d": "e", "f": "e", "g": "other"}
    prints = {"a": "", "b": "aaaabbbbcccc", "c": "", "d": "ddddeeee1111", "f": "ddddeeee2222", "g": ""}
    assert list(told_apart(names, prints.__getitem__).values()) == [
        "e (1)", "e (aaaabbbb)", "e (2)", "e (ddddeeee1111)", "e (ddddeeee2222)", "other",
    ]  # fmt: skip
    records = [line("t", role, "linear", 0.5, encoder="e", encoder_fingerprint="") for role in ("pretrained", "x")]
    (task,) = gather([RunData("run", Path("run"), results=records)])
    assert [row.label for row in task.rows] == ["e (1)", "e (2)"]


def evidence(values: np.ndarray) -> list[Any]:
    names = ["pretrained", "random", "log-mel", "b", "c"][: values.shape[1]]
    records = [
        line(f"t{i}", r, "linear", float(v)) for i, row in enumerate(values) for r, v in zip(names, row, strict=True)
    ]
    return gather([RunData("run", Path("run"), results=records)])


def test_ranks_are_those_of_the_results_verb() -> None:
    values = np.round(np.random.default_rng(0).random((7, 4)), 1)
    found, reference = average_ranks(evidence(values), "encoder"), rank_systems(values)
    assert found.ranking is not None
    labels = ["mosaic", "random weights", "log-mel statistics", "b"]
    assert dict(zip(found.names, found.ranking.ranks, strict=True)) == pytest.approx(
        dict(zip(labels, reference.ranks, strict=True))
    )
    assert found.ranking.difference == pytest.approx(reference.difference)
    assert len(found.tasks) == 7


def test_bars_join_what_can_not_be_told_apart() -> None:
    assert alike([1.0, 2.0, 2.5, 4.0], 1.0) == [(1.0, 2.0), (2.0, 2.5)]
    assert alike([1.0, 1.5, 2.0], 2.0) == [(1.0, 2.0)]
    assert alike([1.0, 3.0], 1.0) == []


def test_a_report_says_why_it_ranks_nothing(page: Read) -> None:
    """Two encoders that share one task have no average ranks."""
    records = [line("a", "pretrained", "linear", 0.9), line("a", "random", "linear", 0.3)]
    _, words, _ = page(*records, line("b", "pretrained", "linear", 0.5))
    assert "No average ranks of encoders: they share 1 of 2 tasks (a)." in words
    assert "1 of 2 tasks not counted" in words
    assert "ranks of probes" not in words


def test_rank_diagram_says_what_it_can_not_say(page: Read) -> None:
    records = [
        line(f"t{i}", r, "linear", v)
        for i in range(3)
        for r, v in (("pretrained", 0.9), ("random", 0.3), ("log-mel", 0.5))
    ]
    _, words, figures = page(*records, line("alone", "pretrained", "knn", 0.5))
    assert "3 tasks (t0, t1, t2)" in words
    excluded = "1 of 4 tasks not counted, since not all ranked encoders have them: alone (no result of "
    assert excluded in words
    (shown,) = [
        f for f in figures if f["layout"].get("xaxis", {}).get("title", {}).get("text", "").startswith("average rank")
    ]
    assert shown["layout"]["yaxis"]["ticktext"][0] == "mosaic · 1.00"
    critical = next(t for t in shown["data"] if t["name"] == "critical difference")
    assert critical["x"][1] - 1 == pytest.approx(min(2, 2.343 * math.sqrt(12 / 18)), abs=1e-3)
