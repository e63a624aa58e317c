"""What `auricle label` advises is done to the letter, and the page is then served."""

from __future__ import annotations

import csv
import socket
from pathlib import Path
from typing import Any

import pytest
from remedy_tools import Command, after, executes, tones

from auricle.answers.label_log import Key, LabelLog
from auricle.training.lock import RunLock


@pytest.fixture
def library(auricle: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library; a server of its page is interrupted at once."""

    class Interrupted:
        def run(self, sockets: list[Any]) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr("auricle.answers.label_session.server_of", lambda app: Interrupted())
    tones(tmp_path / "data")
    auricle.works("index", "remedy_encoders:Bands", "--data", "data", "--out", "library")
    return tmp_path / "library"


@executes("no class is named; expected what to label, such as ")
def test_classes_are_named(auricle: Command, library: Path) -> None:
    message = auricle.refused("label", library)
    auricle.works("label", library, *after(message, "such as ", "(.+)").split())


@executes("expected a free one. Omit --port for any that is free")
def test_another_port_is_taken(auricle: Command, library: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        words = ["label", library, "--classes", "owl"]
        auricle.refused(*words, "--port", other.getsockname()[1])
        auricle.works(*words)


@executes("Use its page, stop it, or name another file with --labels")
def test_a_second_server_has_another_file(auricle: Command, library: Path) -> None:
    with RunLock(library / ".labels.jsonl.open"):
        auricle.refused("label", library, "--classes", "owl")
        auricle.works("label", library, "--classes", "owl", "--labels", "mine.jsonl")
    auricle.works("label", library, "--classes", "owl")


@executes("one key each: label the others with another file (--labels)")
def test_more_classes_have_another_file(auricle: Command, library: Path) -> None:
    names = list("abcdefghij")
    auricle.refused("label", library, "--classes", *names)
    auricle.works("label", library, "--classes", *names[:9])
    auricle.works("label", library, "--classes", names[9], "--labels", "others.jsonl")


@executes("expected labels of its own recordings and segment length; name another file with --labels")
def test_labels_of_other_recordings_are_in_another_file(auricle: Command, library: Path) -> None:
    LabelLog.open(library / "labels.jsonl").label(Key("other.wav", 0, 5), ("owl",), ("owl",), "margin", "tab")
    auricle.refused("label", library)
    auricle.works("label", library, "--classes", "owl", "--labels", "own.jsonl")


@executes("which --first names; expected ids of rows: `auricle search` lists them")
def test_rows_to_label_first_are_those_that_a_search_lists(auricle: Command, library: Path) -> None:
    words = ["label", library, "--classes", "owl", "--first"]
    assert "`auricle search` lists them" in auricle.refused(*words, 12345)
    auricle.works("search", library, "--row", 0, "--top", 2, "--out", "hits.csv")
    with Path("hits.csv").open(newline="") as file:
        auricle.works(*words, *(row["id"] for row in csv.DictReader(file)))


@executes("expected such a file, or none yet: it was not changed, name another one with --labels")
def test_a_file_of_others_is_kept(auricle: Command, library: Path) -> None:
    Path("table.csv").write_text("a,b\n1,2\n")
    words = ["label", library, "--classes", "owl", "--labels"]
    auricle.refused(*words, "table.csv")
    auricle.works(*words, "labels.jsonl")
    assert Path("table.csv").read_text() == "a,b\n1,2\n"


@executes("name another folder with --out")
def test_an_export_into_a_folder_of_other_files(auricle: Command, library: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("a week of work")
    words = ["label", library, "--classes", "owl", "--out"]
    assert "holds 'notes.txt', which no export of labels wrote" in auricle.refused(*words, "mine")
    auricle.works(*words, "other")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "a week of work"
