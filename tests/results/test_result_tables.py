"""Tables of results on a narrow terminal."""

from __future__ import annotations

import io
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from prediction_cases import made, saved
from result_files import write_results
from rich.console import Console

from auricle.cli import main
from auricle.results.export import render_sheets
from auricle.results.tables import Sheet

PROBES = ("linear", "attentive_pooling", "prototypes", "nearest_neighbours", "mlp", "centroid")
ENCODERS = ("a-long-name-of-an-encoder", "baseline")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    results = []
    for seed, encoder in enumerate(ENCODERS):
        result = saved(tmp_path, "clips", encoder, made("clips", 1.0 + seed))
        marked = {"details": {"copies": {"clips": {"bytes": 1}, "of": 24}}, "scheme": 3}
        results += [replace(result, probe=probe, key=f"{encoder} {probe}", **marked) for probe in PROBES]
    write_results(tmp_path / "results.jsonl", results)
    return tmp_path


@pytest.mark.parametrize("more", [[], ["--compare", *ENCODERS], ["--ranks"]], ids=["list", "compare", "ranks"])
def test_tables_are_readable_at_80_columns(
    more: list[str], folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["results", str(folder), *more]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    words = set(" ".join(lines).split())
    assert set(PROBES) <= words
    assert set(ENCODERS) <= words
    # An interval is not broken: each line that opens one closes it.
    assert all(line.count("[") == line.count("]") for line in lines)
    assert any("[" in line for line in lines) or more == ["--ranks"]
    # The names of the rows are repeated in each part of the table.
    heads = [line for line in lines if re.match(r"(encoder|task) ", line)]
    assert len(heads) > 1


def test_no_number_is_cut_where_only_names_can_be_broken() -> None:
    rows = tuple(
        (name, *["23.0 [19.4, 27.0] †‡", "39.2 [33.3, 45.4] †", "42.0 [36.2, 47.9] †"])
        for name in ("log-mel statistics", "demo-results, random weights (seed 0)")
    )
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(render_sheets([Sheet("title", ("encoder", "linear", "mhca", "protobin"), rows)]))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1].split() == ["encoder", "linear", "mhca", "protobin"]
    assert sum(line.rstrip().endswith("[36.2, 47.9] †") for line in lines) == 2


@pytest.mark.parametrize("names", [["linear"], ["mlp", "linear", "centroid"], ["baseline"]])
def test_a_comparison_of_one_name_says_what_to_write(
    names: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["results", str(folder), "--compare", *names]) == 2
    message = capsys.readouterr().err
    assert "expected two encoders or two probes" in message
    remedy = shlex.split(message.split("; write ")[1])
    assert names[0] in remedy
    assert main(["results", str(folder), *remedy]) == 0
