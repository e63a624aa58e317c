"""Damaged tokens and results, and audio that has changed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from bad_input_command import Command
from bad_input_data import clips, sides

pytestmark = pytest.mark.usefixtures("own_encoders")


def results(auricle: Command, tmp_path: Path, words: list[str]) -> list[dict]:
    assert auricle(*words) == 0
    return [json.loads(line) for line in (tmp_path / "out" / "folder" / "results.jsonl").read_text().splitlines()]


def test_a_corpus_that_has_grown_or_changed_is_evaluated_anew(auricle: Command, tmp_path: Path) -> None:
    """One more labelled clip, another data set, and noise of the same size: against runs with a fresh `--out`."""
    data = clips(tmp_path / "data", sides("ab", 4, 2, 2))
    words = auricle.probe(data, "--probes", "knn")
    first = results(auricle, tmp_path, words)
    clips(data, sides("ab", 4, 2, 3))
    grown = results(auricle, tmp_path, words)[len(first) :]
    assert [record["clips"] for record in grown] == [6] * len(first)
    other = clips(tmp_path / "other", sides("ac", 4, 2, 2))
    assert len(results(auricle, tmp_path, auricle.probe(other, "--probes", "knn"))) == 3 * len(first)
    for number, path in enumerate(sorted(data.glob("*.wav"))):
        before = path.stat()
        wave, rate = soundfile.read(path)
        soundfile.write(path, 0.1 * np.random.default_rng(number).standard_normal(len(wave)), rate)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert path.stat().st_size == before.st_size
    noise = results(auricle, tmp_path, words)[3 * len(first) :]
    shutil.rmtree(tmp_path / "out")
    fresh = results(auricle, tmp_path, words)
    assert [record["metrics"] for record in noise] == [record["metrics"] for record in fresh]
    assert [record["key"] for record in noise] == [record["key"] for record in fresh]


@pytest.mark.parametrize("file", ["tokens.bin", "pooled.bin", "origin.json", "journal.jsonl"])
def test_damaged_tokens_are_made_again_and_results_stay(auricle: Command, tmp_path: Path, file: str) -> None:
    data = clips(tmp_path / "data", sides("ab", 4, 2, 2))
    first = results(auricle, tmp_path, auricle.probe(data, "--probes", "knn"))
    (damaged,) = (tmp_path / "out").rglob(file)
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    # Another probe needs the tokens again.
    both = results(auricle, tmp_path, auricle.probe(data, "--probes", "knn", "linear"))
    assert both[: len(first)] == first
    shutil.rmtree(tmp_path / "out")
    fresh = results(auricle, tmp_path, auricle.probe(data, "--probes", "knn", "linear"))
    assert sorted(r["value"] for r in both) == sorted(r["value"] for r in fresh)


def test_another_encoder_never_reads_the_tokens_of_the_first(auricle: Command, tmp_path: Path) -> None:
    data = clips(tmp_path / "data", sides("ab", 4, 2, 2))
    for encoder in ("Bands", "Louder"):
        assert auricle(*auricle.probe(data, "--probes", "knn", encoder=encoder)) == 0
    lines = (tmp_path / "out" / "folder" / "results.jsonl").read_text().splitlines()
    assert len({json.loads(line)["encoder_fingerprint"] for line in lines}) == 2
    assert len(list((tmp_path / "out").rglob("origin.json"))) == 2


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
