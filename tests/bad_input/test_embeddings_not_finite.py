"""Embeddings that are no numbers: the clips are counted, or the run is refused."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
from bad_input_command import Command
from bad_input_data import clips, sides, table

pytestmark = pytest.mark.usefixtures("own_encoders")


@pytest.mark.parametrize("encoder", ["Fragile", "Infinite"])
def test_clips_whose_embeddings_are_not_finite_are_counted(auricle: Command, tmp_path: Path, encoder: str) -> None:
    data = clips(tmp_path / "data", sides("ab", 5, 3, 4), loud=(0, 12, 20))
    assert auricle(*auricle.probe(data, "--probes", "linear", "knn", "protobin", encoder=encoder)) == 0
    for record in auricle.results().values():
        assert set(record["missing"]) == {"00.wav", "12.wav", "20.wav"}
        assert all("not finite" in reason for reason in record["missing"].values())
        assert (record["clips"], record["clips_total"]) == (7, 8)
        assert math.isfinite(record["value"])
    assert "7 of 8 test clips" in auricle.table()


def test_an_encoder_that_gives_nan_for_everything(auricle: Command, tmp_path: Path) -> None:
    data = clips(tmp_path / "data", sides("ab", 3, 2, 2))
    message = auricle.refused(*auricle.probe(data, encoder="Nothing"))
    assert "not one of the 14 clips" in message
    assert "not finite" in message
    assert not list((tmp_path / "out").rglob("manifest.json"))
    assert auricle("check", "encoder", "bad_input_encoders:Nothing") == 2


def test_a_side_without_one_finite_embedding(auricle: Command, tmp_path: Path) -> None:
    rows = sides("ab", 4, 2, 2)
    data = clips(tmp_path / "data", rows, loud=[i for i, (_, side) in enumerate(rows) if side == "test"])
    message = auricle.refused(*auricle.probe(data, "--probes", "knn", encoder="Fragile"))
    assert "fold test" in message
    assert "and 0 test clips that can be read" in message


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("folder_regression", ["--label", "number", "--probes", "ridge"]),
        ("folder_anomaly", ["--rule.normal", "a"]),
        ("folder_retrieval", ["--probes", "cosine"]),
        ("folder_few_shot", ["--rule.ways", "2", "--rule.shots", "1", "--rule.queries", "1", "--rule.episodes", "30"]),
        ("folder_clustering", []),
    ],
)
def test_every_type_of_task_counts_embeddings_that_are_not_finite(
    auricle: Command, tmp_path: Path, task: str, words: list[str]
) -> None:
    data = clips(tmp_path / "data", [(label, "") for label in "ab" for _ in range(8)], loud=(3, 11))
    rows = list(csv.reader((data / "metadata.csv").open()))[1:]
    table(data / "metadata.csv", ("file", "label", "number"), [(row[0], row[1], 10 * i) for i, row in enumerate(rows)])
    assert auricle(*auricle.probe(data, *words, task=task, encoder="Fragile")) == 0
    for record in auricle.results(task).values():
        assert set(record["missing"]) == {"03.wav", "11.wav"}
        assert record["clips"] < record["clips_total"]
        assert math.isfinite(record["value"])
