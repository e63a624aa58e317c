"""What the page writes is read by the rest of auricle, and by Raven and Audacity."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from made_labels import Truth, made_library, opened
from sklearn.metrics import average_precision_score
from toy_library import RATE

import auricle
from auricle.answers.label_session import export
from auricle.answers.labelling import Labelling
from auricle.answers.prediction_table import read_predictions
from auricle.cli import main
from auricle.corpus.sources import open_corpus
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
    model = auricle.load(tmp_path / "owl")
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
