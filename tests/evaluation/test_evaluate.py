"""The whole way from clips to results: what comes out, what is reused, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from auricle.corpus.table import Corpus
from auricle.encoders.features import LAYERS
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import CheckpointError, ConfigError, CorpusError
from auricle.evaluation.controls import evaluated_encoders
from auricle.evaluation.driver import EvaluatedEncoder, EvaluationConfig
from auricle.evaluation.evaluate import evaluate
from auricle.evaluation.seen import seen
from auricle.probes import SearchConfig
from auricle.results.export import render_results
from auricle.results.predictions import load_predictions
from auricle.results.record import read_results
from auricle.results.scoring import compare
from auricle.tasks.card import TaskCard
from auricle.tasks.clips import run as clips_task

SEARCH = SearchConfig(epochs=8, lr=(3e-3, 3e-2), weight_decay=(1e-4,), halving=(), min_batches=2)
CONFIG = EvaluationConfig(seeds=2, search=SEARCH)
ALONE = CONFIG.replace(controls=False)
CARD = TaskCard(name="toys", folds=3)


@pytest.fixture
def quick(tmp_path: Path) -> dict:
    return {
        "out": tmp_path / "probes",
        "probes": ("linear", "knn"),
        "config": CONFIG,
        "progress": False,
    }


def test_results_of_a_labelled_folder(encoder: FrozenEncoder, tones: Callable[..., Corpus], quick: dict) -> None:
    corpus = tones(clips=30, source=[f"s{i // 6}-{i % 3}" for i in range(30)])
    results = evaluate([EvaluatedEncoder(encoder, seen=True)], CARD, corpus, **quick)
    assert [(r.role, r.probe) for r in results] == [
        (role, probe) for role in ("pretrained", "random", "log-mel", "mfcc") for probe in ("linear", "knn")
    ]
    assert results == read_results(quick["out"])
    assert [r.seen for r in results] == [True, True, *[False] * 6]
    first = results[0]
    assert (first.kind, first.metric, first.protocol) == ("single", "accuracy", "folds")
    assert (first.clips, first.tried) == (30, 2)
    assert [sum(s) for s in first.sizes] == [30, 30, 30]
    assert (len(first.values), len(first.values[0])) == (2, 3)
    assert first.classes == ["high", "low", "mid"]
    assert first.params == 3 * 33
    assert all(c["lr"] in SEARCH.lr and len(c["tried"]) == 2 for c in first.chosen)
    assert first.low <= first.value <= first.high
    by_name = {(r.role, r.probe): r.value for r in results}
    assert by_name["log-mel", "linear"] > 0.9
    assert by_name["log-mel", "knn"] > 0.9
    assert not (quick["out"] / "fits").exists() or not any((quick["out"] / "fits").iterdir())
    saved = load_predictions(quick["out"] / first.predictions)
    assert np.mean([(said == saved.numbers).mean() for said in saved.said]) == pytest.approx(first.value)
    difference = compare(results[4], results[0], quick["out"])
    assert difference.value == pytest.approx(results[4].value - results[0].value)


def test_tags_of_a_split_and_the_table(encoder: FrozenEncoder, tones: Callable[..., Corpus], quick: dict) -> None:
    corpus = tones(clips=30, several=True, split=["train"] * 18 + ["valid"] * 6 + ["test"] * 6)
    results = evaluate([encoder], CARD, corpus, **{**quick, "config": ALONE, "probes": ("linear", "mhca", "protobin")})
    assert [r.probe for r in results] == ["linear", "mhca", "protobin"]
    assert {(r.kind, r.metric, r.protocol) for r in results} == {("multi", "mAP", "split")}
    assert results[0].sizes == [[18, 6, 6]]
    assert set(results[0].per_class["low"]) == {"ap", "positives"}
    console = Console(width=140)
    with console.capture() as captured:
        console.print(render_results(results))
    text = captured.get()
    assert "toys: mean average precision, %" in text
    assert f"{100 * results[0].value:.1f} [" in text
    assert "6 of 6 test clips" in text


def test_finished_work_is_not_done_again(
    encoder: FrozenEncoder, tones: Callable[..., Corpus], quick: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, quick = tones(), {**quick, "config": ALONE}
    calls: list[str] = []
    fit = clips_task.fit_fold

    def counted(*args, **kwargs):
        calls.append(args[3].name)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return fit(*args, **kwargs)

    monkeypatch.setattr(clips_task, "fit_fold", counted)
    with pytest.raises(KeyboardInterrupt):
        evaluate([encoder], CARD, corpus, **quick)
    assert calls == ["1", "2", "3", "1", "2"]
    resumed = evaluate([encoder], CARD, corpus, **quick)
    assert calls[5:] == ["2", "3"]
    again = evaluate([EvaluatedEncoder(encoder, seen=False)], CARD, corpus, **quick)
    assert len(calls) == 7
    assert [r.value for r in again] == [r.value for r in resumed]
    assert {r.seen for r in read_results(quick["out"])} == {False}
    fresh = evaluate([encoder], CARD, corpus, **{**quick, "out": quick["out"].parent / "fresh"})
    assert [(r.value, r.low, r.high, r.chosen, r.key) for r in fresh] == [
        (r.value, r.low, r.high, r.chosen, r.key) for r in resumed
    ]
    evaluate([encoder], CARD, corpus, **{**quick, "config": ALONE.replace(seeds=3)})
    assert len(calls) == 7 + 6 + 6


def test_broken_clips_are_counted_and_named(encoder: FrozenEncoder, tones: Callable[..., Corpus], quick: dict) -> None:
    corpus = tones()
    (corpus.root / "004 tön.wav").write_bytes(b"no audio")
    (corpus.root / "007 tön.wav").unlink()
    result = evaluate([encoder], CARD, corpus, **{**quick, "config": ALONE})[0]
    assert (result.clips, result.clips_total) == (28, 30)
    assert set(result.missing) == {"004 tön.wav", "007 tön.wav"}
    assert sum(s[2] for s in result.sizes) == 28


@pytest.mark.parametrize(
    ("make", "card", "words"),
    [
        ({"clips": 6, "label": ["same"] * 6}, CARD, "at least two classes"),
        ({"clips": 3}, TaskCard(name="t", folds=5), "3 labelled clips for 5 folds"),
        ({"clips": 6, "label": [None] * 6}, CARD, "nothing to predict"),
        ({"clips": 6}, TaskCard(name="t", label="species"), "no column 'species'"),
        ({"clips": 6}, TaskCard(name="t", protocol="split"), "names no train and test clips"),
    ],
)
def test_what_can_not_serve_is_refused_before_any_work(
    encoder: FrozenEncoder, tones: Callable[..., Corpus], quick: dict, make: dict, card: TaskCard, words: str
) -> None:
    with pytest.raises(CorpusError, match=words):
        evaluate([encoder], card, tones(**make), **quick)
    assert not quick["out"].exists()


def test_nothing_to_evaluate_is_refused(encoder: FrozenEncoder, tones: Callable[..., Corpus], quick: dict) -> None:
    corpus = tones(clips=6)
    with pytest.raises(ConfigError, match="no encoder"):
        evaluate([], CARD, corpus, **quick)
    with pytest.raises(ConfigError, match="seeds is 0; expected a whole number of at least 1"):
        EvaluationConfig(seeds=0)
    with pytest.raises(ConfigError, match="did you mean 'linear'"):
        evaluate([encoder], CARD, corpus, **{**quick, "probes": ("linaer",)})


@pytest.mark.parametrize(
    "wrong",
    [{"seeds": (0, 1)}, {"confidence": 1.0}, {"split_seed": -1}, {"batch": 0}, {"search": "grid"}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_settings_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))} is "):
        EvaluationConfig(**wrong)


def test_encoders_of_one_architecture_share_their_controls(encoder: FrozenEncoder) -> None:
    evaluated = evaluated_encoders(
        [encoder, encoder.randomised(5), EvaluatedEncoder(encoder.randomised(9), "random")], True
    )
    assert [s.role for s in evaluated] == ["pretrained", "pretrained", "random", "random", "log-mel", "mfcc"]


def test_seen_follows_from_the_records_of_the_run(tones: Callable[..., Corpus], tmp_path: Path) -> None:
    corpus = tones(clips=6, name="owls")
    run = tmp_path / "run"
    run.mkdir()
    assert seen(run, corpus).known is None
    told = {"name": "all", "fingerprint": "x", "parts": {"frogs": 3, "owls": 6}}
    cases = [
        (told, True),
        # Other names alone prove nothing: only the list of recordings (see test_seen.py) can say "never seen".
        ({**told, "parts": {"frogs": 3}}, None),
        ({"name": "n", "fingerprint": corpus.table_fingerprint}, True),
    ]
    for data, expected in cases:
        (run / "corpus.json").write_text(json.dumps(data))
        assert seen(run, corpus).known is expected
    (run / "corpus.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"corpus\.json is damaged"):
        seen(run, corpus)


def test_settings_are_selected_by_the_headline_metric(
    encoder: FrozenEncoder, tones: Callable[..., Corpus], quick: dict
) -> None:
    """Unbalanced labels ask for balanced accuracy, and so may a card; a metric that is set is kept."""
    corpus = tones(clips=60)
    rare = corpus.select([row for row in range(60) if row % 3 == 0 or row < 9])
    given = {**quick, "probes": ("linear", "ridge", "layer_curve"), "config": ALONE.replace(seeds=1)}
    found = evaluate([encoder], CARD, rare, **given)
    assert {result.metric for result in found} == {"balanced_accuracy"}
    assert {chosen["metric"] for result in found for chosen in result.chosen} == {"balanced_accuracy"}
    assert {result.settings["search"]["metric"] for result in found if result.probe == "linear"} == {
        "balanced_accuracy"
    }
    given["probes"] = ("linear",)
    (usual,) = evaluate([encoder], CARD, corpus, **given)
    (named,) = evaluate([encoder], CARD.replace(metric="macro_f1"), corpus, **given)
    given["config"] = given["config"].replace(search=SEARCH.replace(metric="accuracy"))
    (asked,) = evaluate([encoder], CARD, rare, **given)
    assert [one.chosen[0]["metric"] for one in (usual, named, asked)] == ["accuracy", "macro_f1", "accuracy"]


def test_the_output_is_probed_once_beside_other_features(
    tones: Callable[..., Corpus], encoder: FrozenEncoder, quick: dict
) -> None:
    layers, given = encoder.reading(LAYERS, marked=True), {**quick, "config": ALONE, "probes": ("linear",)}
    found = evaluate([layers], CARD, tones(), **given)
    assert [(r.encoder, r.role) for r in found] == [
        ("toy encoder (all layers)", "pretrained"),
        ("toy encoder", "pretrained"),
    ]
    (alone,) = evaluate([encoder], CARD, tones(), **given)
    assert alone == found[1]
    assert evaluate([layers, encoder], CARD, tones(), **given) == found
