"""A run knows its corpus by content: what `--resume` accepts, and what it refuses in words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auricle.corpus.sources import open_corpus
from auricle.errors import CheckpointError
from auricle.recipes.recordings import check_corpus, write_ledger, write_recordings
from auricle.training.run_folder import RunFolder


def write(folder: Path, seeds: range) -> Path:
    folder.mkdir(exist_ok=True)
    for number, seed in enumerate(seeds):
        soundfile.write(folder / f"{number}.wav", 0.1 * np.random.default_rng(seed).standard_normal(4000), 16000)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    corpus = open_corpus(write(tmp_path / "data", range(4)))
    run = RunFolder.create(tmp_path / "run", {"name": "toy"})
    write_ledger(run, corpus, ())
    write_recordings(run, corpus)
    return run


def test_a_corpus_that_was_copied_is_the_same(run: RunFolder, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "data", tmp_path / "elsewhere" / "data")
    check_corpus(run, open_corpus(tmp_path / "elsewhere" / "data"))


def test_recordings_overwritten_by_others_of_their_size_are_refused(run: RunFolder, tmp_path: Path) -> None:
    before = {path.name: path.stat().st_size for path in (tmp_path / "data").iterdir()}
    write(tmp_path / "data", range(10, 12))
    assert {path.name: path.stat().st_size for path in (tmp_path / "data").iterdir()} == before
    with pytest.raises(CheckpointError, match=r"same names and sizes, and other content now \(2 of 4 recordings have"):
        check_corpus(run, open_corpus(tmp_path / "data"))
    write(tmp_path / "data", range(4))
    check_corpus(run, open_corpus(tmp_path / "data"))
    write(tmp_path / "data", range(5))
    with pytest.raises(CheckpointError, match=r"was begun on the corpus data \(4 clips.*; this is data \(5 clips"):
        check_corpus(run, open_corpus(tmp_path / "data"))


def test_a_run_of_an_earlier_version_goes_by_its_table(run: RunFolder, tmp_path: Path) -> None:
    corpus = open_corpus(tmp_path / "data")
    old = {**json.loads((run.path / "corpus.json").read_text()), "fingerprint": corpus.table_fingerprint}
    del old["table"]
    run.write("corpus.json", old)
    check_corpus(run, corpus)
    with pytest.raises(CheckpointError, match="was begun on the corpus data"):
        check_corpus(run, corpus.select([0, 1]))
