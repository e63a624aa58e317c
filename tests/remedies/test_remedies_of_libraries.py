"""What `auricle index` and `auricle search` advise is done to the letter, and works."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from remedy_tools import RATE, Command, executes, tones

import auricle as package

INDEX = ("index", "remedy_encoders:Bands", "--data", "data", "--out")


@pytest.fixture
def library(auricle: Command, tmp_path: Path) -> Path:
    tones(tmp_path / "data")
    auricle.works(*INDEX, "library")
    return tmp_path / "library"


def sound(data: Path) -> Path:
    return sorted(data.rglob("*.wav"))[0]


@executes("expected one of --sound, --text and --row: what to search for")
def test_nothing_to_search_for(auricle: Command, library: Path, tmp_path: Path) -> None:
    auricle.refused("search", library)
    for words in (("--sound", sound(tmp_path / "data")), ("--row", 0)):
        auricle.works("search", library, *words)


@executes("no library: it has no", "rows, as `auricle search` lists them")
def test_a_library_and_its_rows(auricle: Command, library: Path, tmp_path: Path) -> None:
    auricle.refused("search", tmp_path / "data", "--row", 0)
    assert "has no row 9999" in auricle.refused("search", library, "--row", 9999)
    shown = auricle.works("search", library, "--sound", sound(tmp_path / "data"), "--top", 1)
    auricle.works("search", library, "--row", shown.split("score row file start end label")[1].split()[1])


@executes(
    "expected what `auricle index` wrote: restore the file, or index the recordings again into a new folder",
    "has no folder",
    "expected what `auricle index` wrote: restore the folder, or index the recordings again into a new one",
)
def test_damaged_libraries(auricle: Command, library: Path, tmp_path: Path) -> None:
    for name, damage in (
        ("record", lambda at: (at / "library.json").write_text("{}")),
        ("gone", lambda at: shutil.rmtree(at / "segments.lance")),
        ("cut", lambda at: [file.write_bytes(b"") for file in (at / "segments.lance" / "data").iterdir()]),
    ):
        damage(Path(shutil.copytree(library, tmp_path / name)))
        auricle.refused("search", tmp_path / name, "--row", 0)
    auricle.works(*INDEX, "again")
    auricle.works("search", "again", "--row", 0)


@executes("with --space text and a run of the recipe clap, or search by --sound")
def test_a_text_in_a_library_of_clip_vectors(auricle: Command, library: Path, tmp_path: Path) -> None:
    auricle.refused("search", library, "--text", "an owl")
    auricle.works("search", library, "--sound", sound(tmp_path / "data"))


@executes("it is no run folder; expected a run of audio and text (recipe clap), or leave --space text out")
def test_a_model_without_a_text_tower(auricle: Command, library: Path) -> None:
    auricle.refused(*INDEX, "other", "--space", "text")
    auricle.works(*INDEX, "other")


@executes("expected one that was named when it was made: name it with --model")
def test_a_library_of_a_model_in_memory(auricle: Command, library: Path, tmp_path: Path) -> None:
    package.index(package.load("remedy_encoders:Bands"), tmp_path / "data", tmp_path / "own", progress=False)
    words = ("search", tmp_path / "own", "--sound", sound(tmp_path / "data"))
    auricle.refused(*words)
    auricle.works(*words, "--model", "remedy_encoders:Bands")


@executes("set --segment in a new library for one every few seconds")
def test_long_recordings_with_one_vector(auricle: Command, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    noise = np.random.default_rng(0).normal(size=70 * RATE) * 0.1
    soundfile.write(tmp_path / "data" / "long.wav", noise.astype(np.float32), RATE)
    auricle.works(*INDEX, "library")
    assert "7 rows added" in auricle.works(*INDEX, "other", "--segment", 10)


@executes("and is no folder of predictions; choose another name for --out")
def test_tables_never_replace_a_folder_of_other_files(auricle: Command, library: Path, tmp_path: Path) -> None:
    (tmp_path / "season.raven").mkdir()
    (tmp_path / "season.raven" / "notes.txt").write_text("a week of work")
    auricle.refused("search", library, "--row", 0, "--out", "season.raven")
    assert (tmp_path / "season.raven" / "notes.txt").read_text() == "a week of work"
    auricle.works("search", library, "--row", 0, "--out", "other.raven")
