"""Models fitted to labelled clips: what is kept, what chose what, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import auricle
from auricle.answers.fit import fit
from auricle.cli import main
from auricle.corpus.table import Corpus, Event
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import AuricleError, CheckpointError, ConfigError, CorpusError, StorageError
from auricle.models import Model, load
from auricle.models.clip_heads import LinearHead, ProbedHead
from auricle.probes import SearchConfig
from auricle.tasks.card import TaskCard
from auricle.training.lock import RunLock

QUICK = SearchConfig(epochs=4, lr=(0.01,), weight_decay=(0.0,), halving=(), min_batches=2)
HOW: dict[str, Any] = {"device": "cpu", "progress": False, "search": QUICK}
AGAIN = """
import sys, numpy as np, auricle, torch
torch.set_num_threads(1)  # as the suite: other threads sum in another order
model = auricle.load(sys.argv[1], device="cpu")
np.save(sys.argv[3], model.predict(np.load(sys.argv[2]), 16000))
"""


@pytest.fixture
def model(encoder: FrozenEncoder, tmp_path: Path) -> Model:
    return Model(encoder, None, tmp_path / "toy")


@pytest.mark.parametrize("probe", ["linear", "protobin", "logistic", "centroid", "cgp"])
def test_a_fitted_model_answers_in_another_process_without_run_and_data(
    probe: str, model: Model, tones: Callable[..., Corpus], tmp_path: Path
) -> None:
    corpus = tones(30, several=probe == "logistic")
    owl = fit(model, data=corpus, out=tmp_path / "models" / "owl", probes=[probe], **HOW)
    assert owl.classes == ("high", "low", "mid")
    assert isinstance(owl.head, LinearHead if probe in ("logistic", "centroid") else ProbedHead)
    assert len(owl.fitted.thresholds) == 3
    wave = corpus.audio(0, 16000)
    said = owl.predict(wave, 16000)
    assert said.shape == (3,)
    assert probe == "logistic" or said.sum() == pytest.approx(1, abs=1e-5)
    shutil.rmtree(corpus.root)
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["owl"]
    np.save(tmp_path / "wave.npy", wave)
    arguments = [str(tmp_path / "models" / "owl"), str(tmp_path / "wave.npy"), str(tmp_path / "said.npy")]
    subprocess.run([sys.executable, "-c", AGAIN, *arguments], check=True)
    assert np.array_equal(np.load(tmp_path / "said.npy"), said)


def test_the_card_says_what_was_used_for_what(model: Model, tones: Callable[..., Corpus], tmp_path: Path) -> None:
    corpus = tones(30)
    owl = fit(model, data=corpus, out=tmp_path / "owl", goal="precision=0.8", **HOW)
    shown = json.loads((tmp_path / "owl" / "model.json").read_text())["card"]
    assert shown == owl.card
    assert shown["few_labels"].startswith("the rarest class has 10 labelled clips, fewer than 50")
    assert shown["probe"]["name"] in ("logistic", "centroid")
    assert shown["corpus"]["fingerprint"] == corpus.fingerprint
    assert shown["encoder"]["fingerprint"] == model.encoder.fingerprint
    expected = shown["expected"]
    assert expected["metric"] == "accuracy"
    assert expected["low"] < expected["value"] <= expected["high"]
    assert expected["clips"] == 30
    assert {"before", "after"} == expected["reliability"].keys()
    assert [row["class"] for row in expected["decisions"]] == ["high", "low", "mid"]
    assert shown["goal"] == owl.fitted.details["goal"] == "precision of at least 0.8"
    assert "5 rounds" in shown["used"]


def test_test_clips_choose_nothing(model: Model, tones: Callable[..., Corpus], tmp_path: Path) -> None:
    """Other labels of the test clips change the expected performance and not a bit of the model."""
    split = ["train"] * 16 + ["valid"] * 8 + ["test"] * 6
    corpus = tones(30, split=split)
    labels = corpus.column("label")
    turned = corpus.with_column("label", labels[:24] + labels[24:][::-1][1:] + labels[24:25])
    how = {**HOW, "probes": ["logistic", "linear"]}
    one = fit(model, data=corpus, out=tmp_path / "one", **how)
    two = fit(model, data=turned, out=tmp_path / "two", **how)
    assert one.card["expected"]["value"] != two.card["expected"]["value"]
    assert one.fitted.thresholds == two.fitted.thresholds
    assert one.fitted.calibration == two.fitted.calibration
    wave = corpus.audio(3, 16000)
    assert np.array_equal(one.predict(wave, 16000), two.predict(wave, 16000))
    assert "the test clips measured" in one.card["used"]


def test_calls_in_long_recordings_become_windows(model: Model, tones: Callable[..., Corpus], tmp_path: Path) -> None:
    plain = tones(12).with_column("label", [None] * 12)
    files = plain.column("file")
    events = [Event(files[i], 0.0, 0.2, "chirp") for i in range(6)] + [Event(files[0], 5.0, 6.0, "chirp")]
    marked = Corpus.from_columns({"file": files, "seconds": plain.column("seconds")}, root=plain.root, events=events)
    with pytest.raises(ConfigError, match="set --segment to the length"):
        fit(model, data=marked, out=tmp_path / "a", **HOW)
    with pytest.raises(CorpusError, match="at least two classes"):
        fit(model, data=marked, out=tmp_path / "a", segment=0.2, **HOW)
    owl = fit(model, data=marked, out=tmp_path / "a", segment=0.2, background=True, **HOW)
    assert owl.fitted.segment == 0.2
    assert not owl.fitted.single
    assert owl.classes == ("chirp",)
    notes = " ".join(owl.card["notes"])
    assert "1 skipped" in notes or "begin after the end" in notes  # the call at 5 s of a recording of 0.5 s
    assert "background windows of the same recordings" in notes


def test_marked_calls_of_recordings_in_folders_of_sites(
    model: Model, tones: Callable[..., Corpus], tmp_path: Path
) -> None:
    plain = tones(12)
    files = plain.column("file")
    columns = {"file": files, "seconds": plain.column("seconds"), "label": ["north", "south"] * 6}
    events = [Event(file, 0.0, 0.2, ("owl", "fox", "rain")[i % 3]) for i, file in enumerate(files)]
    marked = Corpus.from_columns(columns, root=plain.root, events=events)
    made = fit(model, data=marked, out=tmp_path / "a", segment=0.2, **HOW)
    assert made.classes == ("fox", "owl", "rain")
    assert "the labels of whole clips were not" in " ".join(made.card["notes"])
    made = fit(model, data=marked, out=tmp_path / "b", **HOW)
    assert made.classes == ("north", "south")
    assert "the marked calls were not (they need --segment)" in " ".join(made.card["notes"])


def test_no_work_is_deleted_after_its_lock_is_released(
    model: Model, tones: Callable[..., Corpus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.rmtree
    held: list[str] = []

    def delete(folder: Path, **how: Any) -> None:
        with pytest.raises(CheckpointError, match="by another process"):
            RunLock(Path(folder), "work by another process")
        held.append(Path(folder).name)
        real(folder, **how)

    monkeypatch.setattr("auricle.answers.fit.shutil.rmtree", delete)
    fit(model, data=tones(30), out=tmp_path / "owl", probes=["centroid"], **HOW)
    assert held == [".owl.fit"]


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        ([None] * 12, "no class has 4 labelled clips"),
        (["owl", *[None] * 11], r"no class has 4 labelled clips \(owl \(1\)\)"),
        (["owl"] * 12, "expected at least two classes"),
    ],
)
def test_too_few_calls_are_refused(
    labels: list[str | None], match: str, model: Model, tones: Callable[..., Corpus], tmp_path: Path
) -> None:
    with pytest.raises(CorpusError, match=match):
        fit(model, data=tones(12).with_column("label", labels), out=tmp_path / "owl", **HOW)
    assert not (tmp_path / "owl").exists()


def test_rare_classes_and_single_sources(model: Model, tones: Callable[..., Corpus], tmp_path: Path) -> None:
    corpus = tones(24)
    labels = ["rare", *corpus.column("label")[1:]]
    one = corpus.with_column("label", labels).with_column("source", ["one day"] * 24)
    owl = fit(model, data=one, out=tmp_path / "owl", **HOW)
    assert owl.classes == ("high", "low", "mid")
    notes = " ".join(owl.card["notes"])
    assert "classes with fewer than 4 labelled clips were excluded: rare (1)" in notes
    assert "consecutive parts of each were divided" in notes


def test_where_a_model_is_written(model: Model, tones: Callable[..., Corpus], tmp_path: Path) -> None:
    corpus = tones(18)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(StorageError, match=r"holds thesis.txt, and no fitted model"):
        fit(model, data=corpus, out=tmp_path / "mine", overwrite=True, **HOW)
    fit(model, data=corpus, out=tmp_path / "owl", **HOW)
    with pytest.raises(StorageError, match="set --overwrite to replace it"):
        fit(model, data=corpus, out=tmp_path / "owl", **HOW)
    again = fit(load(tmp_path / "owl", device="cpu"), data=corpus, out=tmp_path / "owl", overwrite=True, **HOW)
    assert again.card["encoder"]["name"] == "toy encoder"


def test_a_full_disk_keeps_the_model_that_was_there(
    model: Model, tones: Callable[..., Corpus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = tones(18)
    before = fit(model, data=corpus, out=tmp_path / "owl", **HOW).predict(corpus.audio(0), 16000)

    def full(*_: object, **__: object) -> None:
        raise StorageError("no space left to write model.safetensors")

    monkeypatch.setattr("auricle.models.folder.write_atomic", full)
    with pytest.raises(StorageError, match="no space left"):
        fit(model, data=corpus, out=tmp_path / "owl", overwrite=True, seed=1, **HOW)
    assert np.array_equal(load(tmp_path / "owl", device="cpu").predict(corpus.audio(0), 16000), before)


@pytest.mark.parametrize("goal", ["f2", "precision", "precision=2", "recall=x"])
def test_goals_that_are_none(goal: str, model: Model, tones: Callable[..., Corpus], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected f1, or for example precision=0\.9"):
        fit(model, data=tones(18), out=tmp_path / "owl", goal=goal, **HOW)


def test_what_fits_no_model(model: Model, tones: Callable[..., Corpus], tmp_path: Path) -> None:
    with pytest.raises(AuricleError, match="keeps no head that could be saved"):
        fit(model, data=tones(18), out=tmp_path / "owl", probes=["knn"], **HOW)
    with pytest.raises(ConfigError, match="ends in no model"):
        fit(model, data=tones(18), out=tmp_path / "owl", task="folder_retrieval", **HOW)
    nameless = FrozenEncoder(model.encoder.frontend, model.encoder.encoder, name="no name")
    nameless.encoder.config = None  # type: ignore[assignment]
    with pytest.raises(ConfigError, match="set --no-save"):
        fit(Model(nameless, None, tmp_path), data=tones(18), out=tmp_path / "owl", **HOW)


MINE = """
import torch


class Mean:
    rate, width = 16000, 4

    def __call__(self, wave):
        return (wave.unfold(1, 400, 400)[:, :, ::100] * 1.0).abs()
"""


def test_a_callable_by_its_name(
    tones: Callable[..., Corpus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = tones(18)
    (tmp_path / "fit_mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "fit_mine:Mean", "--data", "tones", "--out", "owl", "--device", "cpu"]) == 2
    assert "no class has 4 labelled clips" in capsys.readouterr().err
    fit("fit_mine:Mean", data=corpus, out="owl", **HOW)
    assert auricle.load("owl", trust_remote_code=True).classes == ("high", "low", "mid")
    sys.modules.pop("fit_mine")
    (tmp_path / "fit_mine.py").write_text(MINE.replace("* 1.0", "+ 1.0"))
    sys.dont_write_bytecode = True
    shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
    with pytest.raises(AuricleError, match="is another encoder than the one that the head"):
        auricle.load("owl", trust_remote_code=True)


def test_cards_of_several_labels(model: Model, tones: Callable[..., Corpus], tmp_path: Path) -> None:
    card = TaskCard(name="toys", labels="multi", folds=3)
    owl = fit(model, data=tones(30, several=True), out=tmp_path / "owl", task=card, probes=["linear"], **HOW)
    assert not owl.fitted.single
    assert owl.card["expected"]["metric"] == "mAP"
