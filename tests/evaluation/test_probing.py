"""The verb `probe`: a run folder gets results, predictions and a map, and a report can show them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from auricle.corpus.table import Corpus
from auricle.encoders.features import LAYERS
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import ConfigError, CorpusError
from auricle.evaluation import probing
from auricle.evaluation.driver import EvaluationConfig
from auricle.evaluation.probing import probe
from auricle.models import Model
from auricle.probes import SearchConfig
from auricle.report.page import write_report
from auricle.results.book import Found, ResultBook
from auricle.results.record import CONTROL_NAMES, Result, read_results
from auricle.results.tables import list_sheets
from auricle.tasks.card import TaskCard
from auricle.tasks.cards.registry import get_task, render_card, render_cards

SEARCH = SearchConfig(epochs=4, lr=(3e-2,), weight_decay=(1e-4,), halving=(), min_batches=2)


@pytest.fixture
def run(tmp_path: Path, encoder: FrozenEncoder, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder whose weights are those of the toy encoder."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "corpus.json").write_text(json.dumps({"name": "tones", "fingerprint": "x", "clips": 3, "hours": 0.1}))
    (folder / "recipe.json").write_text("{}")
    monkeypatch.setattr(probing, "load", lambda path, **how: Model(encoder, None, Path(path), Path(path)))
    return folder


def test_a_run_gets_results_a_map_and_a_report(run: Path, tones: Callable[..., Corpus]) -> None:
    card = TaskCard(name="toys", folds=3)
    config = EvaluationConfig(seeds=1, search=SEARCH)
    options = {"task": card, "probes": ("linear",), "config": config, "progress": False}
    results = probe(run, data=tones(), command="auricle probe run --task toys", **options)
    assert {r.role: r.seen for r in results} == {"pretrained": True, **dict.fromkeys(CONTROL_NAMES, False)}
    assert results[0].command == "auricle probe run --task toys"
    assert read_results(run / "probes" / "toys") == results
    path = run / "probes" / "toys" / "map.json"
    found = json.loads(path.read_text())
    assert (found["task"], len(found["points"]), len(found["clips"])) == ("toys", 30, 30)
    assert {tuple(p["labels"]) for p in found["points"]} == {("low",), ("mid",), ("high",)}
    stamp = path.stat().st_mtime_ns
    assert probe(run, data=tones(), **options) == results
    assert path.stat().st_mtime_ns == stamp
    page = write_report([run], run / "report.html").read_text(encoding="utf-8")
    assert "toy encoder" in page
    assert "audio/mpeg" in page


def test_the_output_stands_beside_other_features(
    run: Path, tones: Callable[..., Corpus], encoder: FrozenEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = FrozenEncoder(encoder.frontend, encoder.encoder, name=encoder.name, features=LAYERS)
    monkeypatch.setattr(probing, "load", lambda path, **how: Model(layers, None, Path(path), Path(path)))
    config = EvaluationConfig(seeds=1, search=SEARCH, controls=("random",))
    options = {"task": TaskCard(name="toys", folds=3), "config": config, "progress": False}
    results = probe(run, data=tones(), probes=("linear", "knn"), **options)
    words = "all layers, mean and deviation"
    said = [(r.encoder, r.role, r.probe, r.features) for r in results]
    assert said == [
        ("toy encoder", "pretrained", "linear", words),
        ("toy encoder", "pretrained", "knn", words),
        ("toy encoder, random weights (seed 0)", "random", "linear", words),
        ("toy encoder, random weights (seed 0)", "random", "knn", words),
        ("toy encoder (output)", "pretrained", "linear", "output"),
    ]
    assert len({r.key for r in results}) == len({r.predictions for r in results}) == 5
    assert {r.seen for r in results if r.role == "pretrained"} == {True}
    (sheet,) = list_sheets(ResultBook.collect([run]))
    assert {row[0] for row in sheet.rows} >= {"toy encoder", "toy encoder (output)"}
    assert f"features of toy encoder, random weights: {words}" in sheet.notes
    assert "features of toy encoder (output): output" in sheet.notes
    assert {record["features"] for record in sheet.records} == {words, "output"}
    page = write_report([run], run / "report.html").read_text(encoding="utf-8")
    assert f"Features of random weights, toy encoder: {words}." in page
    assert "no control" not in page
    # Without a probe `linear` there is nothing to compare, and the output alone needs no second row.
    assert len(probe(run, data=tones(), probes=("knn",), **options)) == 2
    monkeypatch.setattr(probing, "load", lambda path, **how: Model(encoder, None, Path(path), Path(path)))
    plain = probe(run, data=tones(), probes=("linear",), **options)
    assert [r.key for r in plain if r.role == "pretrained"] == [results[-1].key]
    assert not any("features" in note for sheet in list_sheets(as_book(plain)) for note in sheet.notes)


def as_book(results: list[Result]) -> ResultBook:
    return ResultBook(tuple(Found(result, Path()) for result in results))


def test_a_task_without_its_audio_is_refused(run: Path) -> None:
    with pytest.raises(CorpusError, match="set --data to the folder of esc10"):
        probe(run, task="esc10", progress=False)
    with pytest.raises(ConfigError, match="did you mean 'scenes'"):
        probe(run, task="scene", progress=False)


def test_table_of_tasks_names_each() -> None:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(render_cards())
    assert all(name in captured.get() for name in ("esc10", "sed_synth", "scenes_single", "folder", "us8k"))


def test_one_card_is_told_whole() -> None:
    console = Console(width=120)
    with console.capture() as captured:
        console.print(render_card(get_task("arabic_verification")))
    said = captured.get()
    assert all(word in said for word in ("verification", "CC BY 4.0", "--rule.trials trials.csv", "Ghandoura"))
