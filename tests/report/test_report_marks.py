"""Marks of values: gains by paired comparison, optimistic scores, results of an older version; as `auricle results`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_pages import line, written
from prediction_cases import saved
from result_files import answers, write_results

from auricle.cli import main
from auricle.results.book import ResultBook
from auricle.results.comparison import compare_results
from auricle.results.export import to_csv, to_latex, to_markdown
from auricle.results.record import SCHEME, Result
from auricle.results.tables import list_sheets

Read = Callable[..., Any]
N = 60
COPIES = {"copies": {"clips": {"bytes": 2, "near": 1}, "of": N, "dropped": 0, "said": ["3 of 60 ... (such as a of b)"]}}


def results_of(folder: Path, **right: np.ndarray) -> Path:
    """Write results of encoders that are right on these clips; `control` has random weights."""
    where = folder / "probes" / "t"
    results = [
        saved(
            where, "clips", name, answers(r, groups=N), role="random" if name == "control" else "pretrained", task="t"
        )
        for name, r in right.items()
    ]
    write_results(where / "results.jsonl", results)
    return folder


def test_a_gain_is_marked_by_the_paired_comparison(tmp_path: Path) -> None:
    """`close` wins on ten clips and loses on none: its interval overlaps the control's, the paired one is clear."""
    clips = np.arange(N)
    run = results_of(
        tmp_path / "run", close=clips >= 20, alike=(clips >= 31) | (clips < 2), worse=clips >= 45, control=clips >= 30
    )
    by_name = {found.result.encoder: found.result for found in ResultBook.collect([run]).found}
    assert by_name["close"].low < by_name["control"].high
    page = written(tmp_path, run).text
    for name, sign in (("close", "▲ "), ("alike", ""), ("worse", "▼ ")):
        (pair,) = compare_results(ResultBook.collect([run]), name, "control").pairs
        assert pair.clear is bool(sign)
        assert f"{sign}{100 * pair.gain:+.1f} [{100 * pair.low:+.1f}, {100 * pair.high:+.1f}]" in page
    assert page.count("▲") == page.count("▼") == 2  # one each, and their explanation
    assert "66.7 %; above random weights (50.0 %, probe): +16.7 [" in page


def test_without_predictions_no_gain_is_marked(tmp_path: Path) -> None:
    run = results_of(tmp_path / "run", mine=np.arange(N) >= 5, control=np.arange(N) >= 50)
    (run / "probes" / "t" / "predictions" / "clips-control.npz").unlink()
    page = written(tmp_path, run).text
    assert "+75.0" in page
    assert page.count("▲") == 1
    assert "Without this interval: predictions were not kept, or test units are too few." in page
    assert "random weights (16.7 %, probe): +75.0, without a paired comparison" in page


def edited(folder: Path, change: Callable[[Result], Result]) -> Path:
    run = results_of(folder, mine=np.arange(N) >= 5, other=np.arange(N) >= 30)
    found = [f.result for f in ResultBook.collect([run]).found]
    write_results(run / "probes" / "t" / "results.jsonl", [change(found[0]), found[1]])
    return run


def test_scores_with_copies_of_training_clips_have_a_mark_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = edited(tmp_path / "run", lambda r: replace(r, details=COPIES))
    (sheet,) = list_sheets(ResultBook.collect([run]))
    marked = [row[1].endswith("] †") for row in sheet.rows if not row[0].startswith("baseline")]
    assert marked == [True, False]
    words = "3 of 60 test clips are copies of training clips"
    assert f"† {words}, which makes the score optimistic" in sheet.notes
    assert r"\] †" in to_markdown([sheet])
    assert r"] \textdagger{}" in to_latex([sheet])
    assert words in to_csv([sheet])
    page = written(tmp_path, run).text
    assert page.count("91.7 †") == 1
    said = "† not the score of new clips: test clips are copies of training clips, or the protocol leaks (the section"
    assert said in page
    assert f"† {words}, which makes the score optimistic." in page
    # Comparisons and ranks say it, too.
    for more in (["--compare", "mine", "other"], ["--ranks"]):
        assert main(["results", str(run), *more]) == 0
        assert words in " ".join(capsys.readouterr().out.split())
    # A copy with another label does the reverse.
    reverse = {"copies": {**COPIES["copies"], "other_label": 2}}
    (sheet,) = list_sheets(ResultBook.collect([edited(tmp_path / "reverse", lambda r: replace(r, details=reverse))]))
    assert f"† {words}, 2 of them with another label, which makes the score pessimistic" in sheet.notes
    # Copies that were dropped are no reason.
    dropped = {"copies": {**COPIES["copies"], "dropped": 3}}
    clean = edited(tmp_path / "clean", lambda r: replace(r, details=dropped))
    assert "†" not in to_markdown(list_sheets(ResultBook.collect([clean])))
    assert "†" not in written(tmp_path / "second", clean).text


def test_results_of_an_older_version_have_a_mark_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Intervals of an older rule do not share the caption of the present one."""
    old = {"scheme": 3, "interval": "95 % bootstrap", "command": "auricle probe RUN --task t"}
    run = edited(tmp_path / "run", lambda r: replace(r, **old))
    (sheet,) = list_sheets(ResultBook.collect([run]))
    notes = "\n".join(sheet.notes)
    assert [row[1][-1] for row in sheet.rows if not row[0].startswith("baseline")] == ["‡", "]"]
    assert "intervals: 95%, 95 % bootstrap (mine)" in notes
    assert f"jackknife over the {N} test clips (other)" in notes
    said = f"(scheme 3, now {SCHEME}): mine; to have them by the present rules, run again: auricle probe RUN --task t"
    assert said in notes
    assert r"\textdaggerdbl{}" in to_latex([sheet])
    page = written(tmp_path, run).text
    assert page.count("91.7 ‡") == 1
    assert "‡ computed by an older version of auricle, by other rules for scores or intervals (the" in page
    assert said in page
    for more in (["--compare", "mine", "other"], ["--ranks"]):
        assert main(["results", str(run), *more]) == 0
        assert said in " ".join(capsys.readouterr().out.split())


def test_results_of_before_intervals_and_selection_changed_have_the_mark(tmp_path: Path) -> None:
    run = edited(tmp_path / "run", lambda r: replace(r, scheme=5))
    (sheet,) = list_sheets(ResultBook.collect([run]))
    assert [row[1][-1] for row in sheet.rows if not row[0].startswith("baseline")] == ["‡", "]"]
    assert any(f"(scheme 5, now {SCHEME}): mine" in note for note in sheet.notes)


def test_a_damaged_record_has_no_paired_comparison(page: Read) -> None:
    _, words, _ = page(line("t", "pretrained", "linear", 0.9, leaks=3, details=[1]), line("t", "random", "linear", 0.3))
    assert "90.0 [89.0, 91.0] +60.0" in words
    assert words.count("▲") == 1
