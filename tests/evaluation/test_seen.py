"""Corpora seen in pre-training: the same recordings under any name; and runs that list no recordings."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus
from auricle.errors import CheckpointError
from auricle.evaluation.seen import seen
from auricle.objectives.contrastive.projectors import ProjectorConfig
from auricle.recipes import get_recipe, pretrain
from auricle.recipes.recordings import recording_ids
from auricle.storage import unseal


def write(folder: Path, clips: int, seed: int) -> Path:
    generator = np.random.default_rng(seed)
    for i in range(clips):
        place = folder / "ab"[i % 2] / f"{i}.wav"
        place.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(place, generator.standard_normal(8000) * 0.1, 16000)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data") / "sounds", 8, 0)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = get_recipe("audiomosaic", "tiny")
    recipe = recipe.replace(
        window=recipe.window.replace(seconds=0.64),
        loader=recipe.loader.replace(batch=4, workers=0),
        encoder=recipe.encoder.replace(width=24, depth=1, heads=2, frames=64),
        objective=recipe.objective.replace(projector=ProjectorConfig(hidden=(16,), out=8)),
        train=recipe.train.replace(steps=1, warmup_steps=0, threads=1, precision="fp32", device="cpu"),
    )
    return pretrain(recipe, data, tmp_path_factory.mktemp("runs") / "run", progress=False)


def old(run: Path, folder: Path, **told: object) -> Path:
    """Make a run folder as it was before recordings were listed."""
    folder.mkdir()
    (folder / "corpus.json").write_text(json.dumps(unseal((run / "corpus.json").read_text()) | told))
    return folder


def test_seen_recordings_are_recognised_under_any_name(run: Path, data: Path, tmp_path: Path) -> None:
    assert seen(run, open_corpus(data)) is True
    shutil.copytree(data, tmp_path / "other name")
    assert seen(run, open_corpus(tmp_path / "other name")) is True
    assert seen(run, open_corpus(data / "a")) is True
    # One recording among new ones, renamed, in a tar.
    mixed = write(tmp_path / "mixed", 4, 1)
    shutil.copy(data / "b" / "1.wav", mixed / "a" / "new.wav")
    assert seen(run, open_corpus(mixed)) is True
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        tar.add(mixed / "a" / "new.wav", "x.wav")
    assert seen(run, open_corpus(tmp_path / "shard.tar")) is True
    assert seen(run, open_corpus(data / "a").segments(0.2)) is True


def test_other_audio_of_the_same_file_names_and_sizes_was_not_seen(run: Path, data: Path, tmp_path: Path) -> None:
    other = open_corpus(write(tmp_path / "other", 8, 1))
    assert sorted(other.column("file")) == sorted(open_corpus(data).column("file"))
    assert seen(run, other) is False


def test_a_run_that_lists_no_recordings_can_only_go_by_names(run: Path, data: Path, tmp_path: Path) -> None:
    other = open_corpus(write(tmp_path / "other", 8, 1))
    folder = old(run, tmp_path / "run", name="everything", parts={"sounds": 8, "voices": 3})
    assert seen(folder, open_corpus(data)) is True
    # File names and sizes are alike, and nothing says more.
    assert seen(folder, other) is True
    assert seen(folder, open_corpus(write(tmp_path / "fewer", 4, 1))) is None
    assert seen(tmp_path, other) is None


def test_a_corpus_that_cant_be_read_is_neither(run: Path, tmp_path: Path) -> None:
    corpus = Corpus.from_columns({"file": ["a.wav"], "seconds": [1.0]}, root=tmp_path)
    assert len(recording_ids(corpus)) == 0
    assert seen(run, corpus) is None


def test_damaged_lists_are_named(run: Path, tmp_path: Path) -> None:
    other = open_corpus(write(tmp_path / "other", 2, 1))
    folder = old(run, tmp_path / "run")
    (folder / "recordings.parquet").write_bytes(b"PAR1")
    with pytest.raises(CheckpointError, match=r"recordings.parquet is damaged"):
        seen(folder, other)
    (folder / "corpus.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"corpus\.json is damaged"):
        seen(folder, other)


def test_identities_are_those_of_different_contents(tmp_path: Path) -> None:
    """Against a comparison of whole files: long recordings that differ in one byte at the begin, middle or end."""
    generator = np.random.default_rng(0)
    base = generator.integers(0, 256, 200_001, dtype=np.uint8)
    files = {"a.wav": base, "same.wav": base, "short.wav": base[:10], "longer.wav": np.append(base, 0)}
    for name, place in (("begin.wav", 50), ("middle.wav", 100_000), ("end.wav", 200_000)):
        files[name] = base.copy()
        files[name][place] ^= 1
    for name, content in files.items():
        (tmp_path / name).write_bytes(content.tobytes())
    corpus = Corpus.from_columns({"file": list(files), "seconds": [1.0] * len(files)}, root=tmp_path)
    found = recording_ids(corpus)
    assert found.dtype == np.uint64
    assert len(found) == len({content.tobytes() for content in files.values()}) == 6
    assert np.array_equal(found, np.sort(found))


@pytest.mark.real
def test_real_corpora_that_were_excluded_were_not_seen(shared_audio: Path, run: Path, tmp_path: Path) -> None:
    everything = open_corpus(shared_audio, exclude=("esc10", "sed_synth"))
    folder = old(run, tmp_path / "run", name="audio", parts={})
    pq.write_table(pa.table({"recording": recording_ids(everything)}), folder / "recordings.parquet")
    told = {name: seen(folder, open_corpus(shared_audio / name)) for name in ("esc50_dev20", "esc10", "sed_synth")}
    assert told == {"esc50_dev20": True, "esc10": False, "sed_synth": False}
