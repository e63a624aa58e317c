"""Classes that only one side has, and folds of one class."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from bad_input_command import Command, noted
from bad_input_data import clips, sides

pytestmark = pytest.mark.usefixtures("own_encoders")


@pytest.mark.parametrize("probe", ["knn", "logistic", "centroid", "ridge", "linear"])
def test_labels_that_training_never_showed_count_as_errors(auricle: Command, tmp_path: Path, probe: str) -> None:
    data = clips(tmp_path / "data", [*sides("ab", 5, 2, 3), ("c", "test"), ("c", "test")])
    # Enough epochs for a probe to learn the other classes; after two its predictions are those of its random start.
    words = ["--probes", probe, "--search.epochs", "30", "--search.lr-count", "4"]
    assert auricle(*auricle.probe(data, *words)) == 0
    (record,) = auricle.results().values()
    assert noted(record, "in test but never in training (counted as errors)").endswith("c (fold test)")
    assert "never in training" in auricle.table()
    assert record["clips"] == record["clips_total"] == 8
    assert record["per_class"]["c"]["recall"] == 0
    assert record["value"] <= 0.75


def test_a_class_without_positives_is_not_in_the_score(auricle: Command, tmp_path: Path) -> None:
    several = [("a;b", "train"), ("a", "train"), ("b", "train"), ("c", "train"), ("", "train"), ("a;c", "train")] * 2
    several += [("a", "valid"), ("b", "valid"), ("", "valid"), ("a", "test"), ("b", "test"), ("", "test")]
    data = clips(tmp_path / "data", several)
    words = ["--probes", "linear", "knn", "logistic"]
    # An empty cell is no label in a task of one label or several; only `sed_synth`-like cards take it for "none".
    assert auricle(*auricle.probe(data, *words)) == 0
    for record in auricle.results().values():
        assert "c (fold test)" in noted(record, "in training but without test clips (not in the score there)")
        assert noted(record, "without a label were excluded").startswith("4 clips")
        assert record["per_class"]["c"]["ap"] is None
        defined = [record["per_class"][name]["ap"] for name in "ab"]
        assert record["value"] == pytest.approx(np.mean(defined))
    assert "not in the score there" in auricle.table()


def test_a_class_that_only_test_clips_have_keeps_its_chance_precision(auricle: Command, tmp_path: Path) -> None:
    several = [("a;b", "train"), ("a", "train"), ("b", "train")] * 4
    several += [("a", "valid"), ("b", "valid"), ("a;c", "test"), ("b", "test"), ("a", "test"), ("b", "test")]
    data = clips(tmp_path / "data", several)
    assert auricle(*auricle.probe(data, "--probes", "linear", "logistic")) == 0
    for record in auricle.results().values():
        assert "c (fold test)" in noted(record, "in test but never in training (scored at chance)")
        assert record["per_class"]["c"]["ap"] is not None
        assert math.isfinite(record["value"])


@pytest.mark.parametrize("probe", ["linear", "knn", "logistic", "centroid", "ridge"])
def test_a_fold_that_tests_one_class_only(auricle: Command, tmp_path: Path, probe: str) -> None:
    """Its accuracy is that of the one class; the classes without clips are noted."""
    rows = [(label, str(fold)) for fold in (1, 2, 3) for label in "ab" for _ in range(3)] + [("a", "4")] * 4
    data = clips(tmp_path / "data", rows, "fold")
    assert auricle(*auricle.probe(data, "--probes", probe)) == 0
    (record,) = auricle.results().values()
    assert len(record["per_fold"]) == 4
    assert all(value is not None and math.isfinite(value) for value in record["per_fold"])
    assert "b (fold 4)" in noted(record, "without test clips")


def test_a_fold_that_trains_on_one_class_only(auricle: Command, tmp_path: Path) -> None:
    """With three folds one of them trains alone while the next validates; what was scored by then is kept."""
    rows = [(label, str(fold)) for fold in (1, 2) for label in "ab" for _ in range(3)] + [("a", "3")] * 4
    data = clips(tmp_path / "data", rows, "fold")
    message = auricle.refused(*auricle.probe(data, "--probes", "knn", "linear"))
    assert "class 'a'" in message
    assert set(auricle.results()) == {"knn"}
    assert math.isfinite(auricle.results()["knn"]["value"])


def test_a_split_whose_training_clips_are_of_one_class(auricle: Command, tmp_path: Path) -> None:
    data = clips(tmp_path / "data", [*sides("a", 5, 2, 3), ("b", "test"), ("b", "test")])
    message = auricle.refused(*auricle.probe(data, "--probes", "linear"))
    assert "class 'a'" in message
    assert not (tmp_path / "out" / "folder" / "results.jsonl").exists()
    # A probe without a training loop may predict `a` always; the record names the class it has not seen.
    if auricle(*auricle.probe(data, "--probes", "knn")) == 0:
        assert auricle.results()["knn"]["metrics"]["accuracy"] == pytest.approx(3 / 5)
        noted(auricle.results()["knn"], "never in training")
