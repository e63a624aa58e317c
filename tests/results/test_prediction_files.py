"""Predictions of every type of task: files, weights, order, comparisons, and the commands that read them."""

from __future__ import annotations

import csv
import io
import json
import math
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prediction_cases import MAKE, N, made, saved
from result_files import write_results

from auricle.errors import AuricleError, CorpusError
from auricle.metrics.catalogue import METRICS
from auricle.results.predictions import _HOMES, TaskPredictions, load_predictions, save_predictions
from auricle.results.record import Result
from auricle.results.scoring import compare_predictions, score

# One process in which nothing of auricle is imported but the reader; each file is opened in a copy of that process.
FRESH = """
import os, sys
from pathlib import Path
from auricle.results.predictions import TaskPredictions, load_predictions

assert not TaskPredictions._known, TaskPredictions._known
for name in sys.argv[1:]:
    child = os.fork()
    if not child:
        found = load_predictions(Path(name))
        print(Path(name).stem, found.type_name, found.names.size, flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, name
"""


def same(one: TaskPredictions, other: TaskPredictions) -> bool:
    first, second = one.arrays(), other.arrays()
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of two encoders on a task of every type; the second one's are worse."""
    place = tmp_path_factory.mktemp("runs") / "überblick"
    results: list[Result] = []
    for name in MAKE:
        for encoder, noise, seed in (("good", 0.2, 0), ("bad", 2.0, 1)):
            results.append(saved(place, name, encoder, made(name, noise, seed)))
    write_results(place / "results.jsonl", results)
    return place


def test_every_type_of_predictions_has_a_case() -> None:
    assert {made(name).type_name for name in MAKE} == set(_HOMES)


def test_every_type_opens_in_a_process_that_has_imported_none(folder: Path) -> None:
    files = [str(folder / "predictions" / f"{name}-good.npz") for name in MAKE]
    done = subprocess.run([sys.executable, "-c", FRESH, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert found == {f"{name}-good": [made(name).type_name, str(N)] for name in MAKE}


def test_the_command_compares_and_ranks_every_type_in_a_fresh_process(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "pairs.csv"
    words = ["results", folder, "--compare", "good", "bad", "--format", "csv", "--out", out]
    command = [sys.executable, "-m", "auricle.cli", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = {row["task"]: row for row in csv.DictReader(io.StringIO(out.read_text(encoding="utf-8"))) if row["task"]}
    assert set(rows) == {f"{name} task" for name in MAKE}
    for name in MAKE:
        row = rows[f"{name} task"]
        # The gain is that of the two predictions, with its sign changed where lower is better.
        values = [score(made(name, *which), row["metric"]).value for which in ((0.2, 0), (2.0, 1))]
        sign = -1 if METRICS[row["metric"]].better == "lower" else 1
        assert float(row["gain"]) == pytest.approx(sign * (values[0] - values[1]))
        # Of 24 scored trials, some metrics that rank them can't tell.
        if METRICS[row["metric"]].pooled:
            assert 0 < float(row["low"]) <= float(row["gain"]) <= float(row["high"])
            assert float(row["p"]) <= 0.05
            assert row["trouble"] == ""
    assert rows["verification task"]["trouble"] == "the gain does not vary between the 8 test sources"
    words = ["results", folder, "--ranks", "--format", "csv"]
    done = subprocess.run([sys.executable, "-m", "auricle.cli", *map(str, words)], capture_output=True, text=True)
    ranks = {row["encoder"]: row["mean_rank"] for row in csv.DictReader(io.StringIO(done.stdout)) if row["encoder"]}
    assert ranks == {"good": "1.0", "bad": "2.0"}


@pytest.mark.parametrize("name", MAKE)
def test_files_hold_everything(name: str, tmp_path: Path) -> None:
    predictions = made(name)
    save_predictions(tmp_path / "größe.npz", predictions)
    back = load_predictions(tmp_path / "größe.npz")
    assert type(back) is type(predictions)
    assert same(back, predictions)
    assert json.dumps(back.detail()) == json.dumps(predictions.detail())
    ones = np.ones((1, N))
    for metric in predictions.metrics:
        np.testing.assert_array_equal(back.measure(metric, ones), predictions.measure(metric, ones))


@pytest.mark.parametrize("name", MAKE)
def test_the_order_of_units_decides_nothing(name: str) -> None:
    predictions = made(name)
    order = np.random.default_rng(3).permutation(N)
    mixed = predictions.reorder(predictions.names[order])
    assert mixed.names.tolist() == predictions.names[order].tolist()
    assert same(mixed.reorder(predictions.names), predictions)
    weights = np.random.default_rng(4).integers(0, 3, (3, N)).astype(float)
    for metric in predictions.metrics:
        np.testing.assert_allclose(
            mixed.measure(metric, weights[:, order]), predictions.measure(metric, weights), atol=1e-9, err_msg=metric
        )
    difference = compare_predictions(predictions, mixed, predictions.metrics[0])
    assert difference.value == pytest.approx(0)
    assert "do not differ on any of the 8 test sources" in difference.interval.method


@pytest.mark.parametrize("name", MAKE)
def test_only_the_proportions_of_weights_count(name: str) -> None:
    predictions = made(name)
    weights = np.random.default_rng(5).integers(0, 3, (2, N)).astype(float)
    # The Rand index counts pairs of units: of three equal ones, pairs among themselves, too.
    for metric in set(predictions.metrics) - {"ari"}:
        np.testing.assert_allclose(
            predictions.measure(metric, 3 * weights), predictions.measure(metric, weights), atol=1e-9, err_msg=metric
        )


@pytest.mark.parametrize("name", MAKE)
def test_without_any_weight_nothing_is_defined(name: str) -> None:
    predictions = made(name)
    weights = np.stack([np.zeros(N), np.ones(N)])
    for metric in predictions.metrics:
        empty, full = predictions.measure(metric, weights).T
        assert np.isnan(empty).all(), metric
        np.testing.assert_allclose(full, predictions.measure(metric, np.ones((1, N)))[:, 0], err_msg=metric)


@pytest.mark.parametrize("name", MAKE)
def test_comparisons_are_antisymmetric(name: str) -> None:
    good, bad = made(name, 0.2), made(name, 2.0, 1)
    metric = good.metrics[0]
    there, back = (compare_predictions(*pair, metric) for pair in ((good, bad), (bad, good)))
    assert there.value == pytest.approx(-back.value)
    expected = pytest.approx((-back.interval.high, -back.interval.low), nan_ok=True)
    assert (there.interval.low, there.interval.high) == expected
    assert there.p == pytest.approx(back.p, nan_ok=True)
    sign = -1 if METRICS[metric].better == "lower" else 1
    assert sign * there.value > 0


@pytest.mark.parametrize("name", MAKE)
def test_scores_lie_in_the_range_of_their_metric(name: str) -> None:
    predictions = made(name, 1.5)
    for metric in predictions.metrics:
        about = METRICS[metric]
        found = score(predictions, metric)
        for value in (found.value, found.interval.low, found.interval.high, *found.per_seed):
            assert about.low - 1e-9 <= value <= about.high + 1e-9 or math.isnan(value), (metric, value)
        # d' of a perfect ranking is infinite: where a draw has one, there is no interval.
        undefined = metric == "d_prime" and math.isnan(found.interval.low) and math.isnan(found.interval.high)
        assert undefined or found.interval.low <= found.value <= found.interval.high
        assert found.value == pytest.approx(np.mean(found.per_seed))
        assert len(found.values) == len(predictions.seeds)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_refused_or_holds_what_it_held(data: st.DataObject, tmp_path_factory: object) -> None:
    """Whatever bytes change: a message of auricle's, or the same predictions (unused bytes of the archive changed)."""
    path, predictions = _damaged_file(tmp_path_factory)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    bad = path.with_name("bad.npz")
    bad.write_bytes(content)
    with suppress(AuricleError):
        assert same(load_predictions(bad), predictions)


def _damaged_file(factory: object, held: dict[str, tuple[Path, TaskPredictions]] = {}) -> tuple[Path, TaskPredictions]:  # noqa: B006
    if "file" not in held:
        path = factory.mktemp("damaged") / "whole.npz"  # type: ignore[attr-defined]
        predictions = made("clips")
        save_predictions(path, predictions)
        held["file"] = path, predictions
    return held["file"]


def test_a_file_of_an_unknown_type_is_refused(tmp_path: Path) -> None:
    held = made("clips").arrays()
    np.savez(tmp_path / "later.npz", type_name=np.array("telepathy"), **held)
    with pytest.raises(CorpusError, match=r"later\.npz can't be read as predictions.*telepathy.*run it again"):
        load_predictions(tmp_path / "later.npz")
    del held["scores"]
    np.savez(tmp_path / "lacking.npz", type_name=np.array("clips"), **held)
    with pytest.raises(CorpusError, match=r"lacking\.npz can't be read as predictions.*scores"):
        load_predictions(tmp_path / "lacking.npz")


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    held = made("clips").arrays() | {"truth": np.array([{"not": "plain"}], dtype=object)}
    np.savez(tmp_path / "pickled.npz", type_name=np.array("clips"), **held)
    with pytest.raises(CorpusError, match="allow_pickle"):
        load_predictions(tmp_path / "pickled.npz")
