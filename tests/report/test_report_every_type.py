"""One page of a run folder that holds a result of every type of task, old lines and new ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_pages import Page, line, written
from prediction_cases import MAKE, made, saved
from result_files import write_results
from test_record_files import FIRST_VERSION

from auricle.metrics.catalogue import described
from auricle.results.book import ResultBook
from auricle.results.record import Result
from auricle.results.tables import list_sheets

STUDY = {
    "run": "clap", "encoder": {"name": "clap", "fingerprint": "0123"}, "corpus": {"name": "vögel", "fingerprint": "f"},
    "task": "zero-shot classification", "clips": 12, "command": "auricle zero-shot RUN", "notes": ["few <clips>"],
    "scores": [
        {"name": "accuracy", "value": 0.625, "low": 0.5, "high": 0.75, "confidence": 0.9, "interval": "bootstrap",
         "chance": 0.5},
        {"name": "macro_f1", "value": None, "low": None, "high": None, "confidence": 0.9, "interval": "bootstrap",
         "chance": None},
    ],
    "settings": {"templates": ["a sound of {}"]}, "predicted": {}, "control": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pre-trained encoder and its random control on every type; audio-text results lie where their verbs write."""
    folder = tmp_path_factory.mktemp("runs") / "jeder typ"
    places = {"zero_shot": "zero-shot", "text_retrieval": "text-retrieval"}
    for name in MAKE:
        place = folder / places.get(name, f"probes/{name}")
        results: list[Result] = []
        for encoder, role, noise in (("mosaic", "pretrained", 0.2), ("chance", "random", 2.0)):
            results.append(saved(place, name, encoder, made(name, noise), role=role, seen=False))
        write_results(place / "results.jsonl", results)
    (folder / "zero-shot" / "vögel.json").write_text(json.dumps(STUDY), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def page(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return written(tmp_path_factory.mktemp("page"), run)


def test_the_page_is_whole_and_loads_nothing(page: Page) -> None:
    assert page.wrong == []
    assert page.open == []
    assert page.loaded == []
    assert page.handlers == []
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)


def test_every_result_is_on_the_page_as_in_the_list(page: Page, run: Path) -> None:
    """The page and `auricle results` show one value with one interval, by one rule."""
    sheets = {sheet.title.split(":")[0]: sheet for sheet in list_sheets(ResultBook.collect([run]))}
    assert set(sheets) == {f"{name} task" for name in MAKE}
    for name, sheet in sheets.items():
        assert f"Task: {name}" in page.text
        for record in sheet.records:
            info = described(record["metric"], record["unit"], record["better"])
            assert (
                f"{info.text(record['value'])} [{info.text(record['low'])}, {info.text(record['high'])}]" in page.text
            )
    assert page.text.count("control") >= len(MAKE)


@pytest.mark.parametrize("name", [name for name in MAKE if name not in {"clustering", "label_budget"}])
def test_the_better_encoder_is_said_to_be_better(page: Page, name: str, run: Path) -> None:
    (sheet,) = list_sheets(ResultBook.collect([run]).where(task=[f"{name} task"]))
    ours, control = (next(r for r in sheet.records if r["role"] == role) for role in ("pretrained", "random"))
    lower = ours["better"] == "lower"
    assert (ours["value"] < control["value"]) is lower
    section = page.text.split(f"Task: {name} task")[-1].split("Task: ")[0]
    word = "better than" if lower else "above"
    assert f"{word} random weights" in section
    assert "without a paired comparison" not in section


def test_audio_and_text_has_its_own_section(page: Page) -> None:
    section = page.text.split("Audio and text")[-1]
    assert "zero-shot classification" in section
    assert "accuracy 62.5 [50.0, 75.0] 50.0" in section
    assert "with 90 % intervals (bootstrap); 12 clips of vögel" in section
    assert "few <clips>" in section
    assert "a sound of {}" in section


def test_damaged_files_are_listed_and_the_rest_is_shown(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "halb"
    (folder / "probes" / "clips").mkdir(parents=True)
    whole = (run / "probes" / "clips" / "results.jsonl").read_bytes()
    (folder / "probes" / "clips" / "results.jsonl").write_bytes(whole + whole[:50] + b"\n[1, 2]\n")
    (folder / "probes" / "clips" / "map.json").write_bytes(b'{"task": "clips task", "poi')
    (folder / "zero-shot").mkdir()
    (folder / "zero-shot" / "a.json").write_text("[]")
    page = written(tmp_path, folder)
    assert "clips/results.jsonl: line 3 is damaged and was skipped" in page.text
    assert "clips/results.jsonl: line 4 is no record and was skipped" in page.text
    assert "clips/map.json is damaged and was skipped" in page.text
    assert "zero-shot/a.json holds no JSON object and was skipped" in page.text
    assert "Task: clips task" in page.text
    assert page.wrong == []


def test_lines_of_version_0_1_stand_beside_new_ones(tmp_path: Path) -> None:
    folder = tmp_path / "alt" / "probes" / "esc10"
    folder.mkdir(parents=True)
    new = line(
        "esc10", "random", "linear", 0.5, corpus_fingerprint="feed", protocol="folds", split=FIRST_VERSION["split"]
    )
    (folder / "results.jsonl").write_text(f"{json.dumps(FIRST_VERSION)}\n{json.dumps(new)}\n")
    page = written(tmp_path, tmp_path / "alt")
    # One table: the gain over the control is that of the two lines.
    assert page.text.count("Task: esc10") == 1
    assert "+25.0" in page.text
    assert "seen in pre-training" in page.text
