"""The verbs `auricle zero-shot` and `auricle text-retrieval`: tables, records, and refusals."""

from __future__ import annotations

import csv
import html
import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from safetensors.numpy import load_file

from auricle.cli import main
from auricle.corpus.sources import open_corpus
from auricle.encoders.slice_cnn import SliceCNNConfig
from auricle.evaluation.audio_text.model import AudioText, open_audio_text, untrained_audio_text
from auricle.evaluation.audio_text.run import text_retrieval, zero_shot
from auricle.objectives.text.clap import Clap
from auricle.objectives.text.pretrained_text import PretrainedTextConfig
from auricle.recipes import get_recipe, pretrain
from auricle.results.predictions import load_predictions
from auricle.results.record import read_results
from auricle.results.scoring import compare

RATE, EACH = 16000, 6
KINDS = {"low_tone": 200.0, "high_tone": 2000.0}


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes in sub-folders, a recording that is no audio, and captions beside them (one clip has none)."""
    folder = tmp_path_factory.mktemp("data") / "labelled"
    generator = np.random.default_rng(0)
    rows = []
    for kind, pitch in KINDS.items():
        (folder / kind).mkdir(parents=True)
        for place in range(EACH):
            time = np.arange(RATE) / RATE
            wave = 0.3 * np.sin(2 * np.pi * pitch * (1 + place / 20) * time) + 0.02 * generator.standard_normal(RATE)
            soundfile.write(folder / kind / f"{place}.wav", wave.astype(np.float32), RATE)
            rows.append([f"{kind}/{place}.wav", f"a {kind.replace('_', ' ')}, number {place}"])
    (folder / "low_tone" / "broken.wav").write_bytes(b"RIFF but not a recording")
    write_table(folder / "captions.csv", ["file", "caption"], rows[:-1])
    return folder


@pytest.fixture(scope="module")
def described(labelled: Path) -> Path:
    """A table of the same clips with captions, labels of another name, and an empty column."""
    rows = [
        [str(path.resolve()), f"a {path.parent.name.replace('_', ' ')}, take {path.stem}", path.parent.name, ""]
        for path in sorted(labelled.rglob("[0-9].wav"))
    ]
    return write_table(labelled.parent / "described.csv", ["path", "caption", "pitch", "said"], rows)


@pytest.fixture(scope="module")
def run(described: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = get_recipe("clap", "tiny")
    text = recipe.objective.text.replace(width=16, depth=1, words=64)
    recipe = recipe.replace(
        encoder=SliceCNNConfig(channels=(4, 8, 8)),
        objective=recipe.objective.replace(text=text, dim=8),
        loader=recipe.loader.replace(batch=4, workers=0),
        train=recipe.train.replace(steps=2, warmup_steps=0, threads=1, device="cpu", precision="fp32"),
    )
    return pretrain(recipe, open_corpus(described), tmp_path_factory.mktemp("runs") / "clap", progress=False)


def said(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> str:
    """Run a command that must end with this code, and return what it said on one line."""
    assert main([str(word) for word in words]) == code
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return re.sub(r"\s+", " ", captured.err if code else captured.out)


def shown(share: float) -> str:
    return f"{100 * share:.1f}"


def test_zero_shot_prints_a_table_and_writes_into_the_run_folder(
    run: Path, labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    words = ["zero-shot", run, "--data", labelled, "--labels", "label"]
    page = said(capsys, *words, "--template", "a {}", "the sound of a {}")
    path = run / "zero-shot" / "labelled.json"
    assert str(path.resolve()) in page
    record = json.loads(path.read_text())
    towers = open_audio_text(run)
    expected = zero_shot(towers, labelled, templates=("a {}", "the sound of a {}"), progress=False).found
    assert {name: record[name] for name in expected.to_json()} == json.loads(json.dumps(expected.to_json()))
    assert [score["name"] for score in record["scores"]] == ["accuracy", "macro_f1"]
    assert record["scores"][0]["chance"] == 0.5
    assert record["settings"]["templates"] == ["a {}", "the sound of a {}"]
    assert record["settings"]["classes"] == ["high_tone", "low_tone"]
    assert set(record["predicted"]) == {f"{kind}/{place}.wav" for kind in KINDS for place in range(EACH)}
    assert record["corpus"]["fingerprint"] == open_corpus(labelled).fingerprint
    for answers in (record, record["control"]):
        for score in answers["scores"]:
            assert score["low"] <= score["value"] <= score["high"]
            assert f"{shown(score['value'])} [{shown(score['low'])}, {shown(score['high'])}]" in page
    said(capsys, "report", run, "--out", tmp_path / "report.html")
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    for part in ("Audio and text", record["task"], shown(record["scores"][0]["value"])):
        assert html.escape(part) in report
    assert "random weights" in page
    assert "50.0" in page
    # Its own training clips, a broken recording: a reader is told both.
    assert "these are not new clips" in page
    assert "12 of 13 recordings used; 1 skipped: 1 corrupt." in page


def test_a_checkpoint_another_column_and_no_control(
    run: Path, described: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = max((run / "checkpoints").iterdir())
    common = ["--data", described, "--labels", "pitch", "--no-controls"]
    page = said(capsys, "zero-shot", last, *common)
    assert "random weights" not in page
    record = json.loads((run / "zero-shot" / "described-pitch.json").read_text())
    assert record["control"] is None
    said(capsys, "zero-shot", run, *common, "--out", tmp_path / "own" / "place.json")
    other = json.loads((tmp_path / "own" / "place.json").read_text())
    assert other["scores"] == record["scores"]


def test_retrieval_by_a_column_and_by_a_table(
    run: Path, labelled: Path, described: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["text-retrieval", run, "--data"]
    page = said(capsys, *words, described)
    record = json.loads((run / "text-retrieval" / "described.json").read_text())
    expected = text_retrieval(open_audio_text(run), described, progress=False).found.to_json()
    assert record["scores"] == json.loads(json.dumps(expected["scores"]))
    assert {score["name"].split(":")[0] for score in record["scores"]} == {"audio to text", "text to audio"}
    assert "12 different captions" in page
    text_to_audio = page.split("text to audio")[1]
    for score in record["scores"][5:]:
        assert f"{score['name'].split(': ')[1]} │ {shown(score['value'])} [{shown(score['low'])}" in text_to_audio
    assert all(0 <= score["low"] <= score["value"] <= score["high"] <= 1 for score in record["scores"])
    # Without a column the captions.csv in the folder is read; one clip has no caption there.
    page = said(capsys, *words, labelled)
    record = json.loads((run / "text-retrieval" / "labelled.json").read_text())
    assert "11 different captions" in page
    assert record["clips"] == 11
    assert "1 clip without label and caption was skipped" in page
    # Any table, any column of it.
    rows = [[path.relative_to(labelled).as_posix(), path.stem] for path in sorted(labelled.rglob("[0-9].wav"))]
    table = write_table(tmp_path / "other.csv", ["file", "words"], [*rows, ["low_tone/broken.wav", "x"]])
    page = said(capsys, *words, labelled, "--captions", table, "--columns", "words")
    assert "6 different captions" in page
    assert "captions of 1 recording that could not be opened were skipped" in page
    assert (run / "text-retrieval" / "labelled-words.json").is_file()


def test_records_are_listed_compared_and_found_again(
    run: Path, described: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    options = {"progress": False}
    out = tmp_path / "text"
    first = zero_shot(run, described, labels="pitch", out=out / "zero.json", **options)
    second = text_retrieval(run, described, out=out / "retrieval.json", **options)
    assert [(r.type_name, r.role, r.probe) for r in first.results] == [
        ("zero_shot", "pretrained", "text"),
        ("zero_shot", "random", "text"),
    ]
    assert [(r.role, r.probe) for r in second.results] == [
        (role, probe) for role in ("pretrained", "random") for probe in ("audio_to_text", "text_to_audio")
    ]
    assert read_results(out) == [*first.results, *second.results]
    for results in (first, second):
        # The record and the table agree: the value, its interval, and the value that the predictions give.
        for result in results.results:
            scores = results.found if result.role == "pretrained" else results.control
            way = "" if result.probe == "text" else f"{result.probe.replace('_', ' ')}: "
            score = next(score for score in scores.scores if score.name == f"{way}{result.metric}")
            assert (result.value, result.low, result.high) == (score.value, score.interval.low, score.interval.high)
            predictions = load_predictions(out / result.predictions)
            ones = np.ones((1, len(predictions.names)))
            assert predictions.measure(result.metric, ones).mean() == pytest.approx(result.value)
            assert result.seen is (result.role == "pretrained")
    difference = compare(first.results[0], first.results[1], out)
    assert difference.value == pytest.approx(first.results[0].value - first.results[1].value)
    page = said(capsys, "results", out, "--type", "zero_shot", "text_retrieval")
    assert "zero-shot-described-pitch" in page
    assert "text-retrieval-described" in page
    assert shown(first.results[0].value) in page

    def never(*_: object, **__: object) -> None:
        raise AssertionError("embedded again")

    monkeypatch.setattr(AudioText, "embed", never)
    again = zero_shot(run, described, labels="pitch", out=out / "zero.json", **options)
    assert (again.results, again.found, again.control) == (first.results, first.found, first.control)
    with pytest.raises(AssertionError, match="embedded again"):
        zero_shot(run, described, labels="pitch", templates=("a {}",), out=out / "zero.json", **options)


def test_the_control_has_the_words_and_other_weights(run: Path) -> None:
    towers = open_audio_text(run)
    control = untrained_audio_text(run, towers, 3)
    assert isinstance(control.objective, Clap)
    texts = ["a low tone", "a high tone, number 2"]
    for one, two in zip(towers.objective.text.tokenise(texts), control.objective.text.tokenise(texts), strict=True):
        assert one.equal(two)
    assert not np.allclose(towers.texts(texts), control.texts(texts))
    wave = np.sin(np.arange(RATE) / 10).astype(np.float32)
    assert not np.allclose(towers.waves(wave, RATE), control.waves(wave, RATE))
    stored = load_file(max((run / "checkpoints").iterdir()) / "objective.safetensors")
    assert np.array_equal(towers.objective.text.words.numpy(), stored["text.words"])


def test_the_audio_encoder_alone_needs_no_text_model(
    run: Path, labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose text model is gone, on a machine without transformers: it embeds, and refuses text tasks."""
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    recipe = json.loads((copy / "recipe.json").read_text())
    recipe["objective"]["text"] = PretrainedTextConfig(model=str(tmp_path / "gone"), local_only=True).to_json()
    (copy / "recipe.json").write_text(json.dumps(recipe))
    (copy / "run.json").unlink()  # it holds the sum of the recipe
    words = ["zero-shot", copy, "--data", labelled]
    assert f"text encoder {tmp_path / 'gone'} can't be opened" in said(capsys, *words, code=2)
    monkeypatch.setitem(sys.modules, "transformers", None)
    said(capsys, "embed", copy, "--data", labelled, "--out", tmp_path / "vectors.parquet")
    said(capsys, "embed", run, "--data", labelled, "--out", tmp_path / "same.parquet")
    vectors, same = (pq.read_table(tmp_path / f"{name}.parquet")["embedding"] for name in ("vectors", "same"))
    assert vectors.equals(same)
    assert "pip install 'auricle[hub]'" in said(capsys, *words, code=2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["zero-shot", "OTHER", "--data", "LABELLED"], r"trained by temporal-gap, which has no text tower.*\(clap\)"),
        (["text-retrieval", "OTHER", "--data", "LABELLED"], r"has no text tower"),
        (["zero-shot", "/nowhere", "--data", "LABELLED"], r"no run folder.*/nowhere"),
        (["zero-shot", "RUN", "--data", "/nowhere"], r"/nowhere"),
        (["zero-shot", "RUN", "--data", "LABELLED", "--labels", "kind"], r"no column 'kind'; it has .*label"),
        (["zero-shot", "RUN", "--data", "DESCRIBED"], r"'label' of corpus described has 0 classes.*pitch"),
        (["zero-shot", "RUN", "--data", "LABELLED", "--template", "a sound"], r"one place for the label"),
        (["zero-shot", "RUN", "--data", "LABELLED", "--template"], r"no template is set"),
        (["zero-shot", "RUN", "--data", "LABELLED", "--confidence", "95"], r"between 0 and 1"),
        (["text-retrieval", "RUN", "--data", "LABELLED/low_tone"], r"no column 'caption'.*captions.csv.*--columns"),
        (["text-retrieval", "RUN", "--data", "LABELLED", "--columns", "said"], r"no column 'said'; it has"),
        (["text-retrieval", "RUN", "--data", "DESCRIBED", "--columns", "said"], r"no clip .* has a caption in said"),
        (["text-retrieval", "RUN", "--data", "LABELLED", "--captions", "EMPTY"], r"has no caption for any clip"),
        (["text-retrieval", "RUN", "--data", "LABELLED", "--captions", "WRONG"], r"1 clip that .* 'none.wav'"),
        (["text-retrieval", "RUN", "--data", "LABELLED", "--captions", "/nowhere.csv"], r"/nowhere.csv"),
    ],
)
def test_mistakes_get_a_message_that_says_what_to_do(
    words: list[str],
    message: str,
    run: Path,
    labelled: Path,
    described: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "recipe.json").write_text(json.dumps(get_recipe("temporal-gap", "tiny").to_json()))
    places = {
        "RUN": run,
        "OTHER": other,
        "LABELLED": labelled,
        "LABELLED/low_tone": labelled / "low_tone",
        "DESCRIBED": described,
        "EMPTY": write_table(tmp_path / "empty.csv", ["file", "caption"], [["low_tone/0.wav", " "]]),
        "WRONG": write_table(tmp_path / "wrong.csv", ["file", "caption"], [["none.wav", "a tone"]]),
    }
    before = sorted(run.rglob("*.json"))
    assert re.search(message, said(capsys, *(places.get(word, word) for word in words), code=2))
    assert sorted(run.rglob("*.json")) == before


@pytest.mark.parametrize("verb", ["zero-shot", "text-retrieval"])
def test_both_verbs_choose_a_channel_and_a_device(
    verb: str, run: Path, labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Channels that cancel each other are refused with a flag, which the verb has; a channel of its own is as mono."""
    both = tmp_path / "labelled"
    for path in sorted(labelled.rglob("[0-9].wav")):
        wave, rate = soundfile.read(path, dtype="float32")
        (both / path.parent.name).mkdir(parents=True, exist_ok=True)
        soundfile.write(both / path.relative_to(labelled), np.stack([wave, -wave], 1), rate)
    shutil.copy(labelled / "captions.csv", both)
    words = [verb, run, "--data", both, "--no-controls", "--out"]
    advised = re.search(r"--channel \w+", said(capsys, *words, tmp_path / "mix.json", code=2))
    assert advised
    said(capsys, *words, tmp_path / "one.json", *advised[0].split())
    said(capsys, verb, run, "--data", labelled, "--no-controls", "--out", tmp_path / "mono.json")
    one, mono = (json.loads((tmp_path / f"{name}.json").read_text())["scores"] for name in ("one", "mono"))
    assert [score["value"] for score in one] == [score["value"] for score in mono]
    call = {"zero-shot": zero_shot, "text-retrieval": text_retrieval}[verb]
    found = call(run, both, channel=0, time_expansion=1.0, controls=False, out=tmp_path / "two.json", progress=False)
    assert [score.value for score in found.found.scores] == [score["value"] for score in one]
    if not torch.cuda.is_available():
        refused = said(capsys, *words, tmp_path / "cuda.json", "--device", "cuda", code=2)
        assert "torch finds no cuda device here; set --device auto or --device cpu" in refused


@pytest.mark.parametrize("verb", ["zero-shot", "text-retrieval"])
def test_clips_that_were_seen_in_training_are_told_refused_or_dropped(
    verb: str, run: Path, labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed = Path(shutil.copytree(labelled, tmp_path / "mixed"))
    for place, path in list(enumerate(sorted(mixed.rglob("[0-9].wav"))))[1::2]:
        soundfile.write(path, 0.1 * np.random.default_rng(place).standard_normal(RATE), RATE)
    words = [verb, run, "--data", mixed, "--no-controls", "--out"]
    told = "6 of 12 clips were seen in pre-training (6 equal bytes; such as high_tone/0.wav)"
    page = said(capsys, *words, tmp_path / "all.json")
    assert re.search(re.escape(told) + ".*another encoding are not recognised: the run does not record", page)
    refused = said(capsys, *words, tmp_path / "none.json", "--on-leak", "refuse", code=2)
    flags = re.findall(r"--on-leak \w+", refused.partition(told)[2])
    assert flags == ["--on-leak drop", "--on-leak warn"]
    assert "6 clips were removed for that" in said(capsys, *words, tmp_path / "fewer.json", *flags[0].split())
    head, *entries = map(json.loads, (tmp_path / "fewer.json.ledger.jsonl").read_text().splitlines())
    causes = [entry["cause"] for entry in entries if entry["kind"] == "recording"]
    assert (head["came"]["recording"], len(causes), causes.count("seen")) == (13, 13 - head["used"]["recording"], 6)
    assert (tmp_path / "all.json.ledger.jsonl").is_file()


@pytest.mark.parametrize("verb", ["zero-shot", "text-retrieval"])
def test_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert verb in said(capsys, "--help")
    with pytest.raises(SystemExit) as stopped:
        main([verb, "--help"])
    assert stopped.value.code == 0
    page = capsys.readouterr().out
    for flag in ("--data", "--no-controls", "--out", "--labels" if verb == "zero-shot" else "--captions"):
        assert flag in page
