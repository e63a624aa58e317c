"""Libraries that are damaged, of another version, or in use."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from test_indexing import MODEL, add, content
from toy_library import write_recordings, write_tone

import auricle
from auricle.answers.library import Library
from auricle.answers.segment_table import open_segments
from auricle.errors import CheckpointError, MissingExtraError, StorageError
from auricle.storage import sealed
from auricle.training.lock import RunLock


@pytest.fixture
def library(tmp_path: Path) -> Path:
    add(write_recordings(tmp_path / "recordings"), tmp_path / "library")
    return tmp_path / "library"


def lance_files(library: Path, folder: str) -> list[Path]:
    return sorted((library / "segments.lance" / folder).iterdir())


def test_a_record_that_is_changed_missing_or_of_another_layout_is_refused(library: Path) -> None:
    record = library / "library.json"
    text = record.read_text()
    record.write_text(text.replace('"segment": 1.0', '"segment": 2.0'))
    with pytest.raises(StorageError, match=r"library\.json is damaged .* index the recordings again"):
        Library.open(library)
    record.write_text(text[: len(text) // 2])
    with pytest.raises(StorageError, match=r"library\.json is damaged"):
        add(library.parent / "recordings", library)
    held = json.loads(text)
    del held["sum"]
    record.write_text(sealed({**held, "layout": 9}))
    with pytest.raises(StorageError, match="is a library of layout 9, and this version of auricle reads 1"):
        Library.open(library)
    record.unlink()
    with pytest.raises(StorageError, match=r"is no library: it has no library\.json"):
        Library.open(library)
    # Vectors without their record are not written over.
    with pytest.raises(StorageError, match=r"holds ledger\.jsonl and more and no library\.json"):
        add(library.parent / "recordings", library)


def test_a_table_that_is_missing_cut_or_changed_is_named(library: Path, tmp_path: Path) -> None:
    def broken(name: str) -> Path:
        return Path(shutil.copytree(library, tmp_path / name))

    shutil.rmtree(broken("gone") / "segments.lance")
    with pytest.raises(StorageError, match=r"has no folder segments\.lance"):
        Library.open(tmp_path / "gone")
    for file in lance_files(broken("data"), "data"):
        file.unlink()
    with pytest.raises(StorageError, match=f"the table of the library {tmp_path / 'data'} can't be used"):
        Library.open(tmp_path / "data").vectors()
    for file in lance_files(broken("cut"), "data"):
        file.write_bytes(file.read_bytes()[:-200])
    for use in (lambda opened: opened.rows(), lambda opened: opened.search(opened.vectors()[0])):
        with pytest.raises(StorageError, match=r"can't be used .* index the recordings again into a new one"):
            use(Library.open(tmp_path / "cut"))
    for file in lance_files(broken("list"), "_versions"):
        file.write_bytes(b"nothing")
    with pytest.raises(StorageError, match="can't be used"):
        Library.open(tmp_path / "list")
    with pytest.raises(StorageError, match="can't be used"):
        auricle.search(tmp_path / "data", row=0)


def test_a_second_writer_is_refused_and_readers_are_not(library: Path) -> None:
    before = content(library)
    reader = Library.open(library)
    with RunLock(library), pytest.raises(CheckpointError, match="holds a library that another process is adding to"):
        add(library.parent / "recordings", library)
    write_tone(library.parent / "recordings" / "new.wav", 2000.0, seed=3)
    add(library.parent / "recordings", library)
    # A library that was opened before has what it had.
    assert (len(reader), reader.rows().num_rows, len(reader.search(reader.vectors()[0], 100))) == (18, 18, 18)
    assert len(content(library)) == len(before) + 6


def test_without_lancedb_the_extra_is_named(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "lancedb", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'auricle\[index\]'"):
        open_segments(library)
    with pytest.raises(MissingExtraError, match=r"pip install 'auricle\[index\]'"):
        auricle.index(MODEL, library.parent / "recordings", library.parent / "new", progress=False)
