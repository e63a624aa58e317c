"""Archives are unpacked completely or not at all."""

from __future__ import annotations

import errno
import zipfile
from pathlib import Path

import pytest
from download_server import tarred, zipped

from auricle.corpus.published.unpacking import unpack
from auricle.errors import DownloadError, StorageError


def test_archives_are_unpacked_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    good = tmp_path / "good.zip"
    good.write_bytes(zipped(d__a="A", d__b="B"))
    target = tmp_path / "out"

    def full(packed: zipfile.ZipFile, path: Path) -> None:
        (Path(path) / "d").mkdir()
        (Path(path) / "d" / "a").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "extractall", full)
        with pytest.raises(StorageError, match="the disk is full"):
            unpack(good, target)
    assert list(target.iterdir()) == []
    (target / "d").mkdir()
    (target / "d" / "mine").write_text("kept")
    unpack(good, target)
    assert {p.name: p.read_text() for p in (target / "d").iterdir()} == {"a": "A", "b": "B", "mine": "kept"}
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(good.read_bytes()[:-30])
    with pytest.raises(DownloadError, match="can't be unpacked"):
        unpack(damaged, target)
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(tarred({"x": "y" * 9999})[:60])
    with pytest.raises(DownloadError, match="can't be unpacked"):
        unpack(cut, target)
    with pytest.raises(DownloadError, match="is no archive"):
        unpack(tmp_path / "x.7z", target)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("evil.zip", zipped(**{"..__..__escaped": "x"})),
        ("evil.tar.gz", tarred({"../escaped": "x"})),
        ("link.tar.gz", tarred({}, link=("inside", "../../escaped"))),
    ],
    # The bytes of an archive hold the time when it was made: test processes would differ in the names of the tests.
    ids=("zip", "tar", "link"),
)
def test_an_archive_never_writes_outside_of_its_folder(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DownloadError):
        unpack(tmp_path / name, tmp_path / "deep" / "er")
    assert not list(tmp_path.rglob("escaped"))
    assert not list((tmp_path / "deep" / "er").rglob("*"))
