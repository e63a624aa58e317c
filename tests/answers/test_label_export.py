"""What the page writes is read by the rest of auricle, and by Raven and Audacity."""

from __future__ import annotations

import csv
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from bad_input_command import full_disk
from made_labels import Truth, made_library, opened, write_scenes
from sklearn.metrics import average_precision_score
from toy_library import RATE

import auricle
from auricle.answers.label_export import export
from auricle.answers.label_log import Key
from auricle.answers.labelling import Labelling
from auricle.answers.prediction_table import read_predictions
from auricle.cli import main
from auricle.corpus.sources import open_corpus
from auricle.encoders.features import FeaturesConfig
from auricle.errors import CorpusError, StorageError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    return made_library(tmp_path_factory.mktemp("made"))


@pytest.fixture
def labelling(made: tuple[Path, Truth], tmp_path: Path) -> Labelling:
    labelling = opened(shutil.copytree(made[0], tmp_path / "library"))
    for number in range(30):
        proposal = labelling.propose("random", "owl", "tab")
        assert proposal is not None
        there = made[1][labelling.segments.key(proposal.row)]
        labelling.label(proposal.row, None if number == 7 else there, proposal.origin, "tab")
    return labelling


def test_tables(labelling: Labelling, made: tuple[Path, Truth], tmp_path: Path) -> None:
    export(labelling, tmp_path / "out")
    wanted = sorted((*key, name, 1.0) for key, label in labelling.log.labels.items() for name in label.classes or ())
    table = read_predictions(tmp_path / "out" / "tables" / "labels.csv")
    assert sorted(zip(*(table[name].to_pylist() for name in table.column_names), strict=True)) == wanted
    for kind in ("raven", "audacity"):
        shutil.copytree(made[0].parent / "recordings", tmp_path / kind)
        shutil.copytree(tmp_path / "out" / "tables" / f"labels.{kind}", tmp_path / kind, dirs_exist_ok=True)
        events = [(e.file, e.onset, e.offset, e.label, 1.0) for e in open_corpus(tmp_path / kind).events]
        assert sorted(events) == wanted


def test_the_clips_are_a_corpus_with_the_random_sample_as_its_test(
    labelling: Labelling, made: tuple[Path, Truth], tmp_path: Path
) -> None:
    lines = export(labelling, tmp_path / "out")
    assert lines[0].startswith("29 clips in ")
    corpus = open_corpus(tmp_path / "out" / "clips")
    assert len(corpus) == 29
    drawn = {draw.key for draw in labelling.log.draws}
    recording = corpus.column("original")
    begins, ends = corpus.column("original_start"), corpus.column("original_end")
    for row, clip in enumerate(corpus):
        key = (recording[row], float(begins[row]), float(ends[row]))
        assert corpus.labels[row] == (made[1][key] or ("background",))  # type: ignore[index]
        assert clip.split == ("test" if key in drawn else "train")
        whole, _ = soundfile.read(made[0].parent / "recordings" / key[0], dtype="float32")
        np.testing.assert_allclose(
            corpus.audio(row, RATE), whole[round(key[1] * RATE) : round(key[2] * RATE)], atol=1e-6
        )
    # A later export replaces it.
    labelling.undo("tab")
    assert export(labelling, tmp_path / "out")[0].startswith("28 clips in ")
    assert len(open_corpus(tmp_path / "out" / "clips")) == 28


def test_the_loop_ends_in_a_saved_model(labelling: Labelling, made: tuple[Path, Truth], tmp_path: Path) -> None:
    said = export(labelling, tmp_path / "out")[1]
    words = shlex.split(said.removeprefix("Fit a model: auricle fit "))
    words[words.index("FITTED")] = str(tmp_path / "owl")
    assert main(["fit", *words]) == 0
    shutil.rmtree(labelling.library.folder)
    model = auricle.load(tmp_path / "owl", trust_remote_code=True)
    assert model.classes == ("background", "fox", "owl")
    assert model.fitted.segment == 1.0
    waves = [
        soundfile.read(made[0].parent / "recordings" / key.file, start=round(key.start * RATE), frames=RATE)[0]
        for key in made[1]
    ]
    scores = model.predict([wave.astype(np.float32) for wave in waves], RATE)
    owls = np.array(["owl" in there for there in made[1].values()])
    # 29 clips of the random kind are few; without them it is the share of owls.
    assert average_precision_score(owls, scores[:, 2]) > 2.5 * owls.mean()


def test_nothing_labelled_is_written_too(labelling: Labelling, tmp_path: Path) -> None:
    while labelling.undo("tab") is not None:
        pass
    assert export(labelling, tmp_path / "out")[0].startswith("0 clips in ")
    assert len(read_predictions(tmp_path / "out" / "tables" / "labels.csv")) == 0


def test_a_place_that_cant_be_written(labelling: Labelling, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(StorageError, match="can't write"):
        export(labelling, tmp_path / "out")


def test_a_library_of_another_model_is_refused(labelling: Labelling, capsys: pytest.CaptureFixture[str]) -> None:
    library = labelling.library.folder
    with pytest.raises(CorpusError, match="was made by"):
        auricle.label(library, classes=["owl"], model="toy_library:OtherBands")
    assert main(["label", str(library / "nowhere"), "--classes", "owl"]) == 2
    assert "is no library" in capsys.readouterr().err
    assert main(["label", str(library), "--classes", "owl", "--context", "-1"]) == 2
    assert "context is -1.0 s; expected 0 to 60" in capsys.readouterr().err


def metadata(folder: Path) -> list[dict[str, str]]:
    with (folder / "clips" / "metadata.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_of_others_are_never_replaced(labelling: Labelling, tmp_path: Path) -> None:
    for name in ("clips/my_only_recording.flac", "clips/metadata.csv", "notes.txt"):
        out = tmp_path / name.replace("/", " ")
        (out / name).parent.mkdir(parents=True)
        (out / name).write_text("precious")
        with pytest.raises(StorageError, match="which no export of labels wrote"):
            export(labelling, out)
        assert files_of(out) == {name: b"precious"}
    # Nor what was added to an export.
    export(labelling, tmp_path / "out")
    (tmp_path / "out" / "clips" / "mine.flac").write_text("precious")
    with pytest.raises(StorageError, match=r"'clips/mine.flac', which no export"):
        export(labelling, tmp_path / "out")


def test_an_export_that_fails_leaves_the_earlier_one(labelling: Labelling, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(labelling, out)
    before = files_of(out)
    with full_disk(3000), pytest.raises(StorageError, match="no space left"):
        export(labelling, out)
    assert files_of(out) == before
    recordings = tmp_path / "recordings"
    write_scenes(recordings, files=4, seed=9)
    auricle.index("toy_library:Bands", recordings, tmp_path / "small", segment=1.0, progress=False)
    small = opened(tmp_path / "small")
    for row in range(len(small.segments)):
        small.label(row, ["owl"], "random", "tab")
    out = tmp_path / "small out"
    export(small, out)
    before = files_of(out)
    shutil.rmtree(recordings)
    with pytest.raises(StorageError, match=r"the earlier export .* may have them"):
        export(small, out)
    assert files_of(out) == before
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []
    lines = export(small, tmp_path / "new")
    assert lines[0].startswith("0 clips in ")
    assert lines[-1].startswith("Excluded clips, the recording can't be read: ")


def test_the_test_split_is_the_labelled_draws_and_shares_no_sound_with_training(tmp_path: Path) -> None:
    write_scenes(tmp_path / "recordings", files=3, seconds=60)
    library = tmp_path / "library"
    auricle.index("toy_library:Bands", tmp_path / "recordings", library, segment=1.0, hop=0.5, progress=False)
    labelling = opened(library, ("owl",))
    segments = labelling.segments
    touching = np.flatnonzero(~segments.trainable & ~segments.held_out)
    row = next(row for row in touching if segments.trainable[segments.overlapping(segments.key(row))].any())
    beside = next(other for other in segments.overlapping(segments.key(row)) if segments.trainable[other])
    for each in (row, beside, np.flatnonzero(segments.held_out)[20]):
        labelling.label(int(each), ["owl"], "highest", "tab")
    for _ in range(10):
        proposal = labelling.propose("random", "owl", "tab")
        assert proposal is not None
        labelling.label(proposal.row, [], proposal.origin, "tab")
    drawn = {draw.key for draw in labelling.draws}
    lines = export(labelling, tmp_path / "out")
    written = metadata(tmp_path / "out")
    keys = {
        split: {
            Key(each["original"], float(each["original_start"]), float(each["original_end"]))
            for each in written
            if each["split"] == split
        }
        for split in ("train", "test")
    }
    assert keys["test"] == drawn & set(labelling.log.labels)
    assert segments.key(int(beside)) in keys["train"]
    assert segments.key(int(row)) not in keys["train"] | keys["test"]
    assert {each["source"] for each in written} <= set(segments.recordings.values())
    assert "Excluded clips, held out, and not drawn for the random sample: 2" in lines


def test_labels_that_did_not_ask_about_every_class_are_no_background(labelling: Labelling, tmp_path: Path) -> None:
    again = opened(labelling.library.folder, ("newt",))
    row = int(np.flatnonzero(again.segments.trainable)[-1])
    again.label(row, ["newt"], "margin", "tab")
    lines = export(again, tmp_path / "out")
    assert [each["label"] for each in metadata(tmp_path / "out")] == ["newt"]
    assert any(line.startswith("Excluded clips, not every class was asked about") for line in lines)


def test_slowed_and_fast_recordings(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    (tmp_path / "recordings").mkdir()
    for number in range(3):
        wave = generator.normal(size=192_000) * 0.1
        soundfile.write(tmp_path / "recordings" / f"{number}.wav", wave, 192_000)
    for name, slower, rate, length in (("slow", 10, 19_200, 2.0), ("fast", 1, 192_000, 0.2)):
        library = tmp_path / name
        auricle.index(
            "toy_library:Bands",
            tmp_path / "recordings",
            library,
            segment=0.2,
            time_expansion=slower,
            progress=False,
        )
        labelling = opened(library, ("owl",))
        labelling.label(int(np.flatnonzero(labelling.segments.trainable)[0]), ["owl"], "margin", "tab")
        said = export(labelling, tmp_path / f"{name} out")[1]
        assert said.endswith(f"--segment {length:g}")
        clip = soundfile.info(next((tmp_path / f"{name} out" / "clips").glob("*.flac")))
        assert (clip.samplerate, clip.frames) == (rate, round(rate * length))


def test_a_model_of_other_features_is_that_of_the_library(
    labelling: Labelling, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted:
        def run(self, sockets: list[Any]) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr("auricle.answers.label_session.server_of", lambda app: Interrupted())
    write_scenes(tmp_path / "recordings", files=8)
    settings = {"segment": 1.0, "features": FeaturesConfig(vector="mean_std"), "progress": False}
    auricle.index("toy_library:Framed", tmp_path / "recordings", tmp_path / "own", **settings)
    auricle.label(tmp_path / "own", classes=["owl"], model="toy_library:Framed")
