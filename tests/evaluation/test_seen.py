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
from auricle.errors import CheckpointError, CorpusError
from auricle.evaluation.seen import Seen, seen
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
    assert seen(run, open_corpus(data)).known is True
    shutil.copytree(data, tmp_path / "other name")
    assert seen(run, open_corpus(tmp_path / "other name")).known is True
    assert seen(run, open_corpus(data / "a")).known is True
    # One recording among new ones, renamed, in a tar.
    mixed = write(tmp_path / "mixed", 4, 1)
    shutil.copy(data / "b" / "1.wav", mixed / "a" / "new.wav")
    assert seen(run, open_corpus(mixed)).known is True
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        tar.add(mixed / "a" / "new.wav", "x.wav")
    assert seen(run, open_corpus(tmp_path / "shard.tar")).known is True
    assert seen(run, open_corpus(data / "a").segments(0.2)).known is True


def test_copies_in_another_encoding_are_recognised_where_the_data_are(run: Path, data: Path, tmp_path: Path) -> None:
    """One as FLAC, one quieter and late, and others; without the run's data only equal bytes, which is said."""
    other = write(tmp_path / "other", 4, 1)
    for i, (name, gain, late) in enumerate((("a/x.flac", 1.0, 0), ("b/y.wav", 0.3, 100))):
        wave, rate = soundfile.read(data / "ab"[i] / f"{i}.wav")
        soundfile.write(other / name, gain * np.concatenate([np.zeros(late), wave]), rate)
    corpus = open_corpus(other)
    names = corpus.column("file")
    found = seen(run, corpus)
    assert found.known is True
    assert {names[row]: kind for row, kind in found.rows.items()} == {"a/x.flac": "samples", "b/y.wav": "near"}
    assert found.notes == ("2 of 6 clips were seen in pre-training (1 equal samples, 1 near copy; such as a/x.flac)",)
    assert seen(run, open_corpus(write(tmp_path / "third", 4, 2))).notes == ()
    moved = data.rename(data.with_name("moved"))
    try:
        gone = seen(run, corpus)
        assert (gone.known, gone.rows) == (False, {})
        assert gone.notes[0].startswith("clips that were seen in pre-training in another encoding are not recognised:")
        assert f"there is no folder or file {data}" in gone.notes[0]
        write(data, 8, 3)
        assert "have changed since" in seen(run, corpus).notes[0]
        shutil.rmtree(data)
    finally:
        moved.rename(data)
    shutil.copy(data / "a" / "0.wav", other / "a" / "equal.wav")
    known, each = seen(run, open_corpus(other)), seen(run, open_corpus(other), each=True)
    assert list(known.rows.values()) == ["bytes"]
    assert sorted(each.rows.values()) == ["bytes", "near", "samples"]


def test_other_audio_of_the_same_file_names_and_sizes_was_not_seen(run: Path, data: Path, tmp_path: Path) -> None:
    other = open_corpus(write(tmp_path / "other", 8, 1))
    assert sorted(other.column("file")) == sorted(open_corpus(data).column("file"))
    assert seen(run, other).known is False


def test_a_run_that_lists_no_recordings_can_only_go_by_names(run: Path, data: Path, tmp_path: Path) -> None:
    other = open_corpus(write(tmp_path / "other", 8, 1))
    folder = old(run, tmp_path / "run", name="everything", parts={"sounds": 8, "voices": 3})
    assert seen(folder, open_corpus(data)).known is True
    # File names and sizes are alike, and nothing says more.
    assert seen(folder, other).known is True
    assert seen(folder, open_corpus(write(tmp_path / "fewer", 4, 1))).known is None
    assert seen(tmp_path, other).known is None


@pytest.mark.parametrize("on_leak", ["refuse", "drop"])
@pytest.mark.parametrize("listed", [True, False])
def test_clips_that_are_seen_by_name_alone_are_refused(run: Path, tmp_path: Path, on_leak: str, listed: bool) -> None:
    new = open_corpus(write(tmp_path / "sounds", 4, 1))
    found = seen(run if listed else old(run, tmp_path / "run"), new, each=True)
    assert (found.known, found.rows) == (True, {})
    with pytest.raises(CorpusError, match=r"sounds has the name or the table.*not known; expected .*--on-leak warn"):
        found.apply(new, on_leak)
    assert found.apply(new, "warn") is new
    for known in (None, False):
        assert Seen(known).apply(new, on_leak) is new


def test_copies_in_many_hours_are_not_searched(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clips are few, and long: the data say 8 clips of 0.5 s, and the task 4."""
    other = open_corpus(write(tmp_path / "other", 4, 1))
    monkeypatch.setattr("auricle.evaluation.seen._MOST_HOURS", 6.5 / 3600)
    assert seen(run, other).notes == ()
    monkeypatch.setattr("auricle.evaluation.seen._MOST_HOURS", 5.5 / 3600)
    monkeypatch.setattr(Corpus, "audio", None)
    (note,) = seen(run, other).notes
    assert "in another encoding are not recognised: 0.0 hours of both are more than" in note


def test_a_corpus_that_cant_be_read_is_neither(run: Path, tmp_path: Path) -> None:
    corpus = Corpus.from_columns({"file": ["a.wav"], "seconds": [1.0]}, root=tmp_path)
    assert len(recording_ids(corpus)) == 0
    assert seen(run, corpus).known is None


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
    told = {
        name: seen(folder, open_corpus(shared_audio / name)).known for name in ("esc50_dev20", "esc10", "sed_synth")
    }
    assert told == {"esc50_dev20": True, "esc10": False, "sed_synth": False}
