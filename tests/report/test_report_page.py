"""The report page: complete, escaped, self-contained, honest about what is missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_pages import Page, written

from auricle.errors import AuricleError, CheckpointError
from auricle.report import write_report
from auricle.report.page import build_page
from auricle.report.run_data import read_runs

MakeRun = Callable[..., Path]


@pytest.fixture(scope="module")
def full(make_run: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("full")
    return written(folder, make_run(folder / "mosaic"))


def test_page_is_well_formed_and_every_link_leads_somewhere(full: Page) -> None:
    assert full.wrong == []
    assert full.open == []
    assert len(full.ids) == len(set(full.ids))
    assert {link.removeprefix("#") for link in full.links} <= set(full.ids)
    assert all(link.startswith("#") for link in full.links)


def test_page_loads_nothing_and_holds_plotly_once(full: Page) -> None:
    assert full.loaded == []
    assert len(full.plain_scripts) == 2
    assert sum(len(script) > 1_000_000 for script in full.plain_scripts) == 1


def test_user_text_is_escaped_everywhere(full: Page) -> None:
    assert full.handlers == []
    assert "b" in full.tags  # our own marks
    assert full.text.count('<b>loud</b> & "odd"') >= 2
    assert "AudioMosaic <script>alert(1)</script>" in full.text
    assert "clips/bad </td>.wav" in full.text
    assert "--data 'my <data>'" in full.text
    assert full.tags.count("script") == 4
    # What a click shows is set as text by the page's script; all else is read by plotly, which knows some tags.
    drawn = json.dumps([{k: v for k, v in t.items() if k != "customdata"} for f in full.figures for t in f["data"]])
    assert "<b>loud" not in drawn
    assert "&lt;b&gt;loud&lt;/b&gt; &amp;" in drawn
    assert "<" not in full.scripts["figures"].replace("\\u003c", "")


def test_results_table_has_every_number_with_interval_control_and_mark(full: Page) -> None:
    for words in ("84.0 [81.0, 86.5] +29.0", "55.0 [52.0, 57.5]", "68.0 [65.0, 70.5]"):
        assert words in full.text
    assert full.text.count("not seen") >= 2
    assert " seen " in full.text.replace("not seen", "")
    assert "log-mel statistics control" in full.text.replace("  ", " ")
    assert "linear probe mhca probe protobin probe" in full.text


def test_verdict_compares_with_the_best_of_each_control(make_run: MakeRun, tmp_path: Path, full: Page) -> None:
    alone = ", without a paired comparison"
    assert (
        "Best pre-trained: audiomosaic-tiny with the protobin probe, 84.0 %; above random weights (55.0 %, protobin): "
        f"+29.0{alone}; above log-mel statistics (68.0 %, protobin): +16.0{alone}; above MFCC statistics (61.0 %"
        in full.text
    )
    weak = written(tmp_path, make_run(tmp_path / "weak", shift=-0.28))
    assert f"56.0 %; above random weights (55.0 %, protobin): +1.0{alone}; below log-mel" in weak.text


def test_recipe_deviations_corpus_and_environment_are_shown(full: Page) -> None:
    for words in (
        "audiomosaic tiny",
        "400 of 400",
        "batch 256 pairs instead of 6144: two cores",
        "arXiv 2605.14231",
        "objective.mask.time 0.5 0.6",
        "abcdef0123456789",
        "esc10, sed_synth",
        "truncated: 12 of 80000 frames",
        "auricle pretrain audiomosaic --data field & forest",
        "torch 2.13.0",
        "2026-01-02 complete: 400 steps",
        "clips seen 102 400",  # 400 steps of 256
    ):
        assert words in full.text


def test_every_curve_is_drawn_with_its_values(full: Page) -> None:
    lines = [t for f in full.figures for t in f["data"] if t.get("mode") == "lines"]
    names = {trace["name"] for trace in lines}
    assert {"loss", "accuracy", "representation", "projection", "alignment", "uniformity", "clips/s", "wait"} <= names
    wait = next(trace for trace in lines if trace["name"] == "wait")
    assert wait["x"] == list(range(10, 401, 10))
    assert max(wait["y"]) > 1  # per cent
    assert {"memory_gb", "nan_at_times"} <= names
    gaps = next(trace for trace in lines if trace["name"] == "nan_at_times")
    assert gaps["x"] == list(range(20, 401, 20))


def test_confusion_rows_sum_to_hundred_and_all_results_can_be_chosen(full: Page) -> None:
    maps = [t for f in full.figures for t in f["data"] if t["type"] == "heatmap" and t.get("meta") != "values"]
    assert len(maps) == 2 * 12  # two single-label tasks, four encoders, three probes
    for trace in maps:
        assert [sum(row) for row in trace["z"]] == pytest.approx([100.0] * 10)
    assert "there is no confusion matrix" in full.text  # of the multi-label task


def test_map_points_and_clips_are_there_once(full: Page) -> None:
    (clips,) = full.clips
    assert len(clips) == 20
    assert all(clip["audio"].startswith("data:audio/ogg;base64,") for clip in clips)
    assert all(clip["image"].startswith("data:image/png;base64,iVBOR") for clip in clips)
    points = [t for f in full.figures for t in f["data"] if t.get("customdata") and t["type"] == "scatter"]
    assert sum(len(trace["x"]) for trace in points) == 300
    ringed = [d["clip"] for trace in points for d in trace["customdata"] if d["clip"] is not None]
    assert sorted(ringed) == list(range(20))
    assert full.tags.count("audio") == 21  # the gallery and the player
    assert "300 clips by pooled embedding, 20 of them playable" in full.text


def test_provenance_of_a_number(full: Page) -> None:
    for words in (
        "auricle probe RUN --task esc10",
        "pretrained-0123456789ab",
        "feedbeef0001",
        "398 of 400",
        "12 per fold, chosen on validation clips",
        "0: 77.0, 1: 78.0, 2: 79.0",
        "leave one fold out; validation is the next fold",
        "truncated: 3 of 80000 frames",
        "class 'wind' has few clips",
        "fold lr wd validation 1 0.001 0.0001 0.78",
    ):
        assert words in full.text


def test_two_runs_share_controls_and_stand_side_by_side(make_run: MakeRun, tmp_path: Path) -> None:
    first, second = make_run(tmp_path / "true-grid"), make_run(tmp_path / "released-grid", shift=0.02)
    page = written(tmp_path, first, second)
    assert page.wrong == []
    assert len(page.ids) == len(set(page.ids))
    loss = page.figures[0]["data"]
    assert [trace["name"] for trace in loss] == ["true-grid: loss", "released-grid: loss"]
    assert len({trace["line"]["color"] for trace in loss}) == 2
    table = page.text[: page.text.index("Runs", 200)]
    assert table.index("true-grid · audiomosaic-tiny") < table.index("released-grid · audiomosaic-tiny")
    # Equal keys are one experiment: the control stands once per task.
    assert table.count("random weights control") == 3
    assert len(page.clips) == 2


def test_equal_folder_names_get_their_parents(make_run: MakeRun, tmp_path: Path) -> None:
    page = written(tmp_path, make_run(tmp_path / "a" / "run"), make_run(tmp_path / "b" / "run", shift=0.01))
    assert "a/run · b/run" in page.text


def test_missing_pieces_are_said(make_run: MakeRun, tmp_path: Path) -> None:
    page = written(tmp_path, make_run(tmp_path / "bare", probes=False, curves=False))
    for words in ("No results yet", "No training curves for bare", "There are no numbers yet"):
        assert words in page.text
    assert page.figures == []
    assert page.wrong == []


def test_a_folder_of_probes_alone_makes_a_page(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    for name in ("recipe.json", "corpus.json", "environment.json", "metrics.jsonl", "events.log"):
        (run / name).unlink()
    page = written(tmp_path, run)
    for words in ("No recipe.json", "No corpus.json", "No environment.json", "84.0 [81.0, 86.5]"):
        assert words in page.text


def test_damaged_files_are_listed_and_the_rest_is_shown(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    metrics = run / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + '{"step": 410, "lo')
    results = run / "probes" / "esc10" / "results.jsonl"
    results.write_text("[]\n" + results.read_text().replace("\n", "\n\n", 1))
    (run / "corpus.json").write_text('{"name": "cut')
    (run / "probes" / "esc10" / "map.json").write_text("3")
    page = written(tmp_path, run)
    for words in (
        "metrics.jsonl: line 41 is damaged",
        "results.jsonl: line 1 is no record",
        "corpus.json is damaged",
        "map.json holds no JSON object",
        "No map of embeddings",
        "84.0 [81.0, 86.5]",
    ):
        assert words in page.text


def test_undefined_numbers_are_dashes_and_odd_records_do_not_stop_the_page(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    where = run / "probes" / "odd task #1"
    where.mkdir()
    odd = [
        {"task": "odd task #1", "role": "pretrained", "probe": "linear", "value": None, "low": None, "high": None},
        {"role": "random", "probe": "<i>probe</i>", "value": 0.5, "per_class": {"x": {"ap": None}}, "kind": "multi"},
        {"role": "new role", "probe": "linear", "value": 0.5, "confusion": [[0, 0], [None, 1]], "kind": "single"},
    ]
    (where / "results.jsonl").write_text("\n".join(map(json.dumps, odd)))
    page = written(tmp_path, run)
    assert page.wrong == []
    assert "\u2013 [\u2013, \u2013]" in page.text
    assert "<i>probe</i> probe" in page.text
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)


def test_a_newer_record_displaces_an_older_one_which_stays_in_the_provenance(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    results = run / "probes" / "esc10" / "results.jsonl"
    newer = json.loads(results.read_text().split("\n")[9])
    assert newer["role"] == "pretrained"
    newer |= {"value": 0.912, "key": "another", "made": "2026-02-02T00:00:00+00:00"}
    results.write_text(results.read_text() + json.dumps(newer) + "\n")
    page = written(tmp_path, run)
    assert "91.2" in page.text
    table = page.text[: page.text.index("Runs", 200)]
    assert "78.0 [75.0, 80.5]" not in table
    assert "Replaced by a newer record" in page.text


@pytest.mark.parametrize(
    "poison",
    ["javascript:alert(1)", "data:text/html;base64,PHNjcmlwdD4=", "https://example.org/a.ogg", "not base64!", 3, None],
)
def test_a_map_can_only_hold_sounds_and_images(
    make_run: MakeRun, map_data: dict[str, Any], tmp_path: Path, poison: object
) -> None:
    run = make_run(tmp_path / "run")
    bad = {**map_data, "clips": [{**map_data["clips"][0], "audio": poison, "spectrogram": poison}]}
    (run / "probes" / "esc10" / "map.json").write_text(json.dumps(bad))
    page = written(tmp_path, run)
    ((clip,),) = page.clips
    assert clip["audio"] == clip["image"] == ""
    assert "0 of them playable" in page.text


def test_a_map_of_several_labels_has_one_trace_and_a_menu(
    make_run: MakeRun, map_data: dict[str, Any], tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", probes=False)
    points = [{**point, "labels": [*point["labels"], "rain </option>"]} for point in map_data["points"]]
    where = run / "probes" / "tags"
    where.mkdir(parents=True)
    (where / "map.json").write_text(json.dumps({**map_data, "task": "tags", "points": points}))
    page = written(tmp_path, run)
    assert page.wrong == []
    assert "Map: tags" in page.text
    assert "Highlight: every clip" in page.text
    assert "rain </option>" in page.text
    (trace,) = [t for f in page.figures for t in f["data"] if t.get("customdata")]
    assert trace["customdata"][0]["labels"] == ["bell", "rain </option>"]
    assert trace["text"][0] == "bell + rain &lt;/option&gt;"


def test_out_may_be_a_folder_and_is_replaced_whole(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", probes=False, curves=False)
    target = write_report([run], tmp_path / "pages")
    assert target == tmp_path / "pages" / "report.html"
    target.write_text("old")
    write_report([run], target)
    assert target.read_text().startswith("<!doctype html>")
    assert [p.name for p in target.parent.iterdir()] == ["report.html"]


def test_wrong_input_is_refused_with_what_to_do(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", probes=False, curves=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="at least one run"):
        write_report([], tmp_path / "r.html")
    with pytest.raises(CheckpointError, match="there is no run folder"):
        write_report([tmp_path / "nowhere"], tmp_path / "r.html")
    with pytest.raises(CheckpointError, match=r"neither recipe\.json nor any results"):
        write_report([tmp_path / "empty"], tmp_path / "r.html")
    with pytest.raises(CheckpointError, match="given twice"):
        write_report([run, tmp_path / "empty" / ".." / "run"], tmp_path / "r.html")
    (tmp_path / "file").write_text("x")
    with pytest.raises(AuricleError, match="can't write"):
        write_report([run], tmp_path / "file" / "r.html")


def test_audio_and_text_scores_stand_beside_chance_and_control(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path / "towers")
    assert "Audio and text" not in written(tmp_path, run).text
    interval = {"confidence": 0.95, "interval": "bootstrap over clips"}
    score = {"name": "accuracy", "value": 0.625, "low": 0.5, "high": 0.75, "chance": 0.1, **interval}
    study = {
        "task": "zero-shot: 'a <b> of {}'",
        "clips": 40,
        "corpus": {"name": "my <data>", "fingerprint": "0123"},
        "scores": [score, {"name": "odd", "value": None}],
        "settings": {"templates": ["a <b> of {}"]},
        "notes": ["2 clips without label were skipped"],
        "control": {"scores": [{**score, "value": 0.125, "low": 0.05, "high": 0.2}]},
        "command": "auricle zero-shot towers",
    }
    (run / "zero-shot").mkdir()
    (run / "zero-shot" / "data.json").write_text(json.dumps(study), encoding="utf-8")
    (run / "text-retrieval").mkdir()
    (run / "text-retrieval" / "data.json").write_text("{", encoding="utf-8")
    page = written(tmp_path, run)
    assert page.wrong == []
    head = "measure the run random weights chance"
    for words in (
        f"{head} accuracy 62.5 [50.0, 75.0] 12.5 [5.0, 20.0] 10.0 odd \u2013 \u2013 \u2013",
        "zero-shot: 'a <b> of {}'",
        "with 95 % intervals (bootstrap over clips); 40 clips of my <data>.",
        "2 clips without label",
        "auricle zero-shot towers",
        "text-retrieval/data.json is damaged",
    ):
        assert words in page.text, words


def test_no_table_is_wider_than_a_phone(make_run: MakeRun, tmp_path: Path) -> None:
    """Each table scrolls in a box of its own, not the page."""
    text = build_page(read_runs([make_run(tmp_path / "run")]))
    assert text.count("<table") == text.count('class="scroll"><table') > 3
    assert ".scroll { overflow-x: auto; max-width: 100%; }" in text
