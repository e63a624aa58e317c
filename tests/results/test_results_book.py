"""Results collected, filtered and grouped: what does not belong together never stands in one table."""

from __future__ import annotations

import csv
import io
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from result_files import answers, made, written

from auricle.cli import main
from auricle.errors import ConfigError, CorpusError
from auricle.results.book import ResultBook
from auricle.results.comparison import compare_results
from auricle.results.export import to_csv, to_latex, to_markdown
from auricle.results.predictions import save_predictions
from auricle.results.ranks import rank_results
from auricle.results.record import Result
from auricle.results.tables import compare_sheets, list_sheets, rank_sheets


def test_collect_reads_below_folders_once_each(tmp_path: Path) -> None:
    shared = made("t", "control", "linear", 0.5, key="same", made="2026-01-01")
    one = written(tmp_path / "runs/one/probes/t", made("t", "A", "linear", 0.8), shared)
    written(tmp_path / "runs/two/probes/t", replace(shared, made="2026-01-02"))
    written(tmp_path / "runs/two/tokens/t", made("hidden", "A", "linear", 0.8))
    book = ResultBook.collect([tmp_path / "runs", one, one / "results.jsonl"])
    assert [f.result.encoder for f in book.found] == ["A", "control"]
    assert book.found[1].folder == tmp_path / "runs/two/probes/t"  # the newer record
    assert "1 repetition of the same experiment" in book.notes[0]
    with pytest.raises(CorpusError, match="there is no"):
        ResultBook.collect([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match=r"no results\.jsonl"):
        ResultBook.collect([tmp_path / "empty"])


def test_filters_take_patterns_fingerprints_and_roles(tmp_path: Path) -> None:
    folder = written(
        tmp_path,
        made("esc10", "A", "linear", 0.8),
        made("esc10", "A, random weights", "mhca", 0.5, role="random"),
        made("esc50", "B", "linear", 0.6, type_name="events", protocol_name="hear"),
    )
    book = ResultBook.collect([folder])

    def tasks(**wanted: Any) -> list[str]:
        return [f"{f.result.task} {f.result.probe}" for f in book.where(**wanted).found]

    assert tasks(task=["esc*"]) == ["esc10 linear", "esc10 mhca", "esc50 linear"]
    assert tasks(task=["ESC10"], probe=["mhca", "linear"]) == ["esc10 linear", "esc10 mhca"]
    assert tasks(encoder=["random"]) == ["esc10 mhca"]
    assert tasks(encoder=["B-print"]) == ["esc50 linear"]
    assert tasks(role=["pretrained"], type_name=["events"], protocol=["hear"]) == ["esc50 linear"]
    assert [f.result.value for f in book.where(metric="macro_f1").found] == pytest.approx([0.7, 0.4, 0.5])
    with pytest.raises(ConfigError, match="did you mean 'linear'"):
        book.where(probe=["lineaar"])
    with pytest.raises(ConfigError, match="none of the 3 results"):
        book.where(task=["esc50"], probe=["mhca"])
    with pytest.raises(ConfigError, match="unknown metric"):
        book.where(metric="acuracy")
    with pytest.raises(ConfigError, match="none of the 3 results"):
        book.where(metric="eer")
    assert book.encoder("random").startswith("A, random")
    with pytest.raises(ConfigError, match="fits 2 encoders"):
        book.encoder("A*")


@pytest.mark.parametrize(
    ("field", "other", "told"),
    [
        ("corpus_fingerprint", "another corpus", "corpus"),
        ("protocol_name", "hear", "hear"),
        ("metric", "macro_f1", "macro_f1"),
        ("split", "another seed", "division"),
    ],
)
def test_different_conditions_never_share_a_table(tmp_path: Path, field: str, other: str, told: str) -> None:
    first = made("t", "A", "linear", 0.8)
    second = replace(made("t", "B", "linear", 0.7), **{field: other})
    blocks = ResultBook.collect([written(tmp_path, first, second)]).blocks()
    assert [len(b.cells) for b in blocks] == [1, 1]
    assert blocks[0].condition.name != blocks[1].condition.name
    assert told in blocks[1].condition.name
    with pytest.raises(CorpusError, match="share no task"):
        compare_results(ResultBook.collect([tmp_path]), "A", "B")


def test_names_of_tables_do_not_depend_on_the_order_of_folders(tmp_path: Path) -> None:
    """Corpora of one name and other content, and other divisions of it: each is named by what it is."""
    folders = [
        written(
            tmp_path / f"{print_} {split}",
            made("t", "A", "linear", 0.5, corpus_fingerprint=print_, split=split, key=print_ + split),
        )
        for print_ in ("0123456789ab", "fedcba987654")
        for split in ("seed 0", "seed 1")
    ]

    def named(paths: list[Path]) -> dict[Path, str]:
        return {
            found.folder: b.condition.name for b in ResultBook.collect(paths).blocks() for found in b.cells.values()
        }

    expected = named(folders)
    assert len(set(expected.values())) == len(folders)
    assert all(f"content {folder.name[:8]}" in name for folder, name in expected.items())
    for paths in itertools.permutations(folders):
        assert named(list(paths)) == expected


def test_optimistic_protocols_and_differences_are_noted(tmp_path: Path) -> None:
    folder = written(
        tmp_path,
        made("t", "A", "linear", 0.8, seen=True, settings={"epochs": 3}, leaks=["the test fold chose"]),
        made("t", "B", "linear", 0.7, seeds=[0, 1], clips=39),
        made("t", "B", "linear", 0.6, made="2025-01-01"),
    )
    (sheet,) = list_sheets(ResultBook.collect([folder]))
    told = " ".join(sheet.notes)
    for word in (
        "2 different settings",
        "numbers of seeds",
        "test units",
        "the test fold chose",
        "1 older record",
        "seen in pre-training",
    ):
        assert word in told
    assert sheet.rows[1] == ("B", "70.0 [68.0, 72.0]")


def test_lower_is_better_turns_the_best_cell_and_the_gain(tmp_path: Path) -> None:
    lower = {"metric": "mae_semitones", "better": "lower", "unit": "semitones", "low": 1.0, "high": 9.0}
    folder = written(tmp_path, made("pitch", "A", "linear", 2.5, **lower), made("pitch", "B", "linear", 4.25, **lower))
    book = ResultBook.collect([folder])
    (sheet,) = list_sheets(book)
    assert "lower is better" in sheet.title
    assert ", semitones, lower is better" in sheet.title
    assert sheet.best == {(0, 1)}
    assert sheet.rows[0][1] == "2.5 [1, 9]"
    (pair,) = compare_results(book, "A", "B").pairs
    assert pair.gain == pytest.approx(1.75)
    assert "kept no predictions" in pair.trouble
    assert rank_results(book, "encoder").ranking.ranks == (1.0, 2.0)


def test_a_pair_is_compared_source_by_source(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    hard = draw.random(200) < 0.4
    first, second = ~hard | (draw.random(200) < 0.5), ~hard
    results = []
    for name, right in (("A", first), ("B", second)):
        save_predictions(tmp_path / "predictions" / f"{name}.npz", answers(right))
        results.append(made("t", name, "linear", float(right.mean()), predictions=f"predictions/{name}.npz"))
    book = ResultBook.collect([written(tmp_path, *results)])
    found = compare_results(book, "A", "B")
    (pair,) = found.pairs
    assert pair.gain == pytest.approx(first.mean() - second.mean())
    # An independent bootstrap of the paired differences, source by source.
    gaps = (first.astype(float) - second).reshape(5, 40).sum(0)
    drawn = draw.integers(0, 40, (4000, 40))
    low, high = np.quantile(gaps[drawn].sum(1) / 200, [0.025, 0.975])
    assert (pair.low, pair.high) == pytest.approx((low, high), abs=0.012)
    assert pair.clear
    # No way of 10,000 to flip signs by chance comes near, on either side.
    assert pair.p == pytest.approx(2 / 10_000)
    back = compare_results(book, "B", "A").pairs[0]
    assert (back.gain, back.low) == pytest.approx((-pair.gain, -pair.high))
    # Another metric than the headline is read from the same predictions.
    other = compare_results(book.where(metric="macro_f1"), "A", "B").pairs[0]
    assert other.condition.metric == "macro_f1"
    assert other.clear


def test_a_pair_that_no_gain_makes_significant_among_these_comparisons_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Six sources have p of at least 2 / 64: enough for one comparison, not for three of which one has a p of one."""
    wrong = np.arange(60) % 7 == 0
    results = []
    for task, sources in (("few", 6), ("many", 60), ("equal", 60)):
        for name in "AB":
            file = f"predictions/{task}-{name}.npz"
            save_predictions(tmp_path / file, answers(~wrong | (name == "A") & (task != "equal"), groups=sources))
            results.append(made(task, name, "linear", 0.8, predictions=file))
    command = ["results", str(written(tmp_path, *results)), "--compare", "A", "B"]
    assert [round(p.least_p, 4) for p in compare_results(ResultBook.collect([tmp_path]), "A", "B").pairs[:2]] == [
        0.0312, 0.0002,
    ]  # fmt: skip
    said = (
        "p (Holm) of few is above 0.05 whatever the gains: with so few test units (or parts of them) p is at least 0.03"
    )
    for more, told in (([], True), (["--task", "few"], False)):
        assert main([*command, *more]) == 0
        assert (said in " ".join(capsys.readouterr().out.split())) is told


def test_tests_over_tasks_say_when_tasks_are_too_few(tmp_path: Path) -> None:
    def several(count: int) -> list[Result]:
        return [
            made(f"t{i}", e, "linear", 0.5 + 0.01 * i * (e == "A") + 0.01 * (e == "A"))
            for i in range(count)
            for e in "AB"
        ]

    few = compare_results(ResultBook.collect([written(tmp_path / "few", *several(5))]), "A", "B").over_tasks[0]
    assert few.p is None
    assert "that takes 6" in few.words
    six = compare_results(ResultBook.collect([written(tmp_path / "six", *several(6))]), "A", "B")
    assert six.over_tasks[0].p == pytest.approx(2 / 64)
    assert six.over_tasks[0].test == "Wilcoxon signed-rank"
    shown = compare_sheets(six)[1]
    assert shown.rows[0][-1] == "0.031"
    assert (
        compare_sheets(compare_results(ResultBook.collect([tmp_path / "few"]), "A", "B"))[1]
        .rows[0][-1]
        .startswith("none")
    )
    lower = {"metric": "mae", "better": "lower", "unit": ""}
    mixed = [*several(6), *(made("level", e, "linear", 3.0 - (e == "A"), **lower) for e in "AB")]
    signs = compare_results(ResultBook.collect([written(tmp_path / "mixed", *mixed)]), "A", "B").over_tasks[0]
    assert (signs.test, signs.wins) == ("sign test", 7)
    assert signs.p == pytest.approx(2 / 128)
    assert "level" in signs.words


def test_probes_are_compared_by_every_encoder(tmp_path: Path) -> None:
    results = [made("t", e, p, v) for e, p, v in (("A", "linear", 0.6), ("A", "protobin", 0.8), ("B", "linear", 0.5))]
    found = compare_results(ResultBook.collect([written(tmp_path, *results)]), "protobin", "linear")
    assert found.axis == "probe"
    assert [(p.shared, round(p.gain, 3)) for p in found.pairs] == [("A", 0.2)]
    for names in (("linear", "protobim"), ("protobim", "linear")):
        with pytest.raises(ConfigError, match=r"'linear' is a probe and 'protobim' is none.*did you mean 'protobin'"):
            compare_results(ResultBook.collect([tmp_path]), *names)


def test_ranks_need_every_cell_and_say_what_was_left_out(tmp_path: Path) -> None:
    values = {"A": 0.9, "B": 0.7, "C": 0.5}
    results = [
        made(f"t{t}", e, p, v + 0.01 * t - (0.3 * (e == "A") if p == "mhca" else 0))
        for t in range(4) for e, v in values.items() for p in ("linear", "mhca")
    ]  # fmt: skip
    results += [made("t0", "D", "linear", 0.99), made("alone", "A", "knn", 0.4)]
    table = rank_results(ResultBook.collect([written(tmp_path, *results)]), "encoder")
    assert table.names == ("A", "B", "C")
    assert table.ranking is not None
    assert table.ranking.ranks == (1.0, 2.0, 3.0)
    assert table.ranking.tasks == 4
    assert table.notes[:2] == (
        "1 encoder not ranked, since the others share fewer than two tasks with it: D (1 of 5 tasks)",
        "1 of 5 tasks not counted, since not all ranked encoders have them: alone (no result of B; C). "
        "`auricle results --ranks --encoder NAME ...` ranks the named encoders on all tasks that these share",
    )
    # linear: A > B > C (> D on t0); mhca: B > A > C.
    assert table.mean_tau == pytest.approx(1 / 3)
    sheets = rank_sheets([table])
    assert sheets[0].rows[0][:2] == ("A", "1.00")
    assert sheets[1].rows[0][2] == "+0.33 (4)"
    probes = rank_results(ResultBook.collect([tmp_path]), "probe")
    assert probes.ranking is not None
    assert probes.names == ("linear", "mhca")


def test_an_encoder_of_fewer_tasks_is_ranked_on_those_that_all_share(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One run has five tasks and a further probe, the other the first two: both are ranked, and the rest is counted."""
    roles: dict[str, Any] = {"A": {}, "A, random weights": {"role": "random"}, "B": {}, "C": {}}
    results = [
        made(f"t{t}", e, "linear", 0.9 - 0.1 * i, **more)
        for t in range(5) for i, (e, more) in enumerate(roles.items()) if e != "B" or t < 2
    ]  # fmt: skip
    results.append(made("t1", "A", "mhca", 0.2))
    folder = written(tmp_path, *results)
    table = rank_results(ResultBook.collect([folder]), "encoder")
    assert (set(table.names), table.tasks) == (set(roles), ("t0", "t1"))
    assert table.ranking is not None
    assert table.ranking.ranks == (1.0, 2.0, 3.0, 4.0)
    assert main(["results", str(folder), "--ranks"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "3 of 5 tasks not counted, since not all ranked encoders have them: t2, t3, t4 (no result of B)." in told
    assert "1 value not counted: of probes that not all ranked encoders have on the same task" in told
    # What the note names ranks the others on all tasks.
    assert main(["results", str(folder), "--ranks", "--encoder", "A", "random", "C"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "5 tasks: t0, t1, t2, t3, t4." in told
    assert "not all ranked encoders have them" not in told


def test_exports_hold_every_number_and_survive_odd_names(tmp_path: Path) -> None:
    odd = 'a_b & 50 % | "<x>"\\'
    folder = written(tmp_path, made("t", odd, "linear", 0.81234), made("t", "B", "linear", 0.5, low=float("nan")))
    sheets = list_sheets(ResultBook.collect([folder]))
    (first, second) = csv.DictReader(io.StringIO(to_csv(sheets)))
    assert (first["encoder"], first["value"]) == ("B", "0.5")
    assert (first["low"], second["encoder"], second["value"]) == ("", odd, "0.81234")
    marked = to_markdown(sheets).splitlines()
    assert r"| a\_b & 50 % \| " '"' r'\<x\>"\\ | **81.2 \[79.2, 83.2\]** |' in marked
    tex = to_latex(sheets)
    assert r"a\_b \& 50 \% | " '"' in tex
    assert r"\textbf{81.2 [79.2, 83.2]} \\" in tex
    assert tex.count("{") == tex.count("}")


def test_verb_lists_compares_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = written(tmp_path / "run/probes/t", made("t", "A", "linear", 0.8), made("t", "B", "linear", 0.7))
    assert main(["results", str(folder), "--format", "markdown"]) == 0
    assert "| A | **80.0" in capsys.readouterr().out
    assert main(["results", str(tmp_path), "--compare", "A", "B"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "+10.0" in out
    assert "too few: even if one side won all of them" in out
    target = tmp_path / "out" / "ranks.csv"
    assert main(["results", str(tmp_path), "--ranks", "--format", "csv", "--out", str(target)]) == 0
    assert "mean_rank" in target.read_text()
    capsys.readouterr()
    assert main(["results", str(tmp_path), "--task", "x"]) == 2
    assert "no result of task 'x'" in capsys.readouterr().err
    assert main(["results", str(tmp_path), "--compare", "A", "A"]) == 2
    assert main(["results", str(tmp_path), "--confidence", "1"]) == 2


def test_a_name_in_brackets_is_itself_and_an_empty_file_is_named(tmp_path: Path) -> None:
    folder = written(tmp_path / "a", made("t", "run [v2]", "linear", 0.8), made("t", "run x", "linear", 0.5))
    book = ResultBook.collect([folder])
    assert [f.result.encoder for f in book.where(encoder=["run [v2]"]).found] == ["run [v2]"]
    assert [f.result.encoder for f in book.where(encoder=["run [xyz]"]).found] == ["run x"]
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "results.jsonl").write_text("")
    with pytest.raises(CorpusError, match=r"no result in .*results\.jsonl; name folders of `auricle probe`"):
        ResultBook.collect([tmp_path / "b"])
    with pytest.raises(CorpusError, match="no result in no folder"):
        ResultBook.collect([])
