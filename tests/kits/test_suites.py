"""Whole suites: tasks with data are evaluated, all others are skipped with the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import ConfigError, CorpusError
from auricle.evaluation.driver import EvaluationConfig
from auricle.kits import suites
from auricle.kits.suites import SuiteTask, run_suite
from auricle.models import Model
from auricle.probes import SearchConfig
from auricle.results.record import read_results

SEARCH = SearchConfig(epochs=4, lr=(3e-2,), weight_decay=(1e-4,), halving=(), min_batches=2)
CONFIG = EvaluationConfig(seeds=1, search=SEARCH, controls=False, resamples=50)
SUITE = (
    SuiteTask("esc", "esc50"),
    SuiteTask("urban", "us8k"),
    SuiteTask("digits", "fsdd_asr"),
    SuiteTask("voices", "voxceleb1"),
    SuiteTask("translation", "", "its output is text"),
)


@pytest.fixture
def root(tones: Callable[..., Corpus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Data of two tasks, of which one has no labels; each folder holds a table of its clips."""
    monkeypatch.setitem(suites.SUITES, "toy", SUITE)
    folder = tmp_path / "data"
    folder.mkdir()
    for name, table in (("esc50", "fold"), ("us8k", "")):
        corpus = tones(clips=30, name=f"data/{name}")
        rows = zip(corpus.column("file"), corpus.column("label"), range(30), strict=True)
        lines = [f"{file},{label if table else ''},{1 + i // 6}" for file, label, i in rows]
        (folder / name / "metadata.csv").write_text("\n".join(["file,label,fold", *lines]), encoding="utf-8")
    (folder / "fsdd").mkdir()
    return folder


def test_tasks_with_data_are_evaluated_and_the_others_named(root: Path, encoder: FrozenEncoder, tmp_path: Path) -> None:
    model = Model(encoder, None, tmp_path / "run")
    run = {"probes": ("linear",), "config": CONFIG, "progress": False}
    found = run_suite(model, "toy", root, **run)
    assert [(r.task, r.probe, r.clips) for r in found.results] == [("esc50", "linear", 30)]
    assert read_results(tmp_path / "run" / "probes" / "esc50") == found.results
    assert list(found.skipped) == ["urban", "digits", "voices", "translation"]
    assert "nothing to predict" in found.skipped["urban"]
    assert "fsdd" in found.skipped["digits"]
    assert "there is no data of" in found.skipped["voices"]
    assert found.skipped["translation"] == "its output is text"
    again = run_suite(model, "toy", root, **run)
    assert again == found
    by_kit = run_suite(model, "toy", root, protocol="xares", config=EvaluationConfig(controls=False), progress=False)
    assert [(r.task, r.probe, r.protocol_name) for r in by_kit.results] == [
        ("esc50", "xares_linear", "xares"),
        ("esc50", "xares_knn", "xares"),
    ]


def test_refusals(root: Path, encoder: FrozenEncoder, tmp_path: Path) -> None:
    model = Model(encoder, None, tmp_path)
    with pytest.raises(ConfigError, match="no suite of tasks is called 'toi'; did you mean 'toy'"):
        run_suite(model, "toi", root)
    with pytest.raises(CorpusError, match="there is no folder"):
        run_suite(model, "toy", tmp_path / "none")
    with pytest.raises(ConfigError, match="has its own probes"):
        run_suite(model, "toy", root, protocol="hear", probes=("linear",))
    with pytest.raises(ConfigError, match="no protocol is called"):
        run_suite(model, "toy", root, protocol="heer")
