"""A small model of audio and text: labels, captions and seen clips that it refuses, and what the messages advise."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from remedy_tools import RATE, Command, after, changed, executes, table, tones

from auricle.cli import main

TRAIN = [
    "--loader.batch", "4", "--loader.workers", "0", "--train.threads", "1", "--train.steps", "2",
    "--train.warmup-steps", "0", "--train.precision", "fp32", "--window.seconds", "0.64",
]  # fmt: skip
COLUMNS = {
    "label": ["high", "low"] * 4,
    "caption": [f"a {('high', 'low')[i % 2]} tone, number {i}" for i in range(8)],
    "strange": ["wug", "blicket"] * 4,
}


def pretrain(data: Path, out: Path | str, column: str = "caption") -> list[str]:
    return ["pretrain", "clap", "--data", str(data), "--out", str(out), "--objective.columns", column, *TRAIN]


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("towers")
    assert main(pretrain(tones(place / "seen", 8, COLUMNS), place / "clap")) == 0
    return place


@pytest.fixture
def clap(towers: Path, tmp_path: Path) -> str:
    """A copy of that run, with its data beside it."""
    for name in ("seen", "clap"):
        shutil.copytree(towers / name, tmp_path / name)
    return "clap"


@executes("has the same tokens for the classes", "set a shorter --template")
def test_classes_that_are_alike(auricle: Command, clap: str) -> None:
    words = ["zero-shot", clap, "--data", "seen", "--labels", "strange"]
    message = auricle.refused(*words)
    flag = after(message, "a column of other labels (", r"(--labels)\)")
    auricle.works(*changed(words, flag, "label"))
    assert "pre-train on captions that contain these words" in message
    auricle.works(*pretrain(Path("seen"), "taught", "strange"))
    auricle.works(*["zero-shot", "taught", *words[2:]])
    # A template so long that the tower reads nothing of the class.
    long = ["zero-shot", clap, "--data", "seen", "--labels", "label", "--template", "tone " * 200 + "{}"]
    flag = after(auricle.refused(*long), "; set a shorter ", r"(--template),")
    auricle.works(*changed(long, flag, "a {} tone"))


@executes("or a table of file,caption (--captions)")
def test_captions_are_named(auricle: Command, clap: str, tmp_path: Path) -> None:
    tones(tmp_path / "plain", 8, {"label": COLUMNS["label"], "title": COLUMNS["caption"]})
    words = ["text-retrieval", clap, "--data", "plain"]
    message = auricle.refused(*words)
    auricle.works(*words, after(message, "hold its captions (", r"(--columns)"), "title")
    table(tmp_path / "said.csv", {"file": [f"{i:02d}.wav" for i in range(8)], "caption": COLUMNS["caption"]})
    auricle.works(*words, after(message, "a table of file,caption (", r"(--captions)"), "said.csv")


@executes("Scores of them are not those of new clips", "which of its clips were seen is not known")
def test_clips_that_were_seen(auricle: Command, clap: str, tmp_path: Path) -> None:
    some = tones(tmp_path / "some", 12, {"label": ["high", "low"] * 6})
    for file in ("00.wav", "01.wav"):
        shutil.copy(tmp_path / "seen" / file, some / file)
    for number in range(2, 12):
        noise = np.random.default_rng(100 + number).standard_normal(11200)
        soundfile.write(some / f"{number:02d}.wav", 0.1 * np.convolve(noise, np.ones(number), "same"), RATE)
    words = ["zero-shot", clap, "--data", "some", "--labels", "label"]
    message = auricle.refused(*words, "--on-leak", "refuse")
    for way in (r"(--on-leak drop) to evaluate without", r"--on-leak drop .*, or (--on-leak warn)"):
        auricle.works(*words, *after(message, "Set ", way).split())
    words = changed(words, "--data", "seen")
    message = auricle.refused(*words, "--on-leak", "drop")  # all of them
    auricle.works(*words, *after(message, "Set ", r"(--on-leak warn)").split())
    (tmp_path / "clap" / "recordings.parquet").unlink()
    message = auricle.refused(*words, "--on-leak", "drop")
    auricle.works(*words, *after(message, "Set ", r"(--on-leak warn) to evaluate with all").split())
