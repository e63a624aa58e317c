"""Whole suites: tasks with data are evaluated, all others are skipped with the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from auricle.cli import main
from auricle.corpus.table import Corpus
from auricle.encoders.features import LAYERS
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import ConfigError, CorpusError, StorageError
from auricle.evaluation.driver import EvaluationConfig
from auricle.kits import suites
from auricle.kits.suites import SuiteTask, run_suite
from auricle.models import Model
from auricle.probes import SearchConfig
from auricle.results.record import read_results
from auricle.tasks.cards.registry import CARDS

SEARCH = SearchConfig(epochs=4, lr=(3e-2,), weight_decay=(1e-4,), halving=(), min_batches=2)
CONFIG = EvaluationConfig(seeds=1, search=SEARCH, controls=False)
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


def test_the_output_is_probed_beside_other_features_by_strict_protocol(
    root: Path, encoder: FrozenEncoder, tmp_path: Path
) -> None:
    model = Model(encoder.reading(LAYERS), None, tmp_path / "run")
    run: dict[str, Any] = {"config": CONFIG, "progress": False}
    found = run_suite(model, "toy", root, probes=("linear", "knn"), **run).results
    layers = LAYERS.words
    assert [(r.probe, r.features) for r in found] == [("linear", layers), ("knn", layers), ("linear", "output")]
    run["config"] = EvaluationConfig(controls=False)
    by_kit = run_suite(model, "toy", root, protocol="xares", **run).results
    assert [(r.probe, r.features) for r in by_kit] == [("xares_linear", layers), ("xares_knn", layers)]


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


def test_data_is_found_by_its_names_or_by_how_it_is_laid_out(
    root: Path, encoder: FrozenEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name of the data set, of the card, of the task, in this order; never a hidden folder."""
    monkeypatch.setitem(suites.SUITES, "toy", (SuiteTask("esc", "esc50"),))
    model = Model(encoder, None, tmp_path / "run")
    run = {"probes": ("knn",), "config": CONFIG, "progress": False}
    first = run_suite(model, "toy", root, **run)
    assert [r.task for r in first.results] == ["esc50"]
    (root / "esc50").rename(root / "esc")
    moved = run_suite(model, "toy", root, **run)
    assert [r.value for r in moved.results] == [r.value for r in first.results]
    (root / "esc").rename(root / ".esc50")
    hidden = run_suite(model, "toy", root, **run)
    assert hidden.results == []
    assert "there is no data of esc50" in hidden.skipped["esc"]
    assert "expected a folder esc50 or esc" in hidden.skipped["esc"]


def test_a_suite_reads_one_channel_of_every_task(root: Path, encoder: FrozenEncoder, tmp_path: Path) -> None:
    for path in (root / "esc50").glob("*.wav"):
        wave, rate = soundfile.read(path)
        soundfile.write(path, np.stack([wave, -wave], 1), rate)
    model = Model(encoder, None, tmp_path / "run")
    run = {"probes": ("knn",), "config": CONFIG, "progress": False}
    assert "--channel 0" in run_suite(model, "toy", root, **run).skipped["esc"]
    assert [r.clips for r in run_suite(model, "toy", root, channel=0, **run).results] == [30]
    for wrong, message in (({"channel": "left"}, "channel is 'left'"), ({"time_expansion": 0.5}, "time expansion is")):
        with pytest.raises(ConfigError, match=message):
            run_suite(model, "toy", root, **wrong, **run)


def test_a_full_disk_ends_the_suite_and_what_was_done_is_found_again(
    root: Path, encoder: FrozenEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that can't be evaluated is skipped; a disk that can't be written concerns all of them."""
    monkeypatch.setitem(suites.SUITES, "toy", (SuiteTask("urban", "us8k"), SuiteTask("esc", "esc50")))
    model = Model(encoder, None, tmp_path / "run")
    run = {"probes": ("knn",), "config": CONFIG, "progress": False}
    found = run_suite(model, "toy", root, **run)
    (tmp_path / "run" / "probes" / "esc50" / "results.jsonl").unlink()
    calls: list[str] = []

    def refuse(path: Path, line: bytes, whole: object) -> None:
        calls.append(path.name)
        raise StorageError(f"no space left to write {path}")

    monkeypatch.setattr("auricle.results.record.append_line", refuse)
    with pytest.raises(StorageError, match="no space left"):
        run_suite(model, "toy", root, **run)
    assert calls == ["results.jsonl"]
    monkeypatch.undo()
    monkeypatch.setitem(suites.SUITES, "toy", (SuiteTask("urban", "us8k"), SuiteTask("esc", "esc50")))
    again = run_suite(model, "toy", root, **run)
    assert [(r.key, r.value, r.low) for r in again.results] == [(r.key, r.value, r.low) for r in found.results]


def test_every_task_of_a_published_suite_has_a_card_or_a_reason() -> None:
    for name, tasks in suites.SUITES.items():
        if name == "toy":
            continue
        assert len({task.name for task in tasks}) == len(tasks)
        for task in tasks:
            assert task.card in CARDS if task.card else len(task.differs) > 20, (name, task.name)


EMPTY = """
class Level:
    rate, width = 8000, 1

    def __call__(self, wave):
        return wave.std(1, keepdim=True)
"""


def test_the_command_names_what_was_skipped_where_nothing_could_be_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "suite_level.py").write_text(EMPTY)
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    words = ["probe", "suite_level:Level", "--suite", "superb", "--data", "data", "--no-controls"]
    assert main(words) == 2
    said = capsys.readouterr()
    assert [line.split(":")[0] for line in said.out.splitlines() if line.startswith("skipped")] == [
        f"skipped {task.name}" for task in suites.SUITES["superb"]
    ]
    assert "no task of suite 'superb' could be evaluated with the data in data" in said.err
    assert main([*words, "--channel", "left"]) == 2
    assert "channel is 'left'; expected mix, loudest, or a number from 0" in capsys.readouterr().err
    for more in (["--segment", "2"], ["--maps"]):
        assert main([*words, *more]) == 2
        assert "name it with --task instead of --suite" in capsys.readouterr().err
    assert main([*words, "--protocol", "hear", "--probes", "linear"]) == 2
    assert "leave --probes out" in capsys.readouterr().err
    assert main([*words, "--protocol", "hear", "--seeds", "2"]) == 2
    assert "has its own seeds and search; leave --seeds out" in capsys.readouterr().err
