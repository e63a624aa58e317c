"""Damaged tokens and results, and tokens of something else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bad_input_command import Command
from bad_input_data import clips, sides

pytestmark = pytest.mark.usefixtures("own_encoders")


def test_tokens_of_another_corpus_are_refused_and_results_stay(auricle: Command, tmp_path: Path) -> None:
    data = clips(tmp_path / "data", sides("ab", 4, 2, 2))
    words = auricle.probe(data, "--probes", "knn")
    assert auricle(*words) == 0
    before = (tmp_path / "out" / "folder" / "results.jsonl").read_bytes()
    clips(data, sides("ab", 4, 2, 3))
    message = auricle.refused(*words)
    assert str(tmp_path / "out" / "folder" / "tokens") in message
    assert "corpus" in message
    assert (tmp_path / "out" / "folder" / "results.jsonl").read_bytes() == before


@pytest.mark.parametrize("file", ["tokens.bin", "clips.npz", "manifest.json"])
def test_damaged_tokens_are_refused_and_results_stay(auricle: Command, tmp_path: Path, file: str) -> None:
    data = clips(tmp_path / "data", sides("ab", 4, 2, 2))
    assert auricle(*auricle.probe(data, "--probes", "knn")) == 0
    before = (tmp_path / "out" / "folder" / "results.jsonl").read_bytes()
    (damaged,) = (tmp_path / "out").rglob(file)
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    # Another probe needs the tokens again.
    message = auricle.refused(*auricle.probe(data, "--probes", "knn", "linear"))
    assert str(damaged.parent) in message
    assert "delete" in message
    assert (tmp_path / "out" / "folder" / "results.jsonl").read_bytes() == before


def test_another_encoder_never_reads_the_tokens_of_the_first(auricle: Command, tmp_path: Path) -> None:
    data = clips(tmp_path / "data", sides("ab", 4, 2, 2))
    for encoder in ("Bands", "Louder"):
        assert auricle(*auricle.probe(data, "--probes", "knn", encoder=encoder)) == 0
    lines = (tmp_path / "out" / "folder" / "results.jsonl").read_text().splitlines()
    assert len({json.loads(line)["encoder_fingerprint"] for line in lines}) == 2
    assert len(list((tmp_path / "out").rglob("manifest.json"))) == 2


def test_a_damaged_line_of_results_is_named(auricle: Command, tmp_path: Path) -> None:
    data = clips(tmp_path / "data", sides("ab", 4, 2, 2))
    assert auricle(*auricle.probe(data, "--probes", "knn")) == 0
    path = tmp_path / "out" / "folder" / "results.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40] + b"\n")
    code = auricle("results", tmp_path / "out")
    said = auricle.out + auricle.err
    assert "line 2" in " ".join(said.split())
    assert code == 2 or "knn" in said
    message = auricle.refused(*auricle.probe(data, "--probes", "knn", "centroid"))
    assert "line 2" in message
    assert path.read_bytes().startswith(whole)
