"""What ignores the sound: its scores for every type of task, its row in every table, and the headline it makes fair."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from prediction_cases import MAKE, made
from result_files import write_results
from rich.console import Console
from test_record import record

from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.evaluation.driver import EvaluationConfig
from auricle.evaluation.evaluate import evaluate
from auricle.report.evidence import gather
from auricle.report.run_data import read_runs
from auricle.results.book import Found, ResultBook
from auricle.results.export import render_results, to_csv, to_markdown
from auricle.results.record import Result
from auricle.results.tables import list_sheets
from auricle.tasks.card import TaskCard
from auricle.tasks.clips.run import fair_metric
from auricle.tasks.folds import Fold, training_means
from auricle.tasks.targets import Targets

# Of the cases: three classes in turn, three labels of half or two thirds of the clips, two ways ...
EXPECTED = {
    "clips": ("majority class (Amsel)", {"accuracy": 1 / 3, "balanced_accuracy": 1 / 3, "macro_f1": 1 / 6}),
    "zero_shot": ("majority class (Amsel)", {"accuracy": 1 / 3}),
    "label_budget": ("majority class (Amsel)", {"accuracy": 1 / 3}),
    "tags": ("the labels' shares", {"mAP": 5 / 9, "macro_auc": 0.5}),
    "events": ("no events", {"segment_f1": 0.0, "event_f1": 0.0, "segment_error_rate": 1.0, "event_error_rate": 1.0}),
    "sequence": ("nothing recognised", {"wer": 1.0, "cer": 1.0}),
    "regression": ("mean of the training clips", {"r2": 0.0, "mae_semitones": 40 / 23 * 6}),
    "verification": ("equal scores", {"eer": 0.5, "auc": 0.5}),
    "anomaly": ("equal scores", {"auc": 0.5}),
    "clustering": ("one cluster", {"ari": 0.0, "nmi": 0.0, "purity": 1 / 3}),
    "few_shot": ("one class", {"accuracy": 0.5}),
}


@pytest.mark.parametrize("name", MAKE)
def test_every_type_has_a_constant_prediction_with_the_scores_that_it_must_have(name: str) -> None:
    predictions = made(name)
    constant = predictions.constant()
    if name not in EXPECTED:  # rankings: the order is drawn where the gallery is known
        assert constant is None
        return
    assert constant is not None
    words, answers = constant
    ones = np.ones((1, len(predictions.names)))
    expected_words, metrics = EXPECTED[name]
    assert words == expected_words
    for metric, value in metrics.items():
        assert answers.measure(metric, ones).mean() == pytest.approx(value, abs=1e-9), metric
    assert answers.same_truth(predictions)


def test_the_constant_of_a_fold_is_its_training_clips_own() -> None:
    truth = np.array([0, 0, 0, 1, 1, 1, 1, 0])
    folds = [
        Fold("1", np.arange(2), np.arange(2, 3), np.arange(3, 5)),
        Fold("2", np.arange(3, 6), np.arange(6, 7), np.arange(1)),
    ]
    np.testing.assert_allclose(training_means(truth, folds), [0, 0, 1])
    np.testing.assert_allclose(training_means(np.eye(2)[truth], folds), [[1, 0], [1, 0], [0, 1]])


def test_a_constant_of_several_classes_says_what_is_predicted() -> None:
    """Where folds have other majority classes, the row's name says which class that is in words."""
    predictions = made("clips")
    shares = np.eye(predictions.truth.shape[1])[np.arange(len(predictions.names)) % 2]
    assert predictions.constant(shares)[0] == "always the most frequent training class"


@pytest.mark.parametrize(
    ("counts", "metric"),
    [
        ((50, 50), ""), ((75, 25), ""), ((76, 24), "balanced_accuracy"),
        ((66, 17, 17), ""), ((67, 17, 16), "balanced_accuracy"),
        ((20, 10, 10, 10), ""), ((21, 7, 7, 7), ""), ((22, 7, 7, 6), "balanced_accuracy"),
    ],
)  # fmt: skip
def test_balanced_accuracy_is_the_headline_of_unbalanced_labels(counts: tuple[int, ...], metric: str) -> None:
    """Where the largest class has more than twice its fair share of the training clips; of two, more than 3/4."""
    numbers = np.repeat(np.arange(len(counts)), counts)
    # The test clips are all of the second class and decide nothing.
    truth = np.eye(len(counts), dtype=bool)[np.r_[numbers, np.ones(500, dtype=int)]]
    targets = Targets("single", tuple("abcd"[: len(counts)]), np.arange(len(truth)), truth)
    fold = Fold(
        "test", np.arange(0, len(numbers), 2), np.arange(1, len(numbers), 2), np.arange(len(numbers), len(truth))
    )
    found, why = fair_metric(TaskCard(name="t"), targets, [fold])
    assert found == metric
    assert bool(why) == bool(metric)
    assert fair_metric(TaskCard(name="t", metric="accuracy"), targets, [fold]) == ("", ())
    several = Targets("multi", targets.classes, targets.rows, truth)
    assert fair_metric(TaskCard(name="t"), several, [fold]) == ("", ())


def test_an_unbalanced_folder_says_so_in_every_table(
    encoder: FrozenEncoder, tones: Callable[..., Corpus], tmp_path: Path
) -> None:
    corpus = tones(clips=40)
    corpus = corpus.with_column("label", ["noise"] * 34 + ["bird"] * 6)
    config = EvaluationConfig(controls=False, seeds=1)
    results = evaluate(
        [encoder], TaskCard(name="birds", folds=3), corpus, out=tmp_path, probes=["knn"], config=config, progress=False
    )
    (result,) = results
    assert result.metric == "balanced_accuracy"
    assert result.constant == "majority class (noise)"
    assert result.constant_metrics["accuracy"] == pytest.approx(34 / 40)
    assert result.constant_metrics["balanced_accuracy"] == pytest.approx(0.5)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render_results(results))
    text = " ".join(console.export_text().split())
    assert "baseline: majority class (noise) 50.0" in text
    assert "baseline: the score of predictions that ignore the sound." in text
    assert "the headline is balanced accuracy: class 'noise' has 85% of the training clips" in text


def test_the_constant_stands_in_terminal_exports_and_report(tmp_path: Path) -> None:
    about = {"metric": "accuracy", "unit": "%", "better": "higher", "type_name": "clips", "protocol_name": "strict"}
    held = {"constant": "majority class (rain)", "constant_metrics": {"accuracy": 0.625, "macro_f1": 0.2}}
    both = {"metrics": {"accuracy": 0.9, "macro_f1": 0.8}}
    results: list[Result] = [
        record(key="1", encoder="A", probe="linear", **both, **about, **held),
        record(key="2", encoder="A", probe="knn", **both, **about, **held),
        record(key="3", encoder="A", probe="old", metrics={"accuracy": 0.9}, **about),
    ]
    book = ResultBook(tuple(Found(r, tmp_path) for r in results))
    (sheet,) = list_sheets(book)
    assert sheet.rows[0] == ("baseline: majority class (rain)", "62.5", "62.5", "-")
    rows = [row for row in csv.DictReader(io.StringIO(to_csv([sheet]))) if row["role"] == "constant"]
    assert [(r["encoder"], r["probe"], r["value"], r["low"]) for r in rows] == [
        ("majority class (rain)", probe, "0.625", "") for probe in ("linear", "knn")
    ]
    assert "| baseline: majority class (rain) | 62.5 | 62.5 | - |" in to_markdown([sheet])
    (other,) = list_sheets(book.where(metric="macro_f1"))
    assert other.rows[0] == ("baseline: majority class (rain)", "20.0", "20.0")
    write_results(tmp_path / "probes" / "t" / "results.jsonl", results)
    (task,) = gather(read_runs([tmp_path]))
    assert task.constants == {"majority class (rain)": {"linear": 0.625, "knn": 0.625}}
